//! Which ID token goes with a secret: the one that `token:` names, or the only one that GitLab
//! issued for this job. Whether a token is genuine is for the daemon to say; here it is only
//! looked at closely enough to tell the job's own from other things in its environment.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{environment::Environment, error::Error, expand::sole_reference};

/// GitLab's ID tokens have one to two kilobytes; requests carry them in headers of 8 or 16 KiB.
const LONGEST: usize = 16 * 1024;

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
        return if is_jwt(written) {
            Ok(written)
        } else {
            let problem = "is neither an ID token nor a variable that holds one, such as $AZURE_JWT; \
                 a variable that GitLab could not find expands to nothing";
            Err(invalid(place, problem.to_owned()))
        };
    };
    match environment.filled(name) {
        Some(token) if is_jwt(token) => Ok(token),
        Some(_) => Err(invalid(place, format!("${name} holds no ID token"))),
        None => Err(Error::Token {
            place: place.to_owned(),
            problem: format!("${name} is not set; the job needs these lines in .gitlab-ci.yml:"),
            lines: id_tokens(name),
        }),
    }
}

/// The one ID token in the environment that was issued for this job.
pub(super) fn of_this_job<'a>(
    place: &str,
    variable: &str,
    environment: &'a Environment,
) -> Result<&'a str, Error> {
    let job = environment.filled("CI_JOB_ID").unwrap_or_default();
    let missing = |problem: &str, lines| Error::Token {
        place: place.to_owned(),
        problem: problem.to_owned(),
        lines,
    };
    if job.is_empty() {
        let problem = "CI_JOB_ID is not set, so the job's ID token cannot be told; name it:";
        return Err(missing(problem, token_of(variable, EXAMPLE)));
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
            let problem = format!(
                "no variable holds an ID token of job {job}; the job needs these lines in .gitlab-ci.yml:"
            );
            Err(missing(&problem, id_tokens(EXAMPLE)))
        }
        several => {
            let mut names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            let problem = format!(
                "there are {} ID tokens of job {job} ({}); say which one to use:",
                names.len(),
                names.join(", ")
            );
            Err(missing(&problem, token_of(variable, names[0])))
        }
    }
}

fn invalid(place: &str, problem: String) -> Error {
    Error::TokenInvalid {
        place: place.to_owned(),
        problem,
    }
}

/// The lines that make GitLab issue a token. The audience is the one that Entra expects unless the
/// operator chose another.
fn id_tokens(name: &str) -> String {
    format!("  id_tokens:\n    {name}:\n      aud: api://AzureADTokenExchange\n")
}

/// The line that picks a token, in its place.
fn token_of(variable: &str, name: &str) -> String {
    format!("  {variable}:\n    token: ${name}\n")
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
