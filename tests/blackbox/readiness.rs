//! Readiness follows what it claims: whatever breaks shows within a second, without any request
//! that runs into it, by `/readyz`, by the metrics and by gRPC's health checks; and so does that it
//! is repaired.

use std::{
    fs::{self, File, Permissions},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use runner_secrets_proto::Reason;
use serde_json::json;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::{
    admin::{Admin, LISTEN},
    audit_failing::fill,
    audit_sinks::only,
    call::{Caller, ask, origin},
    collector::{Collector, Manner},
    daemon::{Config, Daemon, PATIENCE, Place},
    room::Mounted,
    stage::{Stage, config, emulator},
    trail::{Mount, can_mount, tool},
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

/// How long something may be broken before it shows.
const SHOWS: Duration = Duration::from_secs(1);
/// A broken trail is tried again once a second, and then has to be seen to work.
const SHOWS_AGAIN: Duration = Duration::from_secs(2);

/// A daemon whose readiness is watched in every way.
struct Scene {
    stage: Stage,
    admin: Admin,
    caller: Caller,
    health: tonic::Streaming<HealthCheckResponse>,
}

impl Scene {
    async fn new(place: Place, change: impl FnOnce(Config) -> Config) -> Self {
        let emulator = emulator().await;
        let changed = change(config(&place, &emulator)).text("admin.listen", LISTEN);
        changed.write(&place.path("config.toml"));
        let daemon = Daemon::start(&place.path("config.toml")).await;
        Self::of(Stage {
            daemon,
            emulator,
            place,
        })
        .await
    }

    async fn of(stage: Stage) -> Self {
        let (admin, caller) = (Admin::of(&stage.daemon), stage.caller().await);
        let mut health = HealthClient::with_origin(caller.connection(), origin());
        let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
        Self {
            health: watched.into_inner(),
            stage,
            admin,
            caller,
        }
    }

    async fn health_says(&mut self, status: i32) {
        let said = tokio::time::timeout(PATIENCE, self.health.message());
        let said = said.await.expect("health never changes");
        assert_eq!(said.unwrap().unwrap().status, status);
    }

    async fn is_served(&self) {
        let request = ask(&self.stage.token()).file("A", "db-password");
        self.caller.resolve(request).await.unwrap();
    }

    /// What was harmed a moment ago is missing within a second.
    async fn shows(&self, dependency: &str, cause: &str) {
        let took = self.admin.until_missing(dependency).await;
        println!("{cause}: seen after {} ms", took.as_millis());
        assert!(took < SHOWS, "{cause}: {took:?}");
    }

    /// Something is harmed on which everything depends, and repaired; `cause` is in the log.
    async fn notices(
        &mut self,
        dependency: &str,
        cause: &str,
        harm: impl FnOnce(),
        repair: impl FnOnce(),
    ) {
        harm();
        self.shows(dependency, cause).await;
        self.health_says(NOT_SERVING).await;
        self.stage.daemon.logs(cause).await;
        // That it lives is another question.
        let (status, _) = self.admin.asked("GET /livez").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        repair();
        let took = self.admin.until_missing("").await;
        assert!(took < SHOWS_AGAIN, "{cause}: {took:?}");
        self.health_says(SERVING).await;
        self.is_served().await;
    }

    /// The same, of what stays broken until it is repaired: the metrics say so, and requests fail.
    async fn notices_until_repaired(
        &mut self,
        dependency: &str,
        cause: &str,
        harm: impl FnOnce(),
        repair: impl FnOnce(),
    ) {
        harm();
        self.shows(dependency, cause).await;
        let series = format!("runner_secrets_ready{{dependency=\"{dependency}\"}}");
        assert!(self.admin.value(&series).await < 0.5);
        let refusal = ask(&self.stage.token()).file("A", "db-password");
        let refusal = self.caller.refused(refusal).await;
        let expected = match dependency {
            "audit" => Reason::AuditFailed,
            _ => Reason::FilesFailed,
        };
        assert_eq!(refusal.reason, expected, "{cause}: {refusal:?}");
        self.notices(dependency, cause, || (), repair).await;
        assert!(self.admin.value(&series).await > 0.5);
    }
}

#[tokio::test]
async fn directories_that_are_gone_or_not_to_be_trusted_are_seen() {
    let mut scene = Scene::new(Place::new(), |config| config).await;
    scene.health_says(SERVING).await;
    let (leases, state) = (scene.stage.place.leases(), scene.stage.place.state());
    let moved = |path: &Path| path.with_extension("moved");
    let mode = |mode| fs::set_permissions(&leases, Permissions::from_mode(mode)).unwrap();

    let away = || fs::rename(&leases, moved(&leases)).unwrap();
    let back = || fs::rename(moved(&leases), &leases).unwrap();
    let cause = "cause=\"files.directory: cannot open the directory";
    scene
        .notices_until_repaired("files", cause, away, back)
        .await;

    // Another user could have made of it what he likes.
    let cause = "others than its owner may write to it (mode 0733)";
    scene
        .notices("files", cause, || mode(0o733), || mode(0o711))
        .await;

    let link = || {
        fs::rename(&leases, moved(&leases)).unwrap();
        symlink(moved(&leases), &leases).unwrap();
    };
    let unlink = || {
        fs::remove_file(&leases).unwrap();
        fs::rename(moved(&leases), &leases).unwrap();
    };
    scene
        .notices("files", "is a symbolic link", link, unlink)
        .await;

    let away = || fs::rename(&state, moved(&state)).unwrap();
    let back = || fs::rename(moved(&state), &state).unwrap();
    let cause = "cause=\"files.state_directory: cannot open the directory";
    scene.notices("files", cause, away, back).await;

    // Not the one that this daemon has locked: another daemon could have it.
    let replaced = || {
        fs::rename(&state, moved(&state)).unwrap();
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    };
    let back = || {
        fs::remove_dir(&state).unwrap();
        fs::rename(moved(&state), &state).unwrap();
    };
    let cause = "it was replaced; restart the daemon";
    scene.notices("files", cause, replaced, back).await;
}

#[tokio::test]
async fn a_directory_that_is_made_anew_needs_no_restart() {
    let mut scene = Scene::new(Place::new(), |config| config).await;
    scene.health_says(SERVING).await;
    let leases = scene.stage.place.leases();
    let remove = || fs::remove_dir_all(&leases).unwrap();
    let make = || {
        fs::create_dir(&leases).unwrap();
        fs::set_permissions(&leases, Permissions::from_mode(0o711)).unwrap();
    };
    let cause = "files.directory: cannot open the directory";
    scene
        .notices_until_repaired("files", cause, remove, make)
        .await;
    let log = scene.stage.daemon.log();
    assert!(
        log.contains("files.directory is another one than before"),
        "{log}"
    );
    assert_eq!(scene.stage.place.left().len(), 1, "in the new one");
}

#[tokio::test]
async fn a_file_system_that_is_full_read_only_or_unmounted_is_seen() {
    let place = Place::new();
    let (leases, state) = (place.leases(), place.state());
    // Below is what files must never go to.
    fs::set_permissions(&leases, Permissions::from_mode(0o777)).unwrap();
    let options = "size=128k,nr_inodes=16,mode=0711";
    let Some(mounted) = Mounted::tmpfs(&leases, options) else {
        return;
    };
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o700)).unwrap();
    let notes = Mounted::tmpfs(&state, "size=64k,mode=0700").unwrap();
    let mut scene = Scene::new(place, |config| config).await;
    scene.health_says(SERVING).await;
    for (directory, mounted) in [("directory", &mounted), ("state_directory", &notes)] {
        let filler = mounted.0.join("filler");
        let cause = format!("cause=\"files.{directory}: cannot find room for a request in");
        let empty = || fs::remove_file(&filler).unwrap();
        scene
            .notices_until_repaired("files", &cause, || fill(&filler), empty)
            .await;
        let cause = format!("cause=\"files.{directory}: cannot write to");
        let (closed, open) = (|| mounted.remount("ro"), || mounted.remount("rw"));
        scene
            .notices_until_repaired("files", &cause, closed, open)
            .await;
    }
    let many: Vec<_> = (0..16).map(|n| leases.join(format!("many-{n}"))).collect();
    let crowd = || {
        let full = many.iter().any(|path| File::create_new(path).is_err());
        assert!(full, "there is an inode left");
    };
    let clear = || many.iter().for_each(|path| drop(fs::remove_file(path)));
    scene.notices("files", "find room", crowd, clear).await;

    let at = leases.display().to_string();
    let again = || tool("mount", &["-t", "tmpfs", "-o", options, "tmpfs", &at]);
    let cause = "(mode 0777)";
    let unmounted = || tool("umount", &["-l", &at]);
    scene
        .notices_until_repaired("files", cause, unmounted, again)
        .await;
}

