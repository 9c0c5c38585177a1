//! What a running daemon takes without a restart.

use std::sync::Arc;

use super::{Daemon, Error, policy, trail};
use crate::{audit::Audit, azure::Azure, config::Config, provide::Provider, tls::Certificate};

/// What a running daemon takes without a restart: its policy, and certificates under the paths that it
/// has.
#[derive(Clone, Debug)]
pub struct Policies {
    provider: Arc<Provider<Azure>>,
    audit: Audit,
    certificates: Arc<[Certificate]>,
}

impl Daemon {
    /// A handle to put another policy in force while the daemon serves.
    #[must_use]
    pub fn policies(&self) -> Policies {
        Policies {
            provider: self.provider.clone(),
            audit: self.audit.clone(),
            certificates: self.certificates(),
        }
    }
}

impl Policies {
    /// Puts the policy of `config` in force: its rules, and what they default to. Everything else
    /// of a configuration takes a restart. Where its text cannot be kept, the old one stays.
    pub fn replace(&self, config: &Config) -> Result<(), Error> {
        let new = policy(config);
        let old = self.provider.policy();
        trail::policy(&self.audit, config, &new, Some(old.hash()))?;
        let (hash, rules, mode) = (new.hash().to_owned(), new.rules(), new.mode());
        self.provider.set_policy(new);
        // Who reads this gets what it says.
        tracing::info!(old = old.hash(), new = hash, rules, %mode, "policy reloaded");
        Ok(())
    }

    /// Which policy is in force, as a line for people.
    pub(super) fn in_force(&self) -> String {
        let policy = self.provider.policy();
        let (rules, mode) = (policy.rules(), policy.mode());
        format!(
            "serving; policy {:.12}, {rules} rules, mode {mode}",
            policy.hash()
        )
    }

    /// The configuration was read again, or could not be.
    pub(super) fn reloaded(&self, successfully: bool) {
        self.audit.metrics().reloaded(successfully);
    }

    /// Opens the audit trail's file anew, for whoever has renamed it, and reads certificates anew.
    pub fn reopen(&self) {
        self.audit.reopen();
        for (_, certificate) in &*self.certificates {
            certificate.read_anew();
        }
    }
}
