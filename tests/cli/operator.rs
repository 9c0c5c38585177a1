//! An operator with a directory of files, who runs the daemon's commands in it.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::signer::{EMAIL, ISSUER, jwks};

pub(crate) struct Operator(TempDir);

/// What a command came to.
pub(crate) struct Ran {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

pub(crate) const RULES: &str = r#"
[[rule]]
name = "shop production"
bound_claims = { project_path = "acme/shop", environment = "production" }
vaults = ["https://acme-prod.vault.azure.net"]
secrets = ["db-*"]
client_id = "22222222-2222-2222-2222-222222222222"

[[rule]]
name = "somebody else"
bound_claims = { project_path = "rich/bank" }
vaults = ["https://gold.vault.azure.net"]
secrets = ["*"]
"#;

impl Operator {
    /// With a configuration that has these rules, and the issuer's keys in a file.
    pub(crate) fn new(rules: &str) -> Self {
        let operator = Self(tempfile::tempdir().unwrap());
        let keys = operator.file("jwks.json", jwks());
        let socket = operator.path("api.sock");
        let trail = operator.path("audit.jsonl");
        let config = format!(
            "[[listen]]\nsocket = \"{socket}\"\ndelivery = \"inline\"\n\
             [audit]\npath = \"{trail}\"\n[[issuer]]\nurl = \"{ISSUER}\"\n\
             audiences = [\"api://AzureADTokenExchange\"]\njwks_file = \"{keys}\"\n{rules}"
        );
        operator.file("config.toml", config);
        operator
    }

    /// The path of a file in this operator's directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and gives its path.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Runs a command with this operator's configuration.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        run(Path::new(&self.path("config.toml")), arguments)
    }

    /// Explains what the job with this token gets of this spec.
    pub(crate) fn explain(&self, token: &str, spec: &str, more: &[&str]) -> Ran {
        let (path, spec) = (self.file("token", token), self.file("spec.yml", spec));
        let mut arguments = vec!["policy", "explain", "--token", &path, "--spec", &spec];
        arguments.extend(more);
        let ran = self.run(&arguments);
        // No part of a token is ever printed, nor is a person's address.
        let parts = token.trim().split('.').filter(|part| part.len() > 8);
        for secret in parts.chain([EMAIL]) {
            assert!(!ran.stdout.contains(secret), "{}", ran.stdout);
            assert!(!ran.stderr.contains(secret), "{}", ran.stderr);
        }
        ran
    }
}

pub(crate) fn run(config: &Path, arguments: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_runner-secretsd"))
        .args(arguments)
        .arg("--config")
        .arg(config)
        .env_clear()
        .output()
        .unwrap();
    Ran {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Whether a screen shows it as it is: no control character but the ends of lines, and nothing that
/// turns the direction of writing.
pub(crate) fn is_harmless(text: &str) -> bool {
    let text = text.replace("\r\n", "\n");
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars()
        .all(|c| c == '\n' || !(c.is_control() || turns(c)))
}
