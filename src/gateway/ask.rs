//! From a payload to the request that every front makes: the entries of `secrets:` for Azure Key
//! Vault, and the spec in `RUNNER_SECRETS` where the licence keeps `secrets:` out of payloads.
//! References are expanded as the runner does it. Nothing outside of the payload is read: a job
//! chooses every text here.

use std::collections::BTreeMap;

use runner_secrets_proto::v1::{
    AzureKeyVaultSecret, AzureKeyVaultServer, ResolveRequest, Secret, secret::Source,
};

use super::payload::{Entry, Payload, Variable, Wrong};
use crate::{
    client::{self, Environment, Spec, expand},
    error::Error,
};

const SPEC: &str = "RUNNER_SECRETS";
const PARTS: &str = "RUNNER_SECRETS_SPEC_";

/// What a job asks for.
#[derive(Default)]
pub(super) struct Ask {
    /// In the order in which the job's log names them.
    pub(super) names: Vec<String>,
    /// The request, if it could be made.
    pub(super) request: Option<Result<ResolveRequest, Error>>,
    /// Lines for the job's YAML, where there is something to mend.
    pub(super) paste: String,
}

/// Whether this variable is a spec, which is the gateway's to read and to remove.
pub(super) fn is_spec(variable: &Variable) -> bool {
    variable.key == SPEC || variable.key.starts_with(PARTS)
}

impl Ask {
    /// Reads what a job asks for; nothing, when it asks for nothing.
    pub(super) fn of(payload: &Payload<'_>) -> Self {
        let entries = match payload.entries() {
            Ok(entries) => entries,
            Err(Wrong { field, problem }) => {
                return Self::refused(Error::RequestInvalid { field, problem });
            }
        };
        let has_spec = payload.variables().iter().any(is_spec);
        if entries.is_empty() && !has_spec {
            return Self::default();
        }
        let environment = environment(payload);
        let mut names: Vec<String> = entries.iter().map(|entry| entry.variable.clone()).collect();
        let mut secrets = BTreeMap::new();
        for entry in entries {
            let variable = entry.variable.clone();
            secrets.insert(variable, secret(entry, &environment));
        }
        match from_spec(payload, &environment) {
            Err(error) => {
                let (error, paste) = refused(error);
                return Self {
                    names,
                    paste,
                    ..Self::refused(error)
                };
            }
            Ok(further) => {
                for (variable, secret) in further {
                    if secrets.insert(variable.clone(), secret).is_some() {
                        let field = format!("{SPEC}: {variable}");
                        let problem = "is in `secrets:` of the job, too".to_owned();
                        let error = Error::RequestInvalid { field, problem };
                        return Self {
                            names,
                            ..Self::refused(error)
                        };
                    }
                    names.push(variable);
                }
            }
        }
        let request = ResolveRequest {
            secrets: secrets.into_iter().collect(),
            ..ResolveRequest::default()
        };
        Self {
            names,
            request: Some(Ok(request)),
            paste: String::new(),
        }
    }

    fn refused(error: Error) -> Self {
        Self {
            request: Some(Err(error)),
            ..Self::default()
        }
    }
}

/// The job's variables as the runner expands them: once, except in those that are raw. A file
/// variable is the path of a file that does not exist yet, and so nothing here.
fn environment(payload: &Payload<'_>) -> Environment {
    let named = payload.variables().iter();
    let named = named.filter(|variable| !variable.file || is_spec(variable));
    let pairs = named
        .clone()
        .map(|variable| (&variable.key, &variable.value));
    let unexpanded: Environment = pairs.collect();
    named
        .map(|variable| {
            let value = if variable.raw {
                variable.value.clone()
            } else {
                expand(&variable.value, &unexpanded)
            };
            (&variable.key, value)
        })
        .collect()
}

/// One entry, as a request has it. The addresses are not expanded: the runner does not, either.
fn secret(entry: Entry, environment: &Environment) -> Secret {
    let asked = AzureKeyVaultSecret {
        name: expand(&entry.name, environment),
        version: expand(&entry.version, environment),
        server: Some(AzureKeyVaultServer {
            url: entry.url,
            tenant_id: entry.tenant_id,
            client_id: entry.client_id,
        }),
    };
    Secret {
        id_token: expand(&entry.token, environment),
        file: Some(entry.file),
        source: Some(Source::AzureKeyVault(asked)),
    }
}

/// The secrets of the spec, each with its token.
fn from_spec(
    payload: &Payload<'_>,
    environment: &Environment,
) -> Result<Vec<(String, Secret)>, client::Error> {
    // A spec in a file of the gateway's host is none of a job's.
    let spec = |name: &str| name != "RUNNER_SECRETS_FILE" && name != "CI_JOB_ID";
    let texts = environment.texts().filter(|(name, _)| spec(name));
    let texts = texts.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let id = payload.id().unwrap_or_default().to_string();
    let environment = texts.chain([("CI_JOB_ID".to_owned(), id)]).collect();
    let Some(spec) = Spec::from_environment(&environment)? else {
        return Ok(Vec::new());
    };
    let ResolveRequest {
        id_token, secrets, ..
    } = spec.request(None);
    let mut secrets: Vec<(String, Secret)> = secrets.into_iter().collect();
    secrets.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (_, secret) in &mut secrets {
        if secret.id_token.is_empty() {
            secret.id_token.clone_from(&id_token);
        }
    }
    Ok(secrets)
}

/// The client's words for what is wrong with a spec, and the lines that it shows.
fn refused(error: client::Error) -> (Error, String) {
    let lines = error.advice().lines;
    let error = match error {
        client::Error::Spec { place, problem, .. }
        | client::Error::Token { place, problem, .. } => Error::RequestInvalid {
            field: place,
            problem,
        },
        client::Error::TokenInvalid { place, problem, .. } => Error::TokenInvalid {
            field: place,
            problem,
        },
        other => Error::RequestInvalid {
            field: SPEC.to_owned(),
            problem: other.to_string(),
        },
    };
    (error, lines)
}
