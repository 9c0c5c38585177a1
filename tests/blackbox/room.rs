//! A place that runs out, closes or vanishes under the daemon: requests fail whole, and what was
//! there before still ends.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use runner_secrets_proto::Reason;

use crate::{
    call::{Caller, ask},
    daemon::{Place, names, until},
    stage::Stage,
};

/// A file system of the test's own. Dropping it unmounts it.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Mounted {
    /// A tmpfs on `directory`, where this machine lets the test mount one. Where everything has to
    /// be tested, it must.
    pub(crate) fn tmpfs(directory: &Path, options: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]);
        let output = mount.arg(directory).output().unwrap();
        if output.status.success() {
            return Some(Self(directory.to_owned()));
        }
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(std::env::var_os("CI").is_none(), "CI has to mount: {why}");
        println!("skipped: cannot mount a tmpfs: {why}");
        None
    }

    pub(crate) fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", &format!("remount,{options}")])
            .arg(&self.0);
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.unwrap().success() || std::thread::panicking());
    }
}

/// A daemon whose files go to a tmpfs of its own.
async fn stage(options: &str) -> Option<(Stage, Mounted)> {
    let place = Place::new();
    let mounted = Mounted::tmpfs(&place.leases(), options)?;
    Some((Stage::within(place).await, mounted))
}

async fn fails(stage: &Stage, caller: &Caller, left: &[String]) {
    let request = ask(&stage.token())
        .file("A", "long")
        .file("B", "db-password");
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::FilesFailed, "{refusal:?}");
    assert_eq!(stage.place.left(), left, "nothing partial is left");
}

#[tokio::test]
async fn a_full_tmpfs_fails_the_request_whole() {
    let Some((stage, mounted)) = stage("size=128k,mode=0711").await else {
        return;
    };
    stage.put("long", &"x".repeat(20_000));
    let caller = stage.caller().await;
    let (filler, token) = (mounted.0.join("filler"), stage.token());
    let held = caller.resolve(ask(&token).file("A", "long")).await.unwrap();
    let before = stage.place.left();
    // 32 pages, of which the first lease has 5; a request takes 6. From room for nothing to room for
    // all but the last page.
    for free in 0..=5 {
        drop(fs::remove_file(&filler));
        fs::write(&filler, vec![0; (32 - 5 - free) * 4096]).unwrap();
        let mut left = before.clone();
        left.push("filler".to_owned());
        fails(&stage, &caller, &left).await;
        assert_eq!(
            stage.notes().len(),
            1,
            "no note is left, but the other lease's"
        );
    }
    fs::remove_file(&filler).unwrap();
    let request = ask(&token).file("A", "long").file("B", "db-password");
    caller.resolve(request).await.unwrap();
    caller.release(&held.lease_id, &token).await.unwrap();
    assert_eq!(stage.place.left().len(), 1);
}

#[tokio::test]
async fn a_tmpfs_without_inodes_fails_the_request_whole() {
    let Some((stage, mounted)) = stage("size=1m,nr_inodes=8,mode=0711").await else {
        return;
    };
    stage.put("long", "x");
    let caller = stage.caller().await;
    // One inode is the root's; a request for two files takes three.
    let mut left = Vec::new();
    for n in 0..7 {
        fs::write(mounted.0.join(format!("filler-{n}")), "").unwrap();
        left.push(format!("filler-{n}"));
        if n >= 4 {
            fails(&stage, &caller, &left).await;
            assert!(stage.notes().is_empty());
        }
    }
    for n in 4..7 {
        fs::remove_file(mounted.0.join(format!("filler-{n}"))).unwrap();
    }
    let request = ask(&stage.token())
        .file("A", "long")
        .file("B", "db-password");
    caller.resolve(request).await.unwrap();
}

#[tokio::test]
async fn files_that_cannot_be_deleted_are_deleted_as_soon_as_they_can() {
    let Some((mut stage, mounted)) = stage("mode=0711").await else {
        return;
    };
    stage.put("long", "x");
    let (caller, token) = (stage.caller().await, stage.token());
    let answer = caller.resolve(ask(&token).file("A", "long")).await.unwrap();
    let left = stage.place.left();
    mounted.remount("ro");
    fails(&stage, &caller, &left).await;
    // The job is not told that its files are gone.
    let refusal = caller.release(&answer.lease_id, &token).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::FilesFailed);
    stage.daemon.logs("secrets are left behind, for now").await;
    assert!(!stage.daemon.log().contains("a lease ended"));
    assert_eq!(stage.notes().len(), 1);
    mounted.remount("rw");
    stage.place.emptied().await;
    stage.daemon.logs("end=\"RELEASED\"").await;
    until("the note is gone", || stage.notes().is_empty()).await;
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_refused_at_the_start() {
    let Some((mut stage, mounted)) = stage("mode=0711").await else {
        return;
    };
    let answer = stage.caller().await;
    let request = ask(&stage.token()).file("A", "db-password");
    answer.resolve(request).await.unwrap();
    stage.crash().await;
    mounted.remount("ro");
    let mut daemon = crate::daemon::Daemon::spawn(&stage.place.path("config.toml"));
    assert_eq!(daemon.ends().await.code(), Some(1), "{}", daemon.log());
    let expected = "files.directory: cannot create a directory in";
    assert!(daemon.log().contains(expected), "{}", daemon.log());
    mounted.remount("rw");
    stage.restart().await;
    stage.daemon.logs("taken over").await;
}

#[tokio::test]
async fn a_directory_that_was_removed_takes_its_leases_with_it() {
    let mut stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    stage.put("long", "x");
    let answer = caller.resolve(ask(&token).file("A", "long")).await.unwrap();
    fs::remove_dir_all(stage.place.leases()).unwrap();
    let refusal = caller.refused(ask(&token).file("A", "long")).await;
    assert_eq!(refusal.reason, Reason::FilesFailed);
    caller.release(&answer.lease_id, &token).await.unwrap();
    stage.daemon.logs("end=\"RELEASED\"").await;
    assert!(names(&stage.place.state()).is_empty());
}
