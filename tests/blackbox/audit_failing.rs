//! What keeps the trail from being written keeps secrets from being released: every request is
//! refused, no file is written, health says so; and when the cause is gone, so is all of that.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use runner_secrets_proto::Reason;
use rustix::{
    fs::{CWD, FileType, Mode},
    process::Signal,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    call::{Caller, ask, origin},
    daemon::{Config, Daemon, PATIENCE, serve},
    stage::Stage,
    trail::{Mount, can_mount, count, tool, trail},
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// In the line that tells the operator.
const TOLD: &str = "nothing is released";

/// A daemon whose health is watched.
struct Scene {
    stage: Stage,
    caller: Caller,
    health: tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
    delivered: usize,
    /// How many of them are files by now.
    files: usize,
}

impl Scene {
    async fn new(change: impl FnOnce(Config) -> Config) -> Self {
        Self::of(Stage::with(change).await).await
    }

    async fn of(stage: Stage) -> Self {
        let caller = stage.caller().await;
        let mut health = HealthClient::with_origin(caller.connection(), origin());
        let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
        Self {
            stage,
            caller,
            health: watched.into_inner(),
            delivered: 0,
            files: 0,
        }
    }

    async fn says(&mut self, status: i32) {
        let said = tokio::time::timeout(PATIENCE, self.health.message());
        let said = said.await.expect("health never changes");
        assert_eq!(said.unwrap().unwrap().status, status);
    }

    async fn is_served(&mut self) {
        let request = ask(&self.stage.token()).file("A", "db-password");
        let answer = self.caller.resolve(request).await.unwrap();
        self.delivered += 1;
        self.files += usize::from(!answer.lease_id.is_empty());
    }

    /// Refused on the wire, and nothing in `files.directory` that was not there.
    async fn is_refused(&mut self) {
        let request = ask(&self.stage.token()).file("A", "db-password");
        let refusal = self.caller.refused(request).await;
        assert_eq!(refusal.reason, Reason::AuditFailed, "{}", refusal.message);
        assert_eq!(self.stage.place.left().len(), self.files);
    }

    /// Something happens, and is repaired. Gives the cause that the operator is told.
    async fn survives(&mut self, harm: impl AsyncFnOnce(), repair: impl FnOnce()) -> String {
        self.is_served().await;
        let before = self.stage.requests("secret").len();
        let told = self.stage.daemon.log().matches(TOLD).count();
        harm().await;
        self.is_refused().await;
        self.says(NOT_SERVING).await;
        self.is_refused().await;
        let asked = self.stage.requests("secret").len();
        assert_eq!(asked, before, "a vault was asked without a record");
        self.stage.daemon.logs_more(TOLD, told).await;
        repair();
        self.says(SERVING).await;
        self.is_served().await;
        let log = self.stage.daemon.log();
        let mut causes = log.lines().filter(|line| line.contains(TOLD));
        causes.next_back().unwrap().to_owned()
    }

    /// Ends, and gives all records.
    async fn ends(mut self, directory: &Path) -> Vec<serde_json::Value> {
        drop(self.health);
        drop(self.caller);
        self.stage.daemon.stop(Signal::TERM).await;
        let records = trail(directory);
        // A request's last outcome counts: one whose delivery could not be put on record has two.
        let outcomes = records.iter().filter(|record| record["event"] == "outcome");
        let last = outcomes.map(|outcome| (outcome["request_id"].as_str(), &outcome["reason"]));
        let last: BTreeMap<_, _> = last.collect();
        let delivered = last.values().filter(|reason| **reason == "DELIVERED");
        assert_eq!(delivered.count(), self.delivered);
        assert!(count(&records, "intent") >= self.delivered);
        records
    }
}

/// A daemon with its trail on a file system of its own.
async fn on(mount: &Mount) -> Scene {
    let path = mount.path().join("audit.jsonl").display().to_string();
    let mut scene = Scene::new(|config| {
        let config = config.text("audit.path", &path);
        config
            .text("audit.timeout", "500ms")
            .set("limits.token_rate", 1_000)
            .set("limits.caller_rate", 1_000)
    })
    .await;
    scene.says(SERVING).await;
    scene
}

#[tokio::test]
async fn what_happens_to_the_file_refuses_everything_until_it_is_over() {
    let mut scene = Scene::new(|config| config).await;
    scene.says(SERVING).await;
    let file = scene.stage.place.trail();
    let directory = file.parent().unwrap().to_owned();
    let away = |name: &str| directory.join(name);
    let elsewhere = directory.with_extension("moved");

    let cause = scene
        .survives(
            async || fs::rename(&file, away("audit.jsonl.1")).unwrap(),
            || {},
        )
        .await;
    assert!(
        cause.contains("is gone: it was deleted or renamed"),
        "{cause}"
    );

    let copied = async || {
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let mut copy = File::create_new(&file).unwrap();
        copy.write_all(&bytes).unwrap();
        copy.set_permissions(fs::Permissions::from_mode(0o640))
            .unwrap();
    };
    let cause = scene.survives(copied, || {}).await;
    assert!(cause.contains("it was replaced"), "{cause}");

    let foreign = async || {
        fs::rename(&file, away("audit.jsonl.2")).unwrap();
        File::create_new(&file)
            .unwrap()
            .write_all(b"hello\n")
            .unwrap();
    };
    scene
        .survives(foreign, || fs::remove_file(&file).unwrap())
        .await;

    let fifo = async || {
        fs::rename(&file, away("audit.jsonl.3")).unwrap();
        let mode = Mode::from_raw_mode(0o640);
        rustix::fs::mknodat(CWD, &file, FileType::Fifo, mode, 0).unwrap();
    };
    scene
        .survives(fifo, || fs::remove_file(&file).unwrap())
        .await;

    let gone = async || fs::rename(&directory, &elsewhere).unwrap();
    scene
        .survives(gone, || fs::rename(&elsewhere, &directory).unwrap())
        .await;

    let records = scene.ends(&directory).await;
    assert_eq!(count(&records, "recovered"), 5);
    let refused = records
        .iter()
        .filter(|record| record["event"] == "recovered");
    for recovered in refused {
        assert_eq!(recovered["refused"], 1, "{recovered}");
    }
}

#[tokio::test]
async fn a_deleted_file_leaves_a_trail_that_says_what_is_missing() {
    let mut scene = Scene::new(|config| config).await;
    scene.says(SERVING).await;
    let file = scene.stage.place.trail();
    scene
        .survives(async || fs::remove_file(&file).unwrap(), || {})
        .await;
    let header = &scene.stage.place.records()[0];
    assert_eq!(header["event"], "header");
    assert!(
        header["predecessor"]["seq"].as_u64().unwrap() >= 5,
        "{header}"
    );
}

/// Takes all the room that there is.
pub(crate) fn fill(path: &Path) {
    let mut file = File::create_new(path).unwrap();
    let full = std::iter::repeat_with(|| file.write_all(&[0; 4096])).any(|wrote| wrote.is_err());
    assert!(full);
}

#[tokio::test]
async fn a_full_disk_refuses_everything_until_there_is_room() {
    if !can_mount() {
        return;
    }
    let mount = Mount::tmpfs("256k");
    let mut scene = on(&mount).await;
    let filler = mount.path().join("filler");
    let caller = scene.stage.caller().await;
    let token = scene.stage.token();
    let mut served = 0;
    let mut until_full = async || {
        fill(&filler);
        // There is some room left in the file's last page.
        while caller
            .resolve(ask(&token).value("A", "db-password"))
            .await
            .is_ok()
        {
            served += 1;
            assert!(served < 10, "the disk is never full");
        }
    };
    scene.is_served().await;
    until_full().await;
    scene.is_refused().await;
    scene.says(NOT_SERVING).await;
    scene.is_refused().await;
    let expected = "audit.jsonl: No space left on device";
    scene.stage.daemon.logs(expected).await;
    let log = scene.stage.daemon.log();
    let told = log.matches(TOLD).count();
    assert_eq!(
        told, 1,
        "one line for one cause, not for each request or try"
    );
    fs::remove_file(&filler).unwrap();
    scene.says(SERVING).await;
    scene.is_served().await;
    scene.delivered += served;
    drop(caller);
    let records = scene.ends(mount.path()).await;
    assert_eq!(count(&records, "recovered"), 1);
}

#[tokio::test]
async fn a_read_only_file_system_refuses_everything_until_it_can_be_written_to() {
    if !can_mount() {
        return;
    }
    let mount = Mount::tmpfs("1m");
    let mut scene = on(&mount).await;
    let path = mount.path().display().to_string();
    let harm = async || {
        // Over the other one: a file system with a file open for writing refuses to change.
        tool("mount", &["--bind", &path, &path]);
        tool("mount", &["-o", "remount,bind,ro", &path]);
    };
    let cause = scene.survives(harm, || tool("umount", &[&path])).await;
    assert!(cause.contains("Read-only file system"), "{cause}");
    let records = scene.ends(mount.path()).await;
    assert_eq!(count(&records, "recovered"), 1);
}

#[tokio::test]
async fn a_disk_that_does_not_answer_refuses_everything_until_it_does() {
    if !can_mount() {
        return;
    }
    let mount = Mount::ext4();
    let mut scene = on(&mount).await;
    let path = mount.path().display().to_string();
    let harm = async || tool("fsfreeze", &["--freeze", &path]);
    let thaw = Thaw(path.clone());
    let cause = scene.survives(harm, || drop(thaw)).await;
    assert!(
        cause.contains("the audit file has not answered for 500ms"),
        "{cause}"
    );
    let records = scene.ends(mount.path()).await;
    assert_eq!(count(&records, "recovered"), 1);
}

#[tokio::test]
async fn after_a_sync_that_failed_the_trail_goes_on_in_a_new_file() {
    if !can_mount() {
        return;
    }
    let below = Mount::tmpfs("8m");
    let mount = Mount::thin(&below);
    let mut scene = on(&mount).await;
    scene.is_served().await;
    let filler = below.path().join("filler");
    fill(&filler);
    // What the disk has room for already can still be written.
    let token = scene.stage.token();
    loop {
        let request = ask(&token).value("A", "db-password");
        match scene.caller.resolve(request).await {
            Ok(_) => scene.delivered += 1,
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::AuditFailed);
                break;
            }
        }
        assert!(scene.delivered < 100, "the disk is never full");
    }
    scene.says(NOT_SERVING).await;
    let expected = "cannot write to the disk what is in";
    scene.stage.daemon.logs(expected).await;
    fs::remove_file(&filler).unwrap();
    // The system may tell of what it could not write more than once.
    for told in 1.. {
        assert!(told < 10, "it never works for long");
        scene.says(SERVING).await;
        let request = ask(&token).value("A", "db-password");
        if scene.caller.resolve(request).await.is_ok() {
            break;
        }
        scene.says(NOT_SERVING).await;
    }
    scene.delivered += 1;
    let records = scene.ends(mount.path()).await;
    assert!(count(&records, "recovered") >= 1);
    // What can be read of the old file is not known to be on the disk.
    let mut headers = records.iter().filter(|record| record["event"] == "header");
    let second = headers.nth(1).unwrap();
    assert_eq!(second["predecessor"]["file"], "audit-000000000001.jsonl");
}

