//! The files of a job: how they lie there, and everything that ends them.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use runner_secrets_proto::{
    Reason,
    v1::{ResolveResponse, variable::Content},
};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    call::{Ask, Caller, Refusal, ask},
    daemon::{names, until},
    stage::Stage,
};

fn path(answer: &ResolveResponse, variable: &str) -> PathBuf {
    match &answer.variables[variable].content {
        Some(Content::Path(path)) => PathBuf::from(path),
        _ => panic!("{variable} is no file"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn is_random(name: &str) -> bool {
    name.len() == 32
        && name
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[tokio::test]
async fn each_request_has_a_closed_directory_of_its_own_with_an_unguessable_name() {
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let request = ask(&token)
        .file("A", "db-password")
        .file("B", "api-key")
        .value("C", "api-key");
    let mut directories = Vec::new();
    for _ in 0..3 {
        let answer = caller.resolve(request.clone()).await.unwrap();
        let directory = path(&answer, "A").parent().unwrap().to_owned();
        assert_eq!(directory.parent(), Some(stage.place.leases().as_path()));
        let name = directory.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(is_random(&name), "{name}");
        assert!(is_random(&answer.lease_id), "{}", answer.lease_id);
        assert_ne!(answer.lease_id, name, "the lease tells where the files are");
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(names(&directory), ["A", "B"]);
        for variable in ["A", "B"] {
            let path = path(&answer, variable);
            assert_eq!(path, directory.join(variable));
            assert_eq!(mode(&path), 0o400);
            assert!(answer.variables[variable].file);
        }
        let value = &answer.variables["C"];
        assert_eq!(
            (value.file, &value.content),
            (false, &Some(Content::Value(b"key-of-this-year".to_vec())))
        );
        directories.push(name);
    }
    directories.sort();
    directories.dedup();
    assert_eq!(directories.len(), 3);
    assert_eq!(stage.place.left(), directories);
}

#[tokio::test]
async fn the_mode_of_files_is_the_operators() {
    let stage = Stage::with(|config| config.text("files.file_mode", "0440")).await;
    let request = ask(&stage.token()).file("A", "db-password");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    assert_eq!(mode(&path(&answer, "A")), 0o440);
}

#[tokio::test]
async fn inline_delivery_writes_nothing_and_needs_no_directory() {
    let stage = Stage::with(|config| {
        config
            .text("listen.delivery", "inline")
            .set("listen.inline_disk", true)
            .text("files.directory", "/nonexistent/runner-secrets")
    })
    .await;
    let request = ask(&stage.token())
        .file("A", "db-password")
        .value("B", "api-key");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    assert_eq!(answer.lease_id, "");
    assert_eq!(answer.expire_time, None);
    assert!(answer.disk_allowed);
    for (variable, file) in [("A", true), ("B", false)] {
        let variable = &answer.variables[variable];
        assert_eq!(variable.file, file);
        assert!(matches!(variable.content, Some(Content::Value(_))));
    }
    let stage = Stage::with(|config| config.text("listen.delivery", "inline")).await;
    let request = ask(&stage.token()).file("A", "db-password");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    assert!(!answer.disk_allowed);
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn values_alone_need_no_lease() {
    let stage = Stage::new().await;
    let request = ask(&stage.token()).value("A", "db-password");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    assert_eq!((answer.lease_id.as_str(), answer.expire_time), ("", None));
    assert!(stage.place.left().is_empty());
}

async fn lease(caller: &Caller, token: &str) -> (String, PathBuf) {
    let answer = caller.resolve(ask(token).file("A", "db-password")).await;
    let answer = answer.unwrap();
    let path = path(&answer, "A");
    (answer.lease_id, path)
}

#[tokio::test]
async fn release_deletes_the_files_of_its_own_lease_only() {
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let (lease_of_one, file_of_one) = lease(&caller, &token).await;
    let (lease_of_two, file_of_two) = lease(&caller, &token).await;
    // What the job put there itself goes as well.
    let directory = file_of_one.parent().unwrap().to_owned();
    fs::create_dir_all(directory.join("sub/sub")).unwrap();
    fs::write(directory.join("sub/sub/file"), "x").unwrap();
    std::os::unix::fs::symlink(&file_of_two, directory.join("link")).unwrap();

    // Any token of the job will do, over any connection.
    let another = stage.token();
    let elsewhere = stage.caller().await;
    elsewhere.release(&lease_of_one, &another).await.unwrap();
    assert!(!directory.exists());
    assert_eq!(
        fs::read(&file_of_two).unwrap(),
        b"correct horse battery staple"
    );
    // It is gone, which is what was wanted.
    caller.release(&lease_of_one, &token).await.unwrap();
    caller.release("never-heard-of", &token).await.unwrap();
    caller.release("", &token).await.unwrap();
    assert!(file_of_two.exists());
    caller.release(&lease_of_two, &token).await.unwrap();
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn release_takes_a_token_of_the_same_job() {
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let (lease, file) = lease(&caller, &token).await;
    for (claims, reason) in [
        (json!({"job_id": "813"}), Reason::CallerDenied),
        (json!({"project_id": "21"}), Reason::CallerDenied),
        (
            json!({"iss": "https://gitlab.evil.test"}),
            Reason::TokenInvalid,
        ),
        (json!({"exp": 1_700_000_000}), Reason::TokenExpired),
        (json!({"job_id": null}), Reason::TokenInvalid),
    ] {
        let token = stage.token_but(claims);
        let refusal = caller.release(&lease, &token).await.unwrap_err();
        assert_eq!(refusal.reason, reason, "{refusal:?}");
        assert!(file.exists());
    }
    let refusal = caller.release(&lease, "").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::TokenInvalid);
    assert!(file.exists());
    caller.release(&lease, &token).await.unwrap();
    assert!(!file.exists());
}

#[tokio::test]
async fn files_are_deleted_when_their_time_is_over() {
    let stage = Stage::with(|config| config.text("files.max_ttl", "1s")).await;
    let (caller, token) = (stage.caller().await, stage.token());
    let answer = caller.resolve(ask(&token).file("A", "db-password")).await;
    let answer = answer.unwrap();
    let until = answer.expire_time.unwrap().seconds;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(until <= i64::try_from(now).unwrap() + 1);
    stage.place.emptied().await;
    caller.release(&answer.lease_id, &token).await.unwrap();
}

#[tokio::test]
async fn files_do_not_outlive_the_id_token() {
    let stage = Stage::new().await;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expires = i64::try_from(now).unwrap() + 5;
    let token = stage.token_but(json!({"exp": expires}));
    let request = ask(&token).file("A", "db-password");
    let answer = stage.caller().await.resolve(request).await.unwrap();
    let until = answer.expire_time.unwrap().seconds;
    assert!(
        (expires - 1..=expires).contains(&until),
        "{until}, {expires}"
    );
    stage.place.emptied().await;
}

#[tokio::test]
async fn a_stopped_daemon_leaves_no_file_and_no_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut stage = Stage::new().await;
        let (caller, token) = (stage.caller().await, stage.token());
        lease(&caller, &token).await;
        lease(&caller, &token).await;
        assert_eq!(stage.place.left().len(), 2);
        // The open connection must not keep it.
        stage.daemon.stop(signal).await;
        assert!(stage.place.left().is_empty());
        assert!(names(&stage.place.path("api")).is_empty());
        drop(caller);
    }
}

/// What a request gets that is running when the daemon is told to stop.
async fn caught_by_the_stop(stage: &mut Stage, request: Ask) -> Result<ResolveResponse, Refusal> {
    stage.fault(json!({"route": "secret", "kind": "delay", "delay_ms": 1500}));
    let caller = stage.caller().await;
    let call = tokio::spawn(async move { caller.resolve(request).await });
    stage.asked("secret").await;
    stage.daemon.signal(Signal::TERM);
    stage.daemon.logs("stopping: letting requests end").await;
    let socket = stage.place.socket();
    until("new connections are refused", || {
        std::os::unix::net::UnixStream::connect(&socket).is_err()
    })
    .await;
    let answer = call.await.unwrap();
    let status = stage.daemon.ends().await;
    assert_eq!(status.code(), Some(0), "{}", stage.daemon.log());
    assert!(!socket.exists());
    answer
}

#[tokio::test]
async fn a_stopping_daemon_lets_requests_end_and_takes_no_new_ones() {
    let mut stage = Stage::new().await;
    let request = ask(&stage.token()).value("A", "db-password");
    let answer = caught_by_the_stop(&mut stage, request).await.unwrap();
    let value = Some(Content::Value(b"correct horse battery staple".to_vec()));
    assert_eq!(answer.variables["A"].content, value);
}

#[tokio::test]
async fn a_stopping_daemon_gives_no_paths_that_it_is_about_to_delete() {
    let mut stage = Stage::new().await;
    let request = ask(&stage.token())
        .value("A", "db-password")
        .file("B", "api-key");
    let refusal = caught_by_the_stop(&mut stage, request).await.unwrap_err();
    // The job may try again, and finds the next daemon.
    assert_eq!(refusal.reason, Reason::DeadlineExceeded);
    let sentence = "the time for the request ran out while the daemon was stopping";
    assert_eq!(refusal.message, sentence);
    assert!(stage.place.left().is_empty());
    assert!(names(&stage.place.state()).is_empty());
}

#[tokio::test]
async fn a_stopping_daemon_that_keeps_files_gives_paths_that_stay() {
    let mut stage = Stage::with(|config| config.text("files.on_stop", "keep")).await;
    let request = ask(&stage.token()).file("B", "api-key");
    let answer = caught_by_the_stop(&mut stage, request).await.unwrap();
    let value = fs::read(path(&answer, "B")).unwrap();
    assert_eq!(value, b"key-of-this-year");
    assert_eq!(names(&stage.place.state()).len(), 1);
}

#[tokio::test]
async fn a_request_that_outlives_the_stop_timeout_is_cut_off() {
    let mut stage = Stage::with(|config| config.text("limits.stop_timeout", "300ms")).await;
    let caller = stage.caller().await;
    lease(&caller, &stage.token()).await;
    stage.fault(json!({"route": "secret", "kind": "hang"}));
    let request = ask(&stage.token()).file("A", "db-password");
    let call = tokio::spawn(async move {
        let request = tonic::Request::new(request.0);
        caller.try_send(request).await
    });
    stage.asked("secret").await;
    stage.daemon.signal(Signal::TERM);
    let status = stage.daemon.ends().await;
    assert_eq!(status.code(), Some(1), "{}", stage.daemon.log());
    assert!(stage.daemon.log().contains("and were cut off"));
    assert!(call.await.unwrap().is_err());
    assert!(stage.place.left().is_empty());
    assert!(!stage.place.socket().exists());
    until("no request is active", || {
        stage.emulator.active_requests() == 0
    })
    .await;
}

#[tokio::test]
async fn files_that_cannot_be_written_are_a_failure_without_leftovers() {
    let stage = Stage::new().await;
    fs::remove_dir(stage.place.leases()).unwrap();
    let (caller, token) = (stage.caller().await, stage.token());
    let refusal = caller.refused(ask(&token).file("A", "db-password")).await;
    assert_eq!(refusal.reason, Reason::FilesFailed);
    let leases = stage.place.leases().display().to_string();
    assert!(!refusal.message.contains(&leases), "{refusal:?}");
    assert!(stage.daemon.log().contains(&leases));
    assert!(!stage.place.leases().exists());
}
