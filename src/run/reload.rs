//! What SIGHUP does to a running daemon: the audit file is opened anew, the configuration is read
//! again, and of it the policy and the level of the log take effect at once. What else has changed
//! is named, because it takes a restart. A file with mistakes changes nothing.

use std::path::Path;

use serde_json::Value;

use super::Policies;
use crate::{config::Config, log::Level};

/// What takes effect without a restart: the policy with the defaults that it fills in, and the level.
const AT_ONCE: [&str; 6] = [
    "azure.client_id",
    "azure.tenant_id",
    "azure.vault_url",
    "log.level",
    "policy.mode",
    "policy.refuse_expired",
];

/// A daemon's configuration while it runs.
#[derive(Debug)]
pub struct Reloading {
    policies: Policies,
    level: Level,
    /// What it started with.
    started: Value,
    /// The level in force.
    said: String,
}

impl Reloading {
    /// For the daemon of `policies`, which started with `config` and a log of that `level`.
    #[must_use]
    pub fn new(config: &Config, policies: Policies, level: Level) -> Self {
        Self {
            policies,
            level,
            started: config.effective(),
            said: config.log.level.clone(),
        }
    }

    /// Opens the audit file anew and puts in force what can be of the file at `path`. Gives a line for
    /// people on what is in force then.
    #[must_use]
    pub fn reload(&mut self, path: &Path) -> String {
        self.policies.reopen();
        let read = self.read_anew(path);
        let mut status = self.policies.in_force();
        if read.is_none() {
            status.push_str("; the last reload was refused, see the log");
        }
        status
    }

    fn read_anew(&mut self, path: &Path) -> Option<()> {
        let refused = |error: &dyn std::error::Error| {
            // Before it is said: whoever reads that asks for the number next.
            self.policies.reloaded(false);
            tracing::error!("not reloaded, the old policy stays in force: {error}");
        };
        let config = match Config::load(path) {
            Ok(config) => config,
            Err(error) => {
                refused(&error);
                for problem in error.problems() {
                    tracing::error!("{problem}");
                }
                return None;
            }
        };
        if let Err(error) = self.policies.replace(&config) {
            refused(&error);
            return None;
        }
        if config.log.level != self.said {
            self.level.set(&config.log.level);
            tracing::info!(old = self.said, new = config.log.level, "log.level changed");
            self.said.clone_from(&config.log.level);
        }
        let keys = changed(&self.started, &config.effective());
        if !keys.is_empty() {
            let keys = keys.join(", ");
            tracing::warn!(keys, "changed, and takes effect with the next start only");
        }
        self.policies.reloaded(true);
        Some(())
    }
}

/// The keys that differ and need a restart, with the number of the table where there can be several.
fn changed(old: &Value, new: &Value) -> Vec<String> {
    let mut keys = Vec::new();
    compare("", old, new, &mut keys);
    keys.retain(|key| !AT_ONCE.contains(&key.as_str()));
    keys
}

fn compare(at: &str, old: &Value, new: &Value, keys: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let key = if at.is_empty() {
                    name.clone()
                } else {
                    format!("{at}.{name}")
                };
                let value = |table: &serde_json::Map<_, _>| table.get(name).cloned();
                let (old, new) = (value(old), value(new));
                compare(
                    &key,
                    &old.unwrap_or_default(),
                    &new.unwrap_or_default(),
                    keys,
                );
            }
        }
        // Tables, of which there can be several; lists of values are one value.
        (Value::Array(old), Value::Array(new))
            if old.len() == new.len() && old.iter().chain(new).all(Value::is_object) =>
        {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{at}[{index}]"), old, new, keys);
            }
        }
        (old, new) if old != new => keys.push(at.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::changed;

    #[test]
    fn what_needs_a_restart_is_named_by_its_key() {
        let old = json!({
            "listen": [{"socket": "/a", "allowed_uids": [1, 2]}, {"socket": "/b"}],
            "azure": {"tenant_id": null, "http2": false},
            "log": {"level": "info", "format": "text"},
            "issuer": [{"url": "https://a"}],
        });
        assert!(changed(&old, &old).is_empty());
        let new = json!({
            "listen": [{"socket": "/a", "allowed_uids": [1]}, {"socket": "/c"}],
            "azure": {"tenant_id": "contoso.example", "http2": true},
            "log": {"level": "debug", "format": "json"},
            "issuer": [{"url": "https://a"}, {"url": "https://b"}],
        });
        let expected = [
            "azure.http2",
            "issuer",
            "listen[0].allowed_uids",
            "listen[1].socket",
            "log.format",
        ];
        assert_eq!(changed(&old, &new), expected);
    }
}