/// Thaws a file system, also when the test fails: nothing could be unmounted otherwise.
struct Thaw(String);

impl Drop for Thaw {
    fn drop(&mut self) {
        let mut thaw = Command::new("fsfreeze");
        drop(thaw.args(["--unfreeze", &self.0]).status());
    }
}

#[tokio::test]
async fn a_file_that_can_only_be_appended_to_is_enough() {
    if !can_mount() {
        return;
    }
    let mount = Mount::ext4();
    let mut scene = on(&mount).await;
    let file = mount.path().join("audit.jsonl").display().to_string();
    tool("chattr", &["+a", &file]);
    scene.is_served().await;
    let immutable = async || tool("chattr", &["+i", &file]);
    let cause = scene
        .survives(immutable, || tool("chattr", &["-i", &file]))
        .await;
    assert!(cause.contains("Operation not permitted"), "{cause}");
    let records = scene.ends(mount.path()).await;
    assert_eq!(
        count(&records, "header"),
        1,
        "it is the same file all the time"
    );
}

/// A daemon without the power to pass over modes, as root without capabilities is.
fn powerless(path: &Path) -> Command {
    let serve = serve(path);
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    command
        .arg(serve.get_program())
        .args(serve.get_args())
        .env_clear();
    command
}

#[tokio::test]
async fn lost_permission_refuses_everything_until_it_is_back() {
    if !can_mount() {
        return;
    }
    let place = crate::daemon::Place::new();
    let emulator = crate::stage::emulator().await;
    let config = crate::stage::config(&place, &emulator).text("listen.delivery", "inline");
    config.write(&place.path("config.toml"));
    let mut daemon = Daemon::run(powerless(&place.path("config.toml")));
    daemon.listens().await;
    let stage = Stage {
        daemon,
        emulator,
        place,
    };
    let file = stage.place.trail();
    let directory = file.parent().unwrap().to_owned();
    let mut scene = Scene::of(stage).await;
    scene.says(SERVING).await;
    let mode = |path: &Path, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(path, mode).unwrap();
    };
    let cases: [(&PathBuf, u32, u32); 2] = [(&file, 0o440, 0o640), (&directory, 0o600, 0o700)];
    for (path, lost, usual) in cases {
        let cause = scene
            .survives(async || mode(path, lost), || mode(path, usual))
            .await;
        assert!(cause.contains("Permission denied"), "{cause}");
    }
    let records = scene.ends(&directory).await;
    assert_eq!(count(&records, "recovered"), 2);
}
