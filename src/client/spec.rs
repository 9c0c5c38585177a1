//! What a job asks for: `RUNNER_SECRETS`, the file named by `RUNNER_SECRETS_FILE` and every
//! `RUNNER_SECRETS_SPEC_*`, read as the `secrets:` block of .gitlab-ci.yml, merged, expanded and
//! joined with the job's ID tokens. What comes out of here is complete and checked; whether it is
//! allowed is for the daemon to say.

mod document;
mod entry;

use std::{collections::BTreeMap, fs::File, io::Read as _, path::Path, sync::Arc};

use runner_secrets_proto::v1::{
    AzureKeyVaultSecret, AzureKeyVaultServer, ResolveRequest, Secret, secret::Source,
};

use self::{
    document::{LARGEST, Problem},
    entry::Entry,
};
use super::{environment::Environment, error::Error, expand::expand, token};
use crate::{
    name::{SecretName, SecretVersion, VariableName},
    secret::IdToken,
};

/// The secrets that a job wants, by variable. Never empty.
#[derive(Debug)]
pub struct Spec {
    secrets: BTreeMap<VariableName, Wanted>,
}

/// One secret, and how to ask for it.
#[derive(Debug)]
pub struct Wanted {
    name: SecretName,
    version: Option<SecretVersion>,
    server: AzureKeyVaultServer,
    token: Arc<IdToken>,
    file: bool,
}

const TEXT: &str = "RUNNER_SECRETS";
const FILE: &str = "RUNNER_SECRETS_FILE";
const PARTS: &str = "RUNNER_SECRETS_SPEC_";

impl Spec {
    /// Reads every spec in the environment; `None` when none is set.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, Error> {
        let texts = texts(environment)?;
        if texts.is_empty() {
            return Ok(None);
        }
        let mut written: BTreeMap<VariableName, (String, Entry)> = BTreeMap::new();
        for (source, text) in texts {
            let entries = entry::read(&text).map_err(|problem| in_source(&source, problem))?;
            for (variable, entry) in entries {
                if let Some((other, _)) = written.get(&variable) {
                    let problem = format!("is in {source} and in {other}");
                    return Err(wrong(variable.as_str(), problem));
                }
                written.insert(variable, (source.clone(), entry));
            }
        }
        let tokens = Tokens {
            environment,
            only: None,
            seen: Vec::new(),
        };
        let entries = written.into_iter();
        let entries = entries.map(|(variable, (source, entry))| (source, variable, entry));
        Self::complete(entries, tokens).map(Some)
    }

    /// Reads a spec outside of a job: without any of its variables, and with one token for all
    /// that `token:` may say.
    pub fn in_file(path: &Path, token: Arc<IdToken>) -> Result<Self, Error> {
        let source = path.display().to_string();
        let text = read(path);
        let text = text.map_err(|error| wrong(&source, format!("cannot be read: {error}")))?;
        let entries = entry::read(&text).map_err(|problem| in_source(&source, problem))?;
        let tokens = Tokens {
            environment: &Environment::default(),
            only: Some(token),
            seen: Vec::new(),
        };
        let entries = entries.into_iter();
        let entries = entries.map(|(variable, entry)| (source.clone(), variable, entry));
        Self::complete(entries, tokens)
    }

    fn complete(
        entries: impl Iterator<Item = (String, VariableName, Entry)>,
        mut tokens: Tokens<'_>,
    ) -> Result<Self, Error> {
        let secrets = entries.map(|(source, variable, entry)| {
            let wanted = wanted(&source, &variable, &entry, &mut tokens)?;
            Ok((variable, wanted))
        });
        let secrets = secrets.collect::<Result<_, Error>>()?;
        Ok(Self { secrets })
    }

    /// How many secrets there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.secrets.len()
    }

    /// The variables, and whether each is to hold the path of a file.
    pub fn variables(&self) -> impl Iterator<Item = (&VariableName, bool)> {
        let pairs = self.secrets.iter();
        pairs.map(|(variable, wanted)| (variable, wanted.file))
    }

    /// The same, but only one variable, and its value instead of a file.
    #[must_use]
    pub fn only_value_of(mut self, variable: &str) -> Option<Self> {
        self.secrets.retain(|name, _| name.as_str() == variable);
        let only = self.secrets.values_mut().next()?;
        only.file = false;
        Some(self)
    }

    /// Its tokens, each once.
    pub fn id_tokens(&self) -> impl Iterator<Item = &Arc<IdToken>> {
        let mut seen: Vec<&Arc<IdToken>> = Vec::new();
        for Wanted { token, .. } in self.secrets.values() {
            if !seen.iter().any(|known| Arc::ptr_eq(known, token)) {
                seen.push(token);
            }
        }
        seen.into_iter()
    }

    /// A token of the job, to release with: all tokens of a request belong to one job.
    #[must_use]
    pub fn id_token(&self) -> Option<Arc<IdToken>> {
        let first = self.secrets.values().next()?;
        Some(Arc::clone(&first.token))
    }

    /// The request that asks for all of this.
    #[must_use]
    pub fn request(&self, owner_pid: Option<i32>) -> ResolveRequest {
        let mut tokens = self.secrets.values().map(|wanted| &wanted.token);
        let first = tokens.next();
        let shared = first.filter(|first| tokens.all(|token| Arc::ptr_eq(first, token)));
        let secrets = self.secrets.iter().map(|(variable, wanted)| {
            let secret = wanted.on_the_wire(shared.is_none());
            (variable.as_str().to_owned(), secret)
        });
        ResolveRequest {
            secrets: secrets.collect(),
            id_token: shared.map_or_else(String::new, |token| token.expose().to_owned()),
            owner_pid: owner_pid.unwrap_or_default(),
        }
    }
}

