//! A job: the variables that GitLab gives it, a directory of its own, and ways to run the client
//! in it.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tempfile::TempDir;

pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_runner-secrets");

pub(crate) struct Job {
    pub(crate) place: TempDir,
    variables: BTreeMap<String, String>,
}

impl Job {
    /// Job 812 with one ID token, which knows this socket and wants these secrets.
    pub(crate) fn new(socket: &Path, spec: &str) -> Self {
        let job = Self {
            place: tempfile::tempdir().unwrap(),
            variables: BTreeMap::new(),
        };
        job.with("CI_JOB_ID", "812")
            .with("AZURE_JWT", &id_token("812"))
            .with("PATH", "/usr/local/bin:/usr/bin:/bin")
            .with("RUNNER_SECRETS", spec)
            .with("RUNNER_SECRETS_SOCKET", socket.to_str().unwrap())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.remove(name);
        self
    }

    /// A file in the job's directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A program with this job's environment and no other.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.variables)
            .current_dir(self.place.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn client(&self, arguments: &[&str]) -> Output {
        self.command(CLIENT).args(arguments).output().unwrap()
    }
}

/// An ID token of a job, as far as anybody can tell without its signature.
pub(crate) fn id_token(job: &str) -> String {
    token(&format!(
        r#"{{"iss":"https://gitlab.example.com","job_id":"{job}"}}"#
    ))
}

pub(crate) fn token(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(claims),
        part("signature")
    )
}

/// A spec for these variables, as files or as values.
pub(crate) fn spec(variables: &[&str], file: bool) -> String {
    let lines = variables.iter().map(|variable| {
        let name = variable.to_ascii_lowercase().replace('_', "-");
        format!("{variable}: {{azure_key_vault: {{name: {name}}}, file: {file}}}\n")
    });
    lines.collect()
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
