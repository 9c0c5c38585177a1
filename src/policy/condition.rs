//! The conditions of a rule, one after the other: first whether it is for such a job, then whether
//! it is for such a secret. The first that is not met is the answer; most telling ones come first.

use std::fmt;

use super::{Asked, Defaults, pattern::Pattern};
use crate::{
    config::rule::{IDENTITY, Rule},
    name::SecretName,
    token::{
        Claims,
        quoted::{AnyOf, Quoted},
    },
    vault::Origin,
};

/// The first condition of a rule that is not met. Displayed after the rule's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure<'a> {
    Issuer {
        wanted: &'a str,
        found: &'a str,
    },
    Claim {
        name: &'a str,
        wanted: &'a [Pattern],
        found: Option<&'a [String]>,
    },
    Fork {
        of: &'a str,
        runs_in: &'a str,
    },
    Secret {
        wanted: &'a [Pattern],
        found: &'a SecretName,
    },
    Vault {
        wanted: &'a [Origin],
        found: Option<&'a Origin>,
    },
    Id {
        key: &'static str,
        wanted: &'a str,
        found: &'a str,
    },
    Version,
}

impl Failure<'_> {
    /// Whether `rule`, whose condition this is, is about the job's project, so that the job may
    /// hear of it. A rule for every project is about nobody's: everybody would hear of it.
    pub(super) fn is_about_job(&self, rule: &Rule) -> bool {
        let named = |pattern: &Pattern| pattern.as_str().contains(|own| !matches!(own, '*' | '/'));
        let names_somebody = rule.bound_claims.iter().any(|(name, patterns)| {
            IDENTITY.contains(&name.as_str()) && patterns.iter().all(named)
        });
        names_somebody && self.is_beyond_identity()
    }

    fn is_beyond_identity(&self) -> bool {
        match self {
            Self::Issuer { .. } | Self::Fork { .. } => false,
            Self::Claim { name, .. } => !IDENTITY.contains(name),
            Self::Secret { .. } | Self::Vault { .. } | Self::Id { .. } | Self::Version => true,
        }
    }
}

/// Where a secret is and who asks for it, after the rule's word and the defaults.
#[derive(Clone, Debug)]
pub(super) struct Filled {
    pub(super) vault: Origin,
    pub(super) tenant_id: Option<String>,
    pub(super) client_id: Option<String>,
}

/// Whether the rule is for jobs with these claims.
pub(super) fn admits<'a>(rule: &'a Rule, claims: &'a Claims) -> Result<(), Failure<'a>> {
    if rule.issuer != claims.issuer {
        return Err(Failure::Issuer {
            wanted: &rule.issuer,
            found: &claims.issuer,
        });
    }
    let is_identity = |(name, _): &&(String, _)| IDENTITY.contains(&name.as_str());
    for bound in rule.bound_claims.iter().filter(is_identity) {
        matches(bound, claims)?;
    }
    if let Some((of, runs_in)) = fork(claims).filter(|_| !rule.allow_forks) {
        return Err(Failure::Fork { of, runs_in });
    }
    for bound in rule.bound_claims.iter().filter(|bound| !is_identity(bound)) {
        matches(bound, claims)?;
    }
    Ok(())
}

fn matches<'a>(
    (name, wanted): &'a (String, Vec<Pattern>),
    claims: &'a Claims,
) -> Result<(), Failure<'a>> {
    let found = claims.bound(name);
    let any = |text: &String| wanted.iter().any(|pattern| pattern.matches(text));
    match found {
        Some(texts) if texts.iter().any(any) => Ok(()),
        _ => Err(Failure::Claim {
            name,
            wanted,
            found,
        }),
    }
}

/// The project that a pipeline is of and the one that it runs in, where they differ: in a merge
/// request from a fork, `project_path` and `project_id` are the fork's.
pub(super) fn fork(claims: &Claims) -> Option<(&str, &str)> {
    let path = claims.project_path.as_deref().unwrap_or_default();
    if let Some(runs_in) = claims.job_project_path.as_deref()
        && runs_in != path
    {
        return Some((path, runs_in));
    }
    let runs_in = claims.job_project_id.as_deref()?;
    (runs_in != claims.project_id).then_some((claims.project_id.as_str(), runs_in))
}

