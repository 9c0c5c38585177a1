//! Leases over the life of a daemon and beyond it: one that stops, one that is killed, and what the
//! next one does with the leases that it finds.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::process::Signal;
use serde_json::json;
use tokio::process::Child;

use crate::{
    call::ask,
    daemon::{PATIENCE, until},
    job::{Job, entry},
    stage::{Stage, object},
};

const VALUE: &[u8] = b"correct horse battery staple";

/// A lease without an owner, and its file.
async fn lease(stage: &Stage, token: &str) -> (String, PathBuf) {
    let request = ask(token).file("A", "db-password");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    let [name] = &stage.place.left()[..] else {
        panic!("{:?}", stage.place.left());
    };
    (answer.lease_id, stage.place.leases().join(name).join("A"))
}

async fn keeping() -> Stage {
    Stage::with(|config| config.text("files.on_stop", "keep")).await
}

#[tokio::test]
async fn a_stop_that_keeps_files_leaves_them_to_the_next_daemon() {
    let mut stage = keeping().await;
    let token = stage.token();
    let (lease, file) = lease(&stage, &token).await;
    stage.daemon.stop(Signal::TERM).await;
    assert!(stage.daemon.log().contains("left to the next daemon"));
    assert_eq!(fs::read(&file).unwrap(), VALUE);
    stage.restart().await;
    assert_eq!(fs::read(&file).unwrap(), VALUE);
    let caller = stage.caller().await;
    // Another job still cannot end it, and the job itself can.
    let another = stage.token_but(json!({"job_id": "813"}));
    caller.release(&lease, &another).await.unwrap_err();
    assert!(file.exists());
    caller.release(&lease, &token).await.unwrap();
    assert!(stage.place.left().is_empty());
    assert!(stage.notes().is_empty());
    stage.daemon.logs("end=\"RELEASED\"").await;
}

#[tokio::test]
async fn a_killed_daemons_leases_go_on_under_the_next_one_however_it_stops() {
    for (on_stop, signal, left) in [
        ("delete", Signal::TERM, 0),
        ("delete", Signal::KILL, 1),
        ("keep", Signal::TERM, 1),
    ] {
        let mut stage = Stage::with(|config| config.text("files.on_stop", on_stop)).await;
        let (_, file) = lease(&stage, &stage.token()).await;
        // One after the other, each finds what the last one left.
        for _ in 0..3 {
            stage.crash().await;
            stage.restart().await;
            stage
                .daemon
                .logs("a lease of an earlier daemon is taken over")
                .await;
            assert_eq!(fs::read(&file).unwrap(), VALUE);
        }
        stage.daemon.signal(signal);
        stage.daemon.ends().await;
        assert_eq!(stage.place.left().len(), left, "{on_stop}, {signal:?}");
        assert_eq!(stage.notes().len(), left, "{on_stop}, {signal:?}");
    }
}

#[tokio::test]
async fn a_lease_that_was_taken_over_ends_when_its_time_is_over() {
    let mut stage = Stage::with(|config| config.text("files.max_ttl", "3s")).await;
    let granted = Instant::now();
    lease(&stage, &stage.token()).await;
    stage.crash().await;
    stage.restart().await;
    assert_eq!(stage.place.left().len(), 1);
    stage.place.emptied().await;
    let lived = granted.elapsed().as_secs_f32();
    assert!((2.9..5.0).contains(&lived), "{lived} s");
    stage.daemon.logs("end=\"EXPIRED\"").await;
    until("the note is gone", || stage.notes().is_empty()).await;
}

/// A job's shell that has its secrets and waits, and the file that it has.
async fn shell(stage: &Stage) -> (Child, PathBuf) {
    let spec = object(json!({"A": entry("db-password", true)}));
    let told = stage.place.path("told");
    let script = format!(
        r#"secrets=$("$CLIENT" env) || exit $?
        eval "$secrets"; unset secrets
        printf %s "$A" >"{told}.new"; mv "{told}.new" "{told}"
        read -r line"#,
        told = told.display()
    );
    let shell = Job::new(stage, &stage.token(), spec).start("/bin/sh", &["-c", &script]);
    until("the shell has its secrets", || told.exists()).await;
    let path = fs::read_to_string(&told).unwrap();
    fs::remove_file(told).unwrap();
    (shell, path.into())
}

