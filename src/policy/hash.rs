//! A name for what a policy says: the SHA-256 of its rules, and of what they default to, in one
//! form. Records carry it and the audit trail keeps the text under it, so that it can be shown later
//! which rules a secret was granted under.

use std::fmt::Write as _;

use aws_lc_rs::digest;

use super::Defaults;
use crate::config::rule::{Rule, Rules};

/// The hash in hexadecimal.
pub(super) fn of(text: &str) -> String {
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// One line a fact, texts with their length before them so that no two policies look alike.
pub(super) fn canonical(rules: &Rules, defaults: &Defaults) -> String {
    let mut text = String::from("runner-secrets policy 1\n");
    line(&mut text, "mode", [&rules.mode.to_string()]);
    flag(&mut text, "refuse_expired", rules.refuse_expired);
    line(&mut text, "default vault", &defaults.vault);
    line(&mut text, "default tenant_id", &defaults.tenant_id);
    line(&mut text, "default client_id", &defaults.client_id);
    for rule in &rules.rules {
        write_rule(&mut text, rule);
    }
    text
}

fn write_rule(text: &mut String, rule: &Rule) {
    line(text, "rule", [&rule.name]);
    line(text, "issuer", [&rule.issuer]);
    for (name, patterns) in &rule.bound_claims {
        line(text, "claim", [name]);
        line(text, "is", patterns);
    }
    line(text, "vaults", &rule.vaults);
    line(text, "secrets", &rule.secrets);
    line(text, "tenant_id", &rule.tenant_id);
    line(text, "client_id", &rule.client_id);
    flag(text, "require_version", rule.require_version);
    flag(text, "allow_forks", rule.allow_forks);
    flag(text, "refuse_expired", rule.refuse_expired);
}

fn line<T: AsRef<str>>(text: &mut String, key: &str, values: impl IntoIterator<Item = T>) {
    text.push_str(key);
    for value in values {
        let value = value.as_ref();
        let _ = write!(text, " {}:{value}", value.len());
    }
    text.push('\n');
}

fn flag(text: &mut String, key: &str, value: bool) {
    line(text, key, [if value { "true" } else { "false" }]);
}
