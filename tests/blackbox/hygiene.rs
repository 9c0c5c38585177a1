//! What the system shows of the programs that hold secrets: no value in their arguments, in their
//! environment or in that of what they start, no core file, no look into their memory.

use std::{
    fs,
    os::unix::{
        fs::{FileExt as _, MetadataExt as _},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    process::{Command, ExitStatus, Stdio},
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Child;

use crate::{
    call::ask,
    callers::{ANOTHER, can_be_another_user},
    daemon::{PROGRAM, Place, until},
    job::{CLIENT, Job, entry},
    stage::{Stage, object},
};

const CANARY: &str = "canary-8b1f0c7e55d94a30";

/// A job under `exec`, whose command waits.
async fn waiting(stage: &Stage) -> Child {
    stage.put("canary", CANARY);
    let spec = object(json!({"A": entry("canary", true)}));
    let job = Job::new(stage, &stage.token(), spec).start(CLIENT, &["exec", "--", "/bin/cat"]);
    let client = job.id().unwrap();
    until("the command runs", || {
        let children = fs::read_to_string(format!("/proc/{client}/task/{client}/children"));
        children.is_ok_and(|children| !children.trim().is_empty())
    })
    .await;
    job
}

#[tokio::test]
async fn no_value_is_in_anybodys_arguments_or_environment() {
    let stage = Stage::new().await;
    let mut job = waiting(&stage).await;
    let mut looked_at = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let Ok(text) = fs::read(process.path().join(file)) else {
                continue;
            };
            looked_at += 1;
            let found = text
                .windows(CANARY.len())
                .any(|part| part == CANARY.as_bytes());
            assert!(!found, "{}/{file}", process.path().display());
        }
    }
    assert!(
        looked_at > 6,
        "test, daemon, client and command have two each"
    );
    job.kill().await.unwrap();
}

/// Whether a process of this machine leaves a core file at all.
fn cores_are_written(place: &Place) -> bool {
    let script = "ulimit -c unlimited && kill -ABRT $$";
    let mut shell = Command::new("/bin/sh");
    let shell = shell.args(["-c", script]).current_dir(place.path(""));
    shell.status().is_ok_and(|status| status.core_dumped())
}

fn assert_no_core(what: &str, status: ExitStatus) {
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{what}");
    assert!(!status.core_dumped(), "{what} left a core file");
}

#[tokio::test]
async fn neither_program_leaves_a_core_file() {
    let place = Place::new();
    if !cores_are_written(&place) {
        println!("skipped: this machine writes no core files, so that none is left shows nothing");
        assert!(std::env::var_os("CI").is_none(), "CI writes core files");
        return;
    }
    // Whatever they are started with.
    let unlimited = "ulimit -c unlimited; exec \"$0\" \"$@\"";
    let mut stage = Stage::new().await;
    let config = stage.place.path("config.toml");
    stage.daemon.stop(Signal::TERM).await;
    let mut daemon = Command::new("/bin/sh");
    daemon.args(["-c", unlimited, PROGRAM, "serve", "--config"]);
    daemon.arg(config).current_dir(place.path(""));
    stage.daemon = crate::daemon::Daemon::run(daemon);
    stage.daemon.listens().await;
    let spec = object(json!({"A": entry("db-password", true)}));
    let job = Job::new(&stage, &stage.token(), spec);
    let arguments = [
        "-c",
        unlimited,
        CLIENT,
        "exec",
        "--",
        "/bin/sh",
        "-c",
        "kill -ABRT $PPID",
    ];
    let output = job.run_in(&place.path(""), "/bin/sh", &arguments).await;
    assert_no_core("the client", output.status);
    let limits = fs::read_to_string(format!("/proc/{}/limits", stage.daemon.pid())).unwrap();
    let limit = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = limit.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"]);
    stage.daemon.signal(Signal::ABORT);
    assert_no_core("the daemon", stage.daemon.ends().await);
}

/// Processes of one user can read each other's memory, but not that of one which cannot be dumped:
/// the kernel shows such a process as root's.
#[tokio::test(flavor = "multi_thread")]
async fn the_clients_memory_is_closed_to_its_own_user() {
    if !can_be_another_user() {
        return;
    }
    let stage = Stage::with(|config| config.text("listen.socket_mode", "0666")).await;
    stage.place.open_to_all();
    let client = stage.place.path("client");
    fs::copy(CLIENT, &client).unwrap();
    let spec: Value = json!({"A": entry("db-password", true)});
    let mut command = Command::new(client);
    let look = "stat -c '%u ' /proc/$PPID/mem /proc/$$/mem; cat /proc/$PPID/environ";
    command
        .args(["exec", "--", "/bin/sh", "-c", look])
        .env_clear();
    command
        .env("PATH", "/usr/bin:/bin")
        .env("RUNNER_SECRETS", spec.to_string());
    command.env("RUNNER_SECRETS_SOCKET", stage.place.socket());
    command.env("JWT", stage.token()).env("CI_JOB_ID", "812");
    command.uid(ANOTHER).gid(ANOTHER).stdin(Stdio::null());
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("0 \n{ANOTHER} \n"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Permission denied"), "{said}");
    // The daemon runs as root here; what it does is the same.
    assert_eq!(
        fs::metadata(format!("/proc/{}/mem", stage.daemon.pid()))
            .unwrap()
            .uid(),
        0
    );
}

/// What precedes every `needle` in the memory of a process.
fn before_each(pid: i32, needle: &[u8], length: usize) -> Vec<String> {
    let memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut found = Vec::new();
    for map in maps.lines().filter(|map| map.contains(" rw")) {
        let (from, to) = map.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        // Some of the kernel's own cannot be read.
        if memory.read_exact_at(&mut bytes, from).is_err() {
            continue;
        }
        let hits = bytes.windows(needle.len()).enumerate();
        for (at, _) in hits.filter(|(_, part)| *part == needle) {
            let before = &bytes[at.saturating_sub(length)..at];
            found.push(String::from_utf8_lossy(before).into_owned());
        }
    }
    found
}

/// SECURITY.md claims no more: the daemon's own copies are wiped, and those of the libraries that
/// bring the value from the vault are not.
#[tokio::test]
async fn after_a_lease_the_daemons_own_copies_of_a_value_are_gone() {
    if !can_be_another_user() {
        return;
    }
    let stage = Stage::new().await;
    stage.put("canary", CANARY);
    let (caller, token) = (stage.caller().await, stage.token());
    for _ in 0..3 {
        let request = ask(&token).file("A", "canary").file("B", "canary");
        let answer = caller.resolve(request).await.unwrap();
        caller.release(&answer.lease_id, &token).await.unwrap();
    }
    let answer = "\"value\":\"";
    let pid = stage.daemon.pid();
    for before in before_each(pid, CANARY.as_bytes(), answer.len()) {
        assert_eq!(before, answer, "it is in no answer of Key Vault");
    }
    // What is looked for is found where it is.
    let path = stage.place.leases().display().to_string();
    assert!(!before_each(pid, path.as_bytes(), 0).is_empty());
}
