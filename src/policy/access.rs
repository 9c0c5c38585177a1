//! Who could read what: the rules turned round, for access reviews.

use super::Policy;
use crate::{config::rule::Rule, name::SecretName};

/// One way to some secrets of one vault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named after the configuration's keys")]
pub struct Access {
    pub vault: String,
    /// The pattern of the secrets' names.
    pub secret: String,
    pub rule: String,
    pub issuer: String,
    /// The claims that a job must have, each with its patterns.
    pub bound_claims: Vec<(String, Vec<String>)>,
    pub tenant_id: Option<String>,
    pub client_id: Option<String>,
    pub require_version: bool,
    pub allow_forks: bool,
    pub refuse_expired: bool,
}

impl Policy {
    /// Every way to every secret, or to `secret`, sorted by vault, then secret, then file order.
    #[must_use]
    pub fn grants(&self, secret: Option<&SecretName>) -> Vec<Access> {
        let mut grants = Vec::new();
        for rule in &self.rules {
            for pattern in &rule.secrets {
                if secret.is_some_and(|secret| !pattern.matches(secret.as_str())) {
                    continue;
                }
                let access = |vault| self.access(rule, vault, pattern.as_str());
                grants.extend(rule.vaults.iter().map(|vault| access(vault.as_str())));
            }
        }
        grants.sort_by(|a, b| (&a.vault, &a.secret).cmp(&(&b.vault, &b.secret)));
        grants
    }

    fn access(&self, rule: &Rule, vault: &str, secret: &str) -> Access {
        let texts = |patterns: &Vec<_>| patterns.iter().map(ToString::to_string).collect();
        Access {
            vault: vault.to_owned(),
            secret: secret.to_owned(),
            rule: rule.name.clone(),
            issuer: rule.issuer.clone(),
            bound_claims: rule
                .bound_claims
                .iter()
                .map(|(name, patterns)| (name.clone(), texts(patterns)))
                .collect(),
            tenant_id: rule.tenant_id.clone(),
            client_id: rule.client_id.clone(),
            require_version: rule.require_version,
            allow_forks: rule.allow_forks,
            refuse_expired: rule.refuse_expired || self.refuse_expired,
        }
    }
}