async fn with_grace(grace: &str) -> Stage {
    Stage::with(|config| config.text("files.owner_grace", grace)).await
}

async fn kill(mut shell: Child) {
    shell.kill().await.unwrap();
}

async fn gone(file: &Path) {
    until("the file is gone", || !file.exists()).await;
}

#[tokio::test]
async fn files_outlive_the_shell_by_the_grace_and_no_more() {
    let mut stage = with_grace("1s").await;
    let (shell, file) = shell(&stage).await;
    let ended = Instant::now();
    kill(shell).await;
    // after_script comes now.
    assert_eq!(fs::read(&file).unwrap(), VALUE);
    gone(&file).await;
    let grace = ended.elapsed().as_secs_f32();
    // A machine that is busy is late, but no lease's own time is as short.
    assert!((0.9..15.0).contains(&grace), "{grace} s");
    stage.daemon.logs("end=\"OWNER_ENDED\"").await;
    assert!(stage.place.left().is_empty());
    // It is deleted when the end is on record.
    until("the note is gone", || stage.notes().is_empty()).await;
}

#[tokio::test]
async fn the_next_daemon_still_sees_the_owner_end() {
    let mut stage = with_grace("100ms").await;
    let (shell, file) = shell(&stage).await;
    stage.crash().await;
    stage.restart().await;
    assert_eq!(fs::read(&file).unwrap(), VALUE);
    kill(shell).await;
    gone(&file).await;
    stage.daemon.logs("end=\"OWNER_ENDED\"").await;
}

#[tokio::test]
async fn an_owner_that_ended_while_no_daemon_ran_is_missed() {
    let mut stage = with_grace("100ms").await;
    let (shell, file) = shell(&stage).await;
    stage.crash().await;
    kill(shell).await;
    assert!(file.exists(), "nobody is there to delete it");
    stage.restart().await;
    gone(&file).await;
    stage.daemon.logs("end=\"OWNER_ENDED\"").await;
}

#[tokio::test]
async fn an_owners_end_that_was_seen_is_not_forgotten_by_the_next_daemon() {
    let mut stage = with_grace("2s").await;
    let (shell, file) = shell(&stage).await;
    let [note] = &stage.notes()[..] else {
        panic!("{:?}", stage.notes());
    };
    let note = stage.place.state().join(note);
    kill(shell).await;
    let ended = Instant::now();
    until("the note has the end", || {
        fs::read_to_string(&note).is_ok_and(|text| text.contains("\"owner\":null"))
    })
    .await;
    stage.crash().await;
    stage.restart().await;
    gone(&file).await;
    assert!(ended.elapsed() < PATIENCE);
    let grace = ended.elapsed().as_secs_f32();
    assert!((1.9..4.0).contains(&grace), "{grace} s");
}

#[tokio::test]
async fn another_process_with_the_owners_number_is_not_the_owner() {
    let mut stage = with_grace("100ms").await;
    let (shell, file) = shell(&stage).await;
    stage.crash().await;
    // As if the shell had ended and its number were another's now.
    let note = stage.place.state().join(&stage.notes()[0]);
    let mut edited: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let started = edited["owner"]["started"].as_u64().unwrap();
    edited["owner"]["started"] = json!(started - 1);
    fs::write(&note, edited.to_string()).unwrap();
    stage.restart().await;
    gone(&file).await;
    kill(shell).await;
}

#[tokio::test]
async fn a_note_says_whose_the_lease_is_and_no_value() {
    let stage = with_grace("10m").await;
    let (shell, file) = shell(&stage).await;
    let note = stage.place.state().join(&stage.notes()[0]);
    let text = fs::read_to_string(&note).unwrap();
    let note: serde_json::Value = serde_json::from_str(&text).unwrap();
    let directory = file.parent().unwrap().file_name().unwrap();
    assert_eq!(note["directory"], directory.to_str().unwrap());
    assert_eq!(note["job_id"], "812");
    assert_eq!(note["owner"]["pid"], shell.id().unwrap());
    let value = String::from_utf8_lossy(VALUE).into_owned();
    assert!(!text.contains(&value), "{text}");
    kill(shell).await;
}
