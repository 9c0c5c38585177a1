//! `exec`: the command gets the secrets and every signal, its status comes back, and nothing stays.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Stdio},
};

use runner_secrets_proto::Reason;
use rustix::process::{Pid, Signal, kill_process};
use tonic::{Code, Status};

use crate::{
    job::{CLIENT, Job, spec, stderr, stdout},
    provider::Provider,
};

fn send(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn the_command_sees_the_secrets_and_its_status_comes_back() {
    let provider = Provider::with_files(&[("A", b"file\n"), ("B", b"it's a value")]);
    let text = format!("{}{}", spec(&["A"], true), spec(&["B"], false));
    let job = Job::new(&provider.socket(), &text);
    let script = "cat \"$A\"; printf %s \"$B\"; exit 42";
    let output = job.client(&["exec", "--", "sh", "-c", script]);
    assert_eq!(stdout(&output), "file\nit's a value");
    assert_eq!(output.status.code(), Some(42));
    assert_eq!(
        stderr(&output),
        "runner-secrets: 2 secrets for job 812 (request 7f3a-test); the runner does not mask them \
         in this mode\n"
    );
    assert_eq!(provider.calls().released.len(), 1);
}

#[test]
fn the_lease_ends_with_the_client_itself() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let mut client = job.command(CLIENT);
    let mut client = client.args(["exec", "--", "true"]).spawn().unwrap();
    let pid = i32::try_from(client.id()).unwrap();
    assert!(client.wait().unwrap().success());
    assert_eq!(provider.calls().resolved[0].owner_pid, pid);
}

#[test]
fn every_signal_reaches_the_command() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::TERM, "TERM"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
    ] {
        // It reads from a pipe that stays open, so only the signal can end it.
        let script = format!(
            "trap 'echo got {name}; exit 7' {name}; echo ready; while read x; do :; done; echo missed"
        );
        let mut client = job
            .command(CLIENT)
            .args(["exec", "--", "dash", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = client.stdin.take();
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        send(&client, signal);
        assert_eq!(lines.next().unwrap().unwrap(), format!("got {name}"));
        assert_eq!(client.wait().unwrap().code(), Some(7), "{name}");
        drop(stdin);
    }
    assert_eq!(provider.calls().released.len(), 6);
}

#[test]
fn a_command_that_a_signal_ends_has_the_status_of_shells() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["exec", "--", "sh", "-c", "kill -KILL $$"]);
    assert_eq!(output.status.code(), Some(137));
    assert_eq!(provider.calls().released.len(), 1);
}

#[test]
fn a_signal_while_the_daemon_works_ends_the_client() {
    let provider = Provider::start(|_| Err(Status::new(Code::Cancelled, "never answer")));
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let mut client = job.command(CLIENT);
    let mut client = client.args(["exec", "--", "true"]).spawn().unwrap();
    provider.wait_for_resolve();
    send(&client, Signal::TERM);
    assert_eq!(client.wait().unwrap().code(), Some(143));
}

#[test]
fn a_command_that_cannot_run_is_reported_as_shells_do_and_nothing_stays() {
    let provider = Provider::with_files(&[("A", b"a")]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let plain = job.path("plain");
    fs::File::create_new(&plain)
        .unwrap()
        .write_all(b"text")
        .unwrap();
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
    for (program, status) in [("/nowhere/command", 127), (plain.to_str().unwrap(), 126)] {
        let output = job.client(&["exec", "--", program]);
        assert_eq!(output.status.code(), Some(status), "{program}");
        let expected = format!("runner-secrets: cannot run {program}: ");
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
    assert_eq!(provider.calls().released.len(), 2);
}

#[test]
fn a_refusal_keeps_the_command_from_running() {
    let provider = Provider::refusing(Reason::PolicyDenied);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["exec", "--", "touch", "ran"]);
    assert_eq!(output.status.code(), Some(77));
    assert!(!job.path("ran").exists());
}

#[test]
fn a_job_without_a_spec_just_runs_the_command() {
    let nowhere = tempfile::tempdir().unwrap();
    let job = Job::new(&nowhere.path().join("api.sock"), "").without("RUNNER_SECRETS");
    let output = job.client(&["exec", "--", "echo", "ran"]);
    assert_eq!(stdout(&output), "ran\n");
    assert_eq!(stderr(&output), "");
}
