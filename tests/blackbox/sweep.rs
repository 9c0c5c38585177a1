//! What a daemon does at its start with what it finds: it deletes what is its own and over, and
//! leaves and reports what is not its own.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{call::ask, daemon::names, stage::Stage};

/// A killed daemon's one lease.
struct Left {
    stage: Stage,
    directory: PathBuf,
    note: PathBuf,
}

impl Left {
    async fn new() -> Self {
        let mut stage = Stage::new().await;
        let request = ask(&stage.token()).file("A", "db-password");
        stage.caller().await.resolve(request).await.unwrap();
        stage.crash().await;
        let directory = stage.place.leases().join(&stage.place.left()[0]);
        let note = stage.place.state().join(&stage.notes()[0]);
        Self {
            stage,
            directory,
            note,
        }
    }

    fn name(&self) -> String {
        self.directory.file_name().unwrap().to_str().unwrap().into()
    }

    fn edit(&self, key: &str, value: Value) {
        let mut note: Value = serde_json::from_slice(&fs::read(&self.note).unwrap()).unwrap();
        assert!(note.get(key).is_some());
        note[key] = value;
        fs::write(&self.note, note.to_string()).unwrap();
    }

    /// Starts the next daemon, which must find nothing worth keeping.
    async fn swept(mut self) {
        self.stage.restart().await;
        assert!(self.stage.place.left().is_empty());
        assert!(self.stage.notes().is_empty());
        let ended = self.stage.place.recorded("the end of the lease", |record| {
            record["event"] == "lease" && record["end"] == "SWEPT"
        });
        assert_eq!(ended.await["job_id"], "812");
        let log = self.stage.daemon.log();
        assert!(!log.contains("and left"), "{log}");
    }

    /// Starts the next daemon, which must leave `path` alone and say so.
    async fn spared(&mut self, path: &Path) {
        self.stage.restart().await;
        assert!(path.symlink_metadata().is_ok());
        let log = self.stage.daemon.log();
        let path = path.display().to_string();
        let line = log
            .lines()
            .find(|line| line.contains("WARN") && line.contains(&path));
        assert!(line.is_some_and(|line| line.contains("left")), "{log}");
        assert!(!log.contains("taken over"), "{log}");
        assert!(!log.contains("end="), "{log}");
    }
}

#[tokio::test]
async fn a_lease_whose_time_is_over_is_deleted() {
    let left = Left::new().await;
    left.edit("until_ms", json!(1));
    left.swept().await;
}

#[tokio::test]
async fn a_lease_of_another_boot_is_deleted() {
    let left = Left::new().await;
    left.edit("boot", json!("00000000-0000-0000-0000-000000000000"));
    left.swept().await;
}

#[tokio::test]
async fn a_request_that_was_never_answered_is_deleted() {
    let left = Left::new().await;
    let hidden = left.directory.with_file_name(format!(".{}", left.name()));
    fs::rename(&left.directory, hidden).unwrap();
    left.swept().await;
}

#[tokio::test]
async fn a_lease_whose_directory_is_gone_is_ended_on_record() {
    let left = Left::new().await;
    fs::remove_dir_all(&left.directory).unwrap();
    left.swept().await;
}

#[tokio::test]
async fn an_empty_directory_of_a_request_that_had_hardly_begun_is_deleted() {
    let mut left = Left::new().await;
    let hidden = left.stage.place.leases().join(format!(".{:032x}", 7));
    fs::DirBuilder::new().mode(0o700).create(&hidden).unwrap();
    left.stage.restart().await;
    assert_eq!(left.stage.place.left(), [left.name()]);
}

#[tokio::test]
async fn a_directory_without_a_note_is_left_and_reported() {
    let mut left = Left::new().await;
    fs::remove_file(&left.note).unwrap();
    let directory = left.directory.clone();
    left.spared(&directory).await;
    assert!(directory.join("A").exists());
    // Whatever it looks like.
    for name in ["somebody", ".hidden", "0123456789abcdef0123456789abcdef"] {
        let foreign = left.stage.place.leases().join(name);
        fs::create_dir(&foreign).unwrap();
        fs::write(foreign.join("precious"), "x").unwrap();
        left.stage.crash().await;
        left.spared(&foreign).await;
        assert!(foreign.join("precious").exists());
    }
}

#[tokio::test]
async fn another_directory_under_the_name_in_a_note_is_left_and_reported() {
    let mut left = Left::new().await;
    let moved = left.stage.place.path("moved");
    fs::rename(&left.directory, &moved).unwrap();
    fs::create_dir(&left.directory).unwrap();
    fs::write(left.directory.join("precious"), "x").unwrap();
    let directory = left.directory.clone();
    left.spared(&directory).await;
    assert!(directory.join("precious").exists());
    assert!(moved.join("A").exists());
    assert!(left.stage.notes().is_empty(), "it was about nothing");
}

#[tokio::test]
async fn a_link_under_the_name_in_a_note_is_left_and_not_followed() {
    let mut left = Left::new().await;
    let moved = left.stage.place.path("moved");
    fs::rename(&left.directory, &moved).unwrap();
    symlink(&moved, &left.directory).unwrap();
    let directory = left.directory.clone();
    left.spared(&directory).await;
    assert!(moved.join("A").exists());
}

#[tokio::test]
async fn a_torn_note_is_reported_and_its_directory_left() {
    let mut left = Left::new().await;
    let text = fs::read(&left.note).unwrap();
    fs::write(&left.note, &text[..text.len() / 2]).unwrap();
    let (note, directory) = (left.note.clone(), left.directory.clone());
    left.spared(&note).await;
    assert!(directory.join("A").exists());
    left.stage.crash().await;
    left.spared(&directory).await;
    // The daemon serves all the same.
    let request = ask(&left.stage.token()).file("A", "db-password");
    left.stage.caller().await.resolve(request).await.unwrap();
}

#[tokio::test]
async fn notes_are_the_daemons_own() {
    let mut left = Left::new().await;
    let state = left.stage.place.state();
    let mode = |mode| fs::set_permissions(&state, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o770);
    let config = left.stage.place.path("config.toml");
    let mut daemon = crate::daemon::Daemon::spawn(&config);
    assert_eq!(daemon.ends().await.code(), Some(1));
    let expected = format!(
        "files.state_directory: cannot trust {}: others than its owner may write to it \
         (mode 0770); make it 0700",
        state.display()
    );
    assert!(daemon.log().contains(&expected), "{}", daemon.log());
    assert_eq!(names(&left.directory), ["A"]);
    mode(0o700);
    left.stage.restart().await;
    assert_eq!(names(&left.directory), ["A"]);
}
