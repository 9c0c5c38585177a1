//! The second step: from a job's claims and what it asks for to a grant, or to a refusal that says
//! why. Pure: rules and values in, a verdict out, the same for the same input. Deny by default:
//! each secret is granted by the first rule, in file order, whose every condition is met, or not at
//! all. A job is told of a rule only if the rule is about its project (`denial`): the rules of
//! others are a map of where their secrets are.

use std::{collections::HashMap, fmt};

use crate::{
    config::rule::{Mode, Rule, Rules},
    name::{SecretName, SecretVersion, VariableName},
    token::Claims,
    vault::Origin,
};

use condition::Filled;

pub use access::Access;
pub use denial::{Denied, Refusal};
pub use explain::{Explanation, Line};

mod access;
pub mod cases;
mod condition;
mod denial;
mod explain;
mod hash;
pub mod pattern;
#[cfg(test)]
mod tests;

/// The rules, ready to be asked.
#[derive(Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    /// The rules for one project path each, by that path.
    by_project: HashMap<String, Vec<usize>>,
    /// The other rules.
    for_many: Vec<usize>,
    mode: Mode,
    refuse_expired: bool,
    defaults: Defaults,
    text: String,
    hash: String,
}

/// What a secret comes from where neither the job nor the granting rule says so.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "named after the configuration's keys")]
pub struct Defaults {
    pub vault: Option<Origin>,
    pub tenant_id: Option<String>,
    pub client_id: Option<String>,
}

/// One secret that a job asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What the job calls it.
    pub variable: VariableName,
    /// What the vault calls it.
    pub name: SecretName,
    /// `None`: the latest.
    pub version: Option<SecretVersion>,
    /// `None`: whatever the rule or the defaults say. The same for the two below.
    pub vault: Option<Origin>,
    /// The tenant to present the token to.
    pub tenant_id: Option<String>,
    /// The application to present the token as.
    pub client_id: Option<String>,
}

/// What a job may have. Only [`Policy::authorise`] makes one.
#[derive(Debug)]
pub struct Grant {
    /// In the order of the request: all that was asked for.
    pub secrets: Vec<Granted>,
    would_deny: Option<Denied>,
}

/// One secret that a job may have, and where it is.
#[derive(Clone, Debug)]
pub struct Granted {
    /// What the job calls it.
    pub variable: VariableName,
    /// What the vault calls it.
    pub name: SecretName,
    /// `None`: the latest.
    pub version: Option<SecretVersion>,
    /// The vault that it is in.
    pub vault: Origin,
    /// The tenant, if job, rule or defaults name one; in lower case.
    pub tenant_id: Option<String>,
    /// The application, likewise.
    pub client_id: Option<String>,
    /// Whether to refuse it if Key Vault says that it has expired.
    pub refuse_expired: bool,
    rule: Option<String>,
}

impl Grant {
    /// In audit mode: what would have been refused.
    #[must_use]
    pub fn would_deny(&self) -> Option<&Denied> {
        self.would_deny.as_ref()
    }
}

impl Granted {
    /// The rule that grants it; `None` if audit mode let it pass.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        self.rule.as_deref()
    }
}

impl Policy {
    /// Takes the rules as they were read.
    #[must_use]
    pub fn new(rules: Rules, defaults: Defaults) -> Self {
        let text = hash::canonical(&rules, &defaults);
        let hash = hash::of(&text);
        let Rules {
            mode,
            refuse_expired,
            rules,
        } = rules;
        let mut by_project: HashMap<String, Vec<usize>> = HashMap::new();
        let mut for_many = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            match projects(rule) {
                Some(paths) => paths
                    .for_each(|path| by_project.entry(path.to_owned()).or_default().push(index)),
                None => for_many.push(index),
            }
        }
        Self {
            rules,
            by_project,
            for_many,
            mode,
            refuse_expired,
            defaults,
            text,
            hash,
        }
    }

    /// What the policy says, in one form: a line for each fact.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 of that text, in hexadecimal: it changes when the rules do, not when they are only
    /// written differently.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// Whether refusals are meant.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// All that is asked for, or nothing.
    pub fn authorise<'a>(
        &self,
        claims: &Claims,
        asked: impl IntoIterator<Item = &'a Asked>,
    ) -> Result<Grant, Denied> {
        let asked: Vec<&Asked> = asked.into_iter().collect();
        let rules = self.admitting(claims);
        let mut secrets = Vec::with_capacity(asked.len());
        let mut refused = Vec::new();
        for &one in &asked {
            if let Some(granted) = self.grant(&rules, one) {
                secrets.push(granted);
                continue;
            }
            refused.push(one);
            if self.mode == Mode::Audit {
                secrets.extend(self.let_pass(one));
            }
        }
        let denied = (!refused.is_empty()).then(|| self.deny(claims, &refused));
        match denied {
            // In audit mode too: a secret that nobody says the vault of cannot be read.
            Some(denied) if secrets.len() < asked.len() => Err(denied),
            would_deny => Ok(Grant {
                secrets,
                would_deny,
            }),
        }
    }

    /// The rules that are for such jobs, in file order.
    fn admitting<'a>(&'a self, claims: &Claims) -> Vec<&'a Rule> {
        let path = claims.project_path.as_deref();
        let own = path.and_then(|path| self.by_project.get(path));
        let mut candidates = own.cloned().unwrap_or_default();
        candidates.extend(&self.for_many);
        candidates.sort_unstable();
        candidates
            .iter()
            .filter_map(|index| self.rules.get(*index))
            .filter(|rule| condition::admits(rule, claims).is_ok())
            .collect()
    }

    /// The secret by the first of `rules` that is satisfied.
    fn grant(&self, rules: &[&Rule], asked: &Asked) -> Option<Granted> {
        rules.iter().find_map(|rule| {
            let filled = condition::fits(rule, asked, &self.defaults).ok()?;
            let refuse_expired = rule.refuse_expired || self.refuse_expired;
            Some(granted(asked, filled, Some(&rule.name), refuse_expired))
        })
    }

    /// The secret as if a rule without any wishes had granted it.
    fn let_pass(&self, asked: &Asked) -> Option<Granted> {
        let filled = Filled {
            vault: asked
                .vault
                .clone()
                .or_else(|| self.defaults.vault.clone())?,
            tenant_id: condition::or(
                asked.tenant_id.as_deref(),
                self.defaults.tenant_id.as_deref(),
            ),
            client_id: condition::or(
                asked.client_id.as_deref(),
                self.defaults.client_id.as_deref(),
            ),
        };
        Some(granted(asked, filled, None, self.refuse_expired))
    }
}

fn granted(asked: &Asked, filled: Filled, rule: Option<&str>, refuse_expired: bool) -> Granted {
    Granted {
        variable: asked.variable.clone(),
        name: asked.name.clone(),
        version: asked.version.clone(),
        vault: filled.vault,
        tenant_id: filled.tenant_id,
        client_id: filled.client_id,
        refuse_expired,
        rule: rule.map(str::to_owned),
    }
}

/// The project paths that a rule is for, if it names them all.
fn projects(rule: &Rule) -> Option<impl Iterator<Item = &str>> {
    let named = |(claim, _): &&(String, _)| claim == "project_path";
    let (_, patterns) = rule.bound_claims.iter().find(named)?;
    let literal = patterns.iter().all(pattern::Pattern::is_literal);
    literal.then(|| patterns.iter().map(pattern::Pattern::as_str))
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        })
    }
}
