//! The client's `explain`, answered by the real daemon: a job hears less than the operator does,
//! and neither Entra nor a vault is asked, because there is none.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStderr, Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::{
    operator::{Operator, RULES},
    signer::token,
};

struct Daemon {
    process: Child,
    // Kept open, so that the daemon can go on writing to it.
    _log: BufReader<ChildStderr>,
}

impl Daemon {
    fn serving(operator: &Operator) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_runner-secretsd"))
            .args(["serve", "--config", &operator.path("config.toml")])
            .env_clear()
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "it does not start");
        }
        Self { process, _log: log }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn client(operator: &Operator, arguments: &[&str], claims: &Value) -> Output {
    let spec = "DB_PASSWORD: {azure_key_vault: {name: db-password}}\n\
                GOLD: {azure_key_vault: {name: gold}}\n";
    Command::new(env!("CARGO_BIN_EXE_runner-secrets"))
        .args(arguments)
        .env_clear()
        .env("CI_JOB_ID", "812")
        .env("AZURE_JWT", token(claims))
        .env("RUNNER_SECRETS", spec)
        .env("RUNNER_SECRETS_SOCKET", operator.path("api.sock"))
        .output()
        .unwrap()
}

#[test]
fn a_job_hears_of_its_own_rules_only() {
    let operator = Operator::new(RULES);
    let _daemon = Daemon::serving(&operator);
    let output = client(&operator, &["explain"], &json!({}));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), stderr.as_str()), (Some(77), ""));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "granted  DB_PASSWORD  shop production\ndenied   GOLD\n    no rule grants the secret gold \
         (variable GOLD): rule \"shop production\" is for the secrets \"db-*\", not for gold\n"
    );
    let output = client(&operator, &["explain", "--json"], &json!({}));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["secrets"][0]["rule"], "shop production");
    assert_ne!(answer["request_id"], "");
}

#[test]
fn a_token_that_fails_is_refused_without_a_verdict() {
    let operator = Operator::new(RULES);
    let _daemon = Daemon::serving(&operator);
    let output = client(&operator, &["explain"], &json!({"exp": 1_700_000_000}));
    assert_eq!(output.status.code(), Some(65));
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("(TOKEN_EXPIRED, request "), "{stderr}");
}