#[tokio::test]
async fn a_trail_that_nobody_writes_to_is_looked_at_all_the_same() {
    let mut scene = Scene::new(Place::new(), |config| config).await;
    scene.health_says(SERVING).await;
    let trail = scene.stage.place.trail();
    let directory = trail.parent().unwrap().to_owned();
    let elsewhere = directory.with_extension("moved");
    // It goes on in a new file.
    let removed = || fs::remove_file(&trail).unwrap();
    scene
        .notices("audit", "it was deleted or renamed", removed, || ())
        .await;
    let foreign = || {
        fs::rename(&trail, directory.join("audit.jsonl.old")).unwrap();
        let mut file = File::create_new(&trail).unwrap();
        file.write_all(b"hello\n").unwrap();
    };
    let gone = || fs::remove_file(&trail).unwrap();
    let cause = "is another file than the daemon writes to";
    scene
        .notices_until_repaired("audit", cause, foreign, gone)
        .await;
    let cut = || {
        let file = File::options().write(true).open(&trail).unwrap();
        file.set_len(10).unwrap();
    };
    let cause = "has another length than the daemon has written";
    scene
        .notices_until_repaired("audit", cause, cut, gone)
        .await;
    let away = || fs::rename(&directory, &elsewhere).unwrap();
    let back = || fs::rename(&elsewhere, &directory).unwrap();
    scene
        .notices_until_repaired("audit", "is gone", away, back)
        .await;
}

