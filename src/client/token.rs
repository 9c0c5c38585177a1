//! Which ID token goes with a secret: the one that `token:` names, or the only one that GitLab
//! issued for this job. Whether a token is genuine is for the daemon to say; here it is only
//! looked at closely enough to tell the job's own from other things in its environment.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{environment::Environment, error::Error, expand::sole_reference};

/// GitLab's ID tokens have one to two kilobytes; requests carry them in headers of 8 or 16 KiB.
const LONGEST: usize = 16 * 1024;

/// Said before the lines that make GitLab issue a token.
pub(super) const NEEDED: &str = "the job itself needs these lines in .gitlab-ci.yml:";

/// What `id_tokens:` is called in the lines that errors show.
const EXAMPLE: &str = "AZURE_JWT";

/// The token that `written`, the text of a secret's `token:`, stands for.
pub(super) fn named<'a>(
    place: &str,
    written: &'a str,
    environment: &'a Environment,
) -> Result<&'a str, Error> {
    let Some(name) = sole_reference(written) else {
        // GitLab expands variables in variables, so the token itself may stand here.
        if is_jwt(written) {
            return of_the_same_job(place, "it", written, environment);
        }
        let problem = "is neither an ID token nor a variable that holds one: GitLab expands one \
                       that it cannot find to nothing";
        return Err(invalid(place, problem.to_owned(), EXAMPLE));
    };
    match environment.filled(name) {
        Some(token) if is_jwt(token) => {
            of_the_same_job(place, &format!("${name}"), token, environment)
        }
        Some(text) if text.starts_with('$') => {
            let problem = format!("${name} holds the name of a variable that was not expanded");
            Err(invalid(place, problem, name))
        }
        Some(_) => Err(invalid(place, format!("${name} holds no ID token"), name)),
        None => Err(missing(place, format!("${name} is not set"), name)),
    }
}

/// A token of another job is one that came here by inheritance, and ends with that job.
fn of_the_same_job<'a>(
    place: &str,
    what: &str,
    token: &'a str,
    environment: &Environment,
) -> Result<&'a str, Error> {
    let job = environment.filled("CI_JOB_ID").unwrap_or_default();
    match job_id(token) {
        Some(other) if !job.is_empty() && other != job => {
            let problem = format!(
                "{what} is the ID token of job {other}, and this is job {job}: child pipelines \
                 inherit variables, but no ID tokens"
            );
            let name = what.strip_prefix('$').unwrap_or(EXAMPLE);
            Err(invalid(place, problem, name))
        }
        _ => Ok(token),
    }
}

/// The one ID token in the environment that was issued for this job.
pub(super) fn of_this_job<'a>(
    place: &str,
    variable: &str,
    environment: &'a Environment,
) -> Result<&'a str, Error> {
    let job = environment.filled("CI_JOB_ID").unwrap_or_default();
    let unclear = |problem: String, name| Error::Token {
        place: place.to_owned(),
        problem,
        fix: "say in the spec which one to use:",
        lines: token_of(variable, name),
    };
    if job.is_empty() {
        let problem = "CI_JOB_ID is not set, so the job's ID token cannot be told";
        return Err(unclear(problem.to_owned(), EXAMPLE));
    }
    let mut found: Vec<(&str, &str)> = environment
        .texts()
        .filter(|(_, value)| job_id(value).is_some_and(|issued_for| issued_for == job))
        .collect();
    found.sort_by_key(|(_, token)| *token);
    found.dedup_by_key(|(_, token)| *token);
    match found.as_slice() {
        [(_, token)] => Ok(token),
        [] => {
            let problem = format!("no variable holds an ID token of job {job}");
            Err(missing(place, problem, EXAMPLE))
        }
        several => {
            let mut names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            let problem = format!(
                "there are {} ID tokens of job {job} ({})",
                names.len(),
                names.join(", ")
            );
            Err(unclear(problem, names[0]))
        }
    }
}

/// There is no token of that name.
fn missing(place: &str, problem: String, name: &str) -> Error {
    Error::Token {
        place: place.to_owned(),
        problem,
        fix: NEEDED,
        lines: id_tokens(name),
    }
}

/// What is there under that name is no token of this job.
fn invalid(place: &str, problem: String, name: &str) -> Error {
    Error::TokenInvalid {
        place: place.to_owned(),
        problem,
        lines: id_tokens(name),
    }
}

/// The lines that make GitLab issue a token. The audience is the one that Entra expects unless the
/// operator chose another.
fn id_tokens(name: &str) -> String {
    format!("id_tokens:\n  {name}:\n    aud: api://AzureADTokenExchange\n")
}

/// The line that picks a token, in its place.
fn token_of(variable: &str, name: &str) -> String {
    format!("{variable}:\n  token: ${name}\n")
}

/// Whether this has the form of a JWT: three parts in base64url.
fn is_jwt(text: &str) -> bool {
    let mut parts = 0;
    text.len() <= LONGEST
        && text.split('.').all(|part| {
            parts += 1;
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !part.is_empty() && part.bytes().all(plain)
        })
        && parts == 3
}

/// The claim `job_id` of a JWT; `None` for whatever is no JWT or has no such claim, as the tokens
/// of other systems have not.
fn job_id(text: &str) -> Option<String> {
    if !is_jwt(text) {
        return None;
    }
    let payload = text.split('.').nth(1)?;
    let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Some(match claims.job_id {
        JobId::Text(id) => id,
        JobId::Number(id) => id.to_string(),
    })
}

#[derive(Deserialize)]
struct Claims {
    job_id: JobId,
}

/// GitLab writes it as text; the claims of its older tokens were numbers here and there.
#[derive(Deserialize)]
#[serde(untagged)]
enum JobId {
    Text(String),
    Number(u64),
}

#[cfg(test)]
mod tests;
