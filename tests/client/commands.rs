//! What the commands print and how they end: the cases under `tests/cmd`, and those that need a
//! provider.

use std::process::Stdio;

use runner_secrets_proto::{Reason, reason::TABLE};

use crate::{
    job::{CLIENT, Job, spec, stderr, stdout},
    provider::{Provider, refusal},
};

#[test]
fn command_lines_print_what_their_cases_say() {
    trycmd::TestCases::new()
        .register_bin("runner-secrets", trycmd::schema::Bin::Path(CLIENT.into()))
        .case("tests/cmd/*.toml");
}

#[test]
fn success_is_one_line() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["env"]);
    assert_eq!(
        stderr(&output),
        "runner-secrets: 1 secret for job 812 (request 7f3a-test); the runner does not mask it in \
         this mode\n"
    );
    let lines = stdout(&output);
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0].starts_with("export A='/") && lines[0].ends_with("/0a1b/A'"));
    assert_eq!(lines[1..], ["export RUNNER_SECRETS_LEASE='lease-1'"]);
}

/// `retry: exit_codes` in pipelines goes by these.
#[test]
fn every_reason_has_its_exit_status() {
    for row in TABLE {
        let Some(code) = row.code else { continue };
        let provider = Provider::start(move |_| Err(refusal(row.name, code)));
        let job = Job::new(&provider.socket(), &spec(&["A"], true));
        let output = job.client(&["env"]);
        assert_eq!(
            output.status.code(),
            Some(i32::from(row.exit)),
            "{}",
            row.name
        );
        assert_eq!(stdout(&output), format!("(exit {})\n", row.exit));
        assert_eq!(
            stderr(&output),
            format!(
                "runner-secrets: the rule says no ({}, request 7f3a-test)\n",
                row.name
            )
        );
    }
}

#[test]
fn a_traced_shell_is_given_no_values() {
    let provider = Provider::with_files(&[("A", b"a")]);
    for traced in ["true", "TRUE", "1", "T"] {
        let job = Job::new(&provider.socket(), &spec(&["A"], false));
        let output = job.with("CI_DEBUG_TRACE", traced).client(&["env"]);
        assert_eq!(output.status.code(), Some(64), "{traced}");
        assert_eq!(
            stderr(&output),
            "runner-secrets: A has `file: false` and CI_DEBUG_TRACE is on: the shell would print \
             its value (REQUEST_INVALID)
  refused by  runner-secrets itself; nothing was sent
  to fix      take the secret as a file: `file: true`
  see         docs/troubleshooting.md#request-invalid
"
        );
    }
    assert!(provider.calls().resolved.is_empty());
    for (traced, file) in [("false", false), ("", false), ("0", false), ("true", true)] {
        let job = Job::new(&provider.socket(), &spec(&["A"], file));
        let output = job.with("CI_DEBUG_TRACE", traced).client(&["env"]);
        assert!(output.status.success(), "{traced}");
    }
}

#[test]
fn secrets_that_nobody_reads_are_given_back() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut client = job.command(CLIENT);
    let output = client
        .arg("env")
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(stderr(&output).contains("cannot write to standard output"));
    assert_eq!(provider.calls().released.len(), 1);
}

#[test]
fn the_daemons_own_sentence_is_what_the_job_sees() {
    let provider = Provider::refusing(Reason::PolicyDenied);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["get", "A"]);
    assert_eq!(output.status.code(), Some(77));
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "runner-secrets: the rule says no (POLICY_DENIED, request 7f3a-test)\n"
    );
}
