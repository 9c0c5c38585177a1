//! A job that runs the client program.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use serde_json::{Map, Value, json};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::{daemon::PATIENCE, stage::Stage};

pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_runner-secrets");

/// The spec of one secret, read with the token in `$JWT`.
pub(crate) fn entry(name: &str, file: bool) -> Value {
    json!({"azure_key_vault": {"name": name}, "token": "$JWT", "file": file})
}

/// A job's environment.
pub(crate) struct Job {
    variables: Vec<(String, String)>,
}

impl Job {
    /// Of the job 812, which wants `spec`.
    pub(crate) fn new(stage: &Stage, token: &str, spec: Map<String, Value>) -> Self {
        Self::at(&stage.place.socket(), token, spec)
    }

    pub(crate) fn at(socket: &Path, token: &str, spec: Map<String, Value>) -> Self {
        let spec = Value::Object(spec).to_string();
        let socket = socket.display().to_string();
        let variables = [
            ("CI_JOB_ID", "812"),
            ("JWT", token),
            ("PATH", "/usr/bin:/bin"),
            ("RUNNER_SECRETS", &spec),
            ("RUNNER_SECRETS_SOCKET", &socket),
        ];
        let owned = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self {
            variables: owned.into(),
        }
    }

    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// Runs `runner-secrets` to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Output {
        self.program(CLIENT, arguments).await
    }

    /// Runs a script in which `$CLIENT` is the client.
    pub(crate) async fn script(&self, script: &str) -> Output {
        self.program("/bin/sh", &["-c", script]).await
    }

    /// Starts a program that reads from its standard input until it ends.
    pub(crate) fn start(&self, program: &str, arguments: &[&str]) -> Child {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("CLIENT", CLIENT);
        let variables = self.variables.iter().map(|(name, value)| (name, value));
        command.envs(variables).kill_on_drop(true);
        command
    }

    async fn program(&self, program: &str, arguments: &[&str]) -> Output {
        self.run_in(Path::new("."), program, arguments).await
    }

    /// Runs a program in a directory to its end.
    pub(crate) async fn run_in(&self, at: &Path, program: &str, arguments: &[&str]) -> Output {
        let mut command = self.command(program, arguments);
        command.current_dir(at);
        command.stdin(Stdio::null());
        let output = timeout(PATIENCE, command.output()).await;
        output.expect("the client does not end").unwrap()
    }
}

/// What a command said to people.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