/// Whether the rule is for this secret, in that vault, by that application.
pub(super) fn fits<'a>(
    rule: &'a Rule,
    asked: &'a Asked,
    defaults: &Defaults,
) -> Result<Filled, Failure<'a>> {
    let named = asked.name.as_str();
    if !rule.secrets.iter().any(|pattern| pattern.matches(named)) {
        return Err(Failure::Secret {
            wanted: &rule.secrets,
            found: &asked.name,
        });
    }
    let vault = vault(rule, asked, defaults)?;
    let tenant_id = id(
        "tenant_id",
        rule.tenant_id.as_deref(),
        asked.tenant_id.as_deref(),
    )?;
    let client_id = id(
        "client_id",
        rule.client_id.as_deref(),
        asked.client_id.as_deref(),
    )?;
    if rule.require_version && asked.version.is_none() {
        return Err(Failure::Version);
    }
    Ok(Filled {
        vault: vault.clone(),
        tenant_id: or(tenant_id, defaults.tenant_id.as_deref()),
        client_id: or(client_id, defaults.client_id.as_deref()),
    })
}

/// The vault that the job names, else the only one that the rule is for, else the default if the
/// rule is for that too.
fn vault<'a>(
    rule: &'a Rule,
    asked: &'a Asked,
    defaults: &Defaults,
) -> Result<&'a Origin, Failure<'a>> {
    let found = match (&asked.vault, rule.vaults.as_slice()) {
        (None, [only]) => return Ok(only),
        (None, _) => defaults.vault.as_ref(),
        (Some(asked), _) => Some(asked),
    };
    let fits = |vault: &&Origin| Some(*vault) == found;
    rule.vaults.iter().find(fits).ok_or(Failure::Vault {
        wanted: &rule.vaults,
        found: asked.vault.as_ref(),
    })
}

/// The rule's id, which the job's must be if both say one.
fn id<'a>(
    key: &'static str,
    wanted: Option<&'a str>,
    found: Option<&'a str>,
) -> Result<Option<&'a str>, Failure<'a>> {
    match (wanted, found) {
        (Some(wanted), Some(found)) if !wanted.eq_ignore_ascii_case(found) => {
            Err(Failure::Id { key, wanted, found })
        }
        (wanted, found) => Ok(wanted.or(found)),
    }
}

/// An id in lower case, or the default.
pub(super) fn or(id: Option<&str>, default: Option<&str>) -> Option<String> {
    id.or(default).map(str::to_ascii_lowercase)
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer { wanted, found } => {
                write!(f, "wants a token of {wanted}, and this one is of {found}")
            }
            Self::Claim {
                name,
                wanted,
                found: Some(found),
            } => write!(
                f,
                "wants {name} to be {}, and the token has {}",
                AnyOf(wanted),
                AnyOf(found)
            ),
            Self::Claim { name, wanted, .. } => write!(
                f,
                "wants {name} to be {}, and the token has no such claim",
                AnyOf(wanted)
            ),
            Self::Fork { of, runs_in } => write!(
                f,
                "does not allow forks, and the pipeline is of {} and runs in {}",
                Quoted(of),
                Quoted(runs_in)
            ),
            Self::Secret { wanted, found } => {
                write!(f, "is for the secrets {}, not for {found}", AnyOf(wanted))
            }
            Self::Vault {
                wanted,
                found: Some(found),
            } => write!(f, "is for the vault {}, not for {found}", AnyOf(wanted)),
            Self::Vault { wanted, .. } => write!(
                f,
                "is for the vault {}, and the job names none of them",
                AnyOf(wanted)
            ),
            Self::Id { key, wanted, found } => {
                write!(f, "wants {key} {wanted}, and the job has {}", Quoted(found))
            }
            Self::Version => f.write_str("wants a version to be named, and the job names none"),
        }
    }
}
