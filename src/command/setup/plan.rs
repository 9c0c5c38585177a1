//! What is to be created: one federated credential for each subject, or one with an expression
//! where there is a pattern and the issuer may have one. Everything in it can be shown and quoted:
//! what cannot is refused here.

use super::Wishes;
use crate::{
    azure::{Cloud, FederatedCredential},
    name::SecretName,
    posix,
    vault::Origin,
};

/// Entra takes no more of them for one application or managed identity.
const MOST_CREDENTIALS: usize = 20;

const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(String);

/// Everything that is to be printed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) gitlab: String,
    pub(super) projects: Vec<String>,
    pub(super) group: Option<String>,
    pub(super) refs: Vec<Ref>,
    pub(super) environments: Vec<String>,
    pub(super) protected: bool,
    pub(super) vault: Origin,
    pub(super) secrets: Vec<SecretName>,
    pub(super) name: String,
    pub(super) audience: String,
    pub(super) resource_group: Option<String>,
    pub(super) credentials: Vec<Credential>,
}

/// A branch or a tag, or a pattern of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ref {
    pub(super) kind: &'static str,
    pub(super) name: String,
}

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// Those of one subject.
    Exact(FederatedCredential),
    /// Those whose subject an expression matches.
    Flexible { name: String, expression: String },
}

fn problem(text: impl Into<String>) -> Problem {
    Problem(text.into())
}

impl Plan {
    pub(super) fn of(wishes: &Wishes) -> Result<Self, Problem> {
        let refs = |kind, names: &[String]| -> Vec<Ref> {
            let names = names.iter().cloned();
            names.map(|name| Ref { kind, name }).collect()
        };
        let mut all = refs("branch", &wishes.branches);
        all.extend(refs("tag", &wishes.tags));
        let vault = vault(required(wishes.vault.as_ref(), "--vault NAME")?)?;
        let secrets = wishes.secrets.iter().map(|name| {
            SecretName::parse(name).map_err(|error| problem(format!("--secret {name:?} {error}")))
        });
        let mut plan = Self {
            gitlab: gitlab(required(wishes.gitlab.as_ref(), "--gitlab URL")?)?,
            projects: wishes.projects.clone(),
            group: wishes.group.clone(),
            refs: all,
            environments: wishes.environments.clone(),
            protected: wishes.protected,
            secrets: secrets.collect::<Result<_, _>>()?,
            name: wishes.name.clone().unwrap_or_default(),
            vault,
            audience: wishes.audience.clone().unwrap_or(AUDIENCE.to_owned()),
            resource_group: wishes.resource_group.clone(),
            credentials: Vec::new(),
        };
        plan.check()?;
        plan.credentials = plan.credentials()?;
        Ok(plan)
    }