impl Wanted {
    fn on_the_wire(&self, with_token: bool) -> Secret {
        let version = self.version.as_ref().map(SecretVersion::as_str);
        let asked = AzureKeyVaultSecret {
            name: self.name.as_str().to_owned(),
            version: version.unwrap_or_default().to_owned(),
            server: Some(self.server.clone()),
        };
        let token = if with_token { self.token.expose() } else { "" };
        Secret {
            id_token: token.to_owned(),
            file: Some(self.file),
            source: Some(Source::AzureKeyVault(asked)),
        }
    }
}

/// The tokens met so far, so that one that is used often is held once.
struct Tokens<'a> {
    environment: &'a Environment,
    /// Stands for every other.
    only: Option<Arc<IdToken>>,
    seen: Vec<Arc<IdToken>>,
}

impl Tokens<'_> {
    fn of(&mut self, variable: &VariableName, entry: &Entry) -> Result<Arc<IdToken>, Error> {
        if let Some(only) = &self.only {
            return Ok(Arc::clone(only));
        }
        let place = format!("{variable}.token");
        let token = match &entry.token {
            Some(written) => token::named(&place, written, self.environment)?,
            None => token::of_this_job(&place, variable.as_str(), self.environment)?,
        };
        // Both are the job's own; what their comparison takes tells nobody anything.
        let known = self.seen.iter().find(|known| known.expose() == token);
        if let Some(known) = known {
            return Ok(Arc::clone(known));
        }
        let token = Arc::new(IdToken::new(token.to_owned()));
        self.seen.push(Arc::clone(&token));
        Ok(token)
    }
}

/// Expands an entry and takes its names; the variables that GitLab documents for its own
/// integration fill what the entry leaves open.
fn wanted(
    source: &str,
    variable: &VariableName,
    entry: &Entry,
    tokens: &mut Tokens<'_>,
) -> Result<Wanted, Error> {
    let environment = tokens.environment;
    let place = |field: &str| format!("{source}: {variable}.azure_key_vault.{field}");
    let name = expand(&entry.name, environment);
    if name.is_empty() {
        let problem = format!("`{}` expands to nothing in this job", entry.name);
        return Err(wrong(&place("name"), problem));
    }
    let version = expand(&entry.version, environment);
    let server = |written: &str, default: &str| {
        let expanded = expand(written, environment);
        if expanded.is_empty() {
            environment.get(default).unwrap_or_default().to_owned()
        } else {
            expanded
        }
    };
    Ok(Wanted {
        name: SecretName::parse(&name).map_err(|error| wrong(&place("name"), error.to_string()))?,
        version: SecretVersion::parse(&version)
            .map_err(|error| wrong(&place("version"), error.to_string()))?,
        server: AzureKeyVaultServer {
            url: server(&entry.url, "AZURE_KEY_VAULT_SERVER_URL"),
            tenant_id: server(&entry.tenant_id, "AZURE_TENANT_ID"),
            client_id: server(&entry.client_id, "AZURE_CLIENT_ID"),
        },
        token: tokens.of(variable, entry)?,
        file: entry.file,
    })
}

/// The texts of all specs that are set, with the name of what set them.
fn texts(environment: &Environment) -> Result<Vec<(String, String)>, Error> {
    let mut texts = Vec::new();
    for (name, value) in environment.iter() {
        let Some(name) = name.to_str() else { continue };
        if name != TEXT && name != FILE && !name.starts_with(PARTS) {
            continue;
        }
        let Some(value) = value.to_str() else {
            return Err(wrong(name, "is not UTF-8"));
        };
        let text = match name {
            FILE => read(Path::new(value))
                .map_err(|error| wrong(FILE, format!("cannot read the file `{value}`: {error}")))?,
            _ => value.to_owned(),
        };
        texts.push((name.to_owned(), text));
    }
    Ok(texts)
}

/// Reads a file, but no more of it than the document reader needs to refuse it.
fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let longest = u64::try_from(LARGEST).unwrap_or(u64::MAX) + 1;
    File::open(path)?.take(longest).read_to_string(&mut text)?;
    Ok(text)
}

fn in_source(source: &str, problem: Problem) -> Error {
    let colon = if problem.place.is_empty() { "" } else { ": " };
    Error::Spec {
        place: format!("{source}{colon}{}", problem.place),
        problem: problem.says,
        lines: problem.lines,
    }
}

fn wrong(place: &str, problem: impl Into<String>) -> Error {
    Error::Spec {
        place: place.to_owned(),
        problem: problem.into(),
        lines: "",
    }
}

#[cfg(test)]
mod tests;