#[tokio::test]
async fn a_trails_file_system_that_is_full_or_read_only_is_seen_before_a_job_comes() {
    if !can_mount() {
        return;
    }
    let mount = Mount::tmpfs("256k");
    let path = mount.path().join("audit.jsonl").display().to_string();
    let mut scene = Scene::new(Place::new(), |config| config.text("audit.path", &path)).await;
    scene.health_says(SERVING).await;
    let filler = mount.path().join("filler");
    let empty = || fs::remove_file(&filler).unwrap();
    let cause = "No space left on device";
    scene.notices("audit", cause, || fill(&filler), empty).await;
    let at = mount.path().display().to_string();
    let closed = || {
        tool("mount", &["--bind", &at, &at]);
        tool("mount", &["-o", "remount,bind,ro", &at]);
    };
    let cause = "Read-only file system";
    let open = || tool("umount", &[&at]);
    scene
        .notices_until_repaired("audit", cause, closed, open)
        .await;
}

#[tokio::test]
async fn a_syslog_server_that_is_gone_is_seen_before_a_job_comes() {
    let collector = Collector::start();
    let mut scene = Scene::new(Place::new(), |config| only(config, collector.port)).await;
    scene.health_says(SERVING).await;
    collector.now(Manner::Closes).await;
    scene.shows("audit", "the syslog server").await;
    scene.health_says(NOT_SERVING).await;
    collector.now(Manner::Takes).await;
    let took = scene.admin.until_missing("").await;
    assert!(took < SHOWS_AGAIN, "{took:?}");
    scene.health_says(SERVING).await;
    scene.is_served().await;
}

#[tokio::test]
async fn a_daemon_without_keys_is_not_ready_until_the_issuer_answers() {
    let emulator = emulator().await;
    let fault = json!({"route": "discovery", "kind": "status", "status": 503, "body": ""});
    emulator.fault(&fault).unwrap();
    let listen = |config: Config| config.text("admin.listen", LISTEN);
    let mut scene = Scene::of(Stage::beside(emulator, listen).await).await;
    scene.health_says(NOT_SERVING).await;
    // From its first answer on.
    assert_eq!(scene.admin.missing().await, "keys");
    let keys = "runner_secrets_ready{dependency=\"keys\"}";
    assert!(scene.admin.value(keys).await < 0.5);
    let request = ask(&scene.stage.token()).file("A", "db-password");
    let refusal = scene.caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::KeysUnavailable);
    scene.stage.daemon.logs("there are no keys of").await;
    // Both are named, in their order, and why is nobody's business who can ask.
    fs::rename(scene.stage.place.leases(), scene.stage.place.path("away")).unwrap();
    let took = scene.admin.until_missing("files, keys").await;
    assert!(took < SHOWS, "{took:?}");
    let (_, body) = scene.admin.asked("GET /readyz").await;
    assert_eq!(body, "not ready: files, keys; the log says why\n");
    fs::rename(scene.stage.place.path("away"), scene.stage.place.leases()).unwrap();
    scene.admin.until_missing("keys").await;
    scene.stage.emulator.clear_faults();
    // It asks again by itself, with pauses.
    scene.admin.until_missing("").await;
    scene.health_says(SERVING).await;
    scene.is_served().await;
    assert!(scene.admin.value(keys).await > 0.5);
    // What it has it keeps: an issuer that is down later does not matter before its keys are too old.
    scene.stage.fault(fault);
    scene.is_served().await;
    assert_eq!(scene.admin.missing().await, "");
}