    /// What every part has to be, whatever is made of it.
    fn check(&mut self) -> Result<(), Problem> {
        match (self.projects.as_slice(), &self.group) {
            ([], None) => return Err(problem("setup needs --project PATH or --group PATH")),
            ([_, ..], Some(_)) => {
                return Err(problem("--project and --group exclude each other"));
            }
            _ => {}
        }
        if self.refs.is_empty() {
            return Err(problem("setup needs --branch NAME or --tag NAME"));
        }
        if self.name.is_empty() {
            let first = self.group.as_ref().or(self.projects.first());
            let path = first.map(String::as_str).unwrap_or_default();
            self.name = format!("gitlab-{}", path.replace('/', "-"));
        }
        let refs = self.refs.iter().map(|one| &one.name);
        let texts = refs
            .chain(&self.projects)
            .chain(&self.group)
            .chain(&self.environments)
            .chain(&self.resource_group)
            .chain([&self.name, &self.audience]);
        for text in texts {
            if text.is_empty() || posix::shown(text).is_none() {
                return Err(problem(format!(
                    "{text:?} is empty, or cannot be shown as it is"
                )));
            }
        }
        for path in self.projects.iter().chain(&self.group) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            if !path.chars().all(plain) || path.starts_with('/') || path.ends_with('/') {
                return Err(problem(format!(
                    "{path:?} is no path of GitLab's, as in acme/shop"
                )));
            }
        }
        Ok(())
    }

    /// Whether jobs of this issuer may be told apart by an expression: an application's, of an
    /// issuer whose address is of the form that Entra wants.
    fn takes_expressions(&self) -> Result<(), Problem> {
        if self.resource_group.is_some() {
            return Err(problem(
                "a managed identity takes exact subjects only: name projects, branches and tags \
                 without *, or use an application",
            ));
        }
        let host = self
            .gitlab
            .strip_prefix("https://gitlab.")
            .unwrap_or_default();
        let label = |end: &str| {
            let label = host.strip_suffix(end).unwrap_or_default();
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if host == "com" || label(".com") || label(".ca") {
            return Ok(());
        }
        Err(problem(format!(
            "Entra takes expressions of https://gitlab.com, https://gitlab.NAME.com and \
             https://gitlab.NAME.ca only, and not of {}: name projects, branches and tags without *",
            self.gitlab
        )))
    }

    fn credentials(&self) -> Result<Vec<Credential>, Problem> {
        let projects = match &self.group {
            Some(group) => vec![format!("{group}/*")],
            None => self.projects.clone(),
        };
        let mut credentials = Vec::new();
        for project in &projects {
            for one in &self.refs {
                credentials.push(self.credential(project, one)?);
            }
        }
        if credentials.len() > MOST_CREDENTIALS {
            return Err(problem(format!(
                "these are {} subjects, and Entra takes {MOST_CREDENTIALS} for one application or \
                 managed identity: use patterns such as release/*, or several with --name",
                credentials.len()
            )));
        }
        Ok(credentials)
    }

    fn credential(&self, project: &str, one: &Ref) -> Result<Credential, Problem> {
        let Ref { kind, name } = one;
        let mut subject = format!("project_path:{project}:ref_type:{kind}:ref:{name}");
        if self.protected {
            subject.push_str(":ref_protected:true");
        }
        if subject.contains(['*', '?']) {
            self.takes_expressions()?;
            // No ref has a quote that would have to be written here, and none would be understood.
            if subject.contains('\'') {
                return Err(problem(format!(
                    "{name:?} cannot be written in an expression"
                )));
            }
            return Ok(Credential::Flexible {
                name: FederatedCredential::name_of(&self.gitlab, &subject),
                expression: format!("claims['sub'] matches '{subject}'"),
            });
        }
        let credential = FederatedCredential::new(&self.gitlab, &subject, &self.audience);
        let credential = credential.ok_or_else(|| {
            problem(format!(
                "{name:?}: Entra takes subjects and audiences of up to 600 bytes"
            ))
        });
        credential.map(Credential::Exact)
    }

    /// The vault's name.
    pub(super) fn vault_name(&self) -> &str {
        let host = self.vault.host();
        host.split('.').next().unwrap_or(host)
    }
}

fn required<'a>(value: Option<&'a String>, option: &str) -> Result<&'a str, Problem> {
    let value = value.map(String::as_str);
    value.ok_or_else(|| problem(format!("setup needs {option}")))
}

/// Exactly what the tokens' `iss` will be.
fn gitlab(text: &str) -> Result<String, Problem> {
    let plain = text.trim_end_matches('/');
    match url::Url::parse(plain) {
        Ok(url) if url.scheme() == "https" && posix::shown(plain).as_deref() == Some(plain) => {
            Ok(plain.to_owned())
        }
        _ => Err(problem(format!("--gitlab {text:?} is no https:// address"))),
    }
}

/// A vault by its name or its address, in any cloud.
fn vault(text: &str) -> Result<Origin, Problem> {
    let address = if text.contains('.') {
        text.to_owned()
    } else {
        format!("https://{text}.vault.azure.net")
    };
    let wrong = |error: String| problem(format!("--vault {text:?} {error}"));
    let origin = Origin::parse(&address).map_err(|error| wrong(error.to_string()))?;
    let clouds = ["public", "us_government", "china"];
    let known = clouds.iter().filter_map(|name| Cloud::named(name));
    let mut found = known.map(|cloud| cloud.vault(&origin).is_ok());
    if found.any(|found| found) {
        return Ok(origin);
    }
    Err(wrong("is no vault's name or address".to_owned()))
}
