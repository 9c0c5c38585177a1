//! What the daemon may do, and what it does with less: as root, with `CAP_CHOWN` and nothing else,
//! and as an ordinary user. Its directories are its own in each case.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
};

use crate::{
    call::ask,
    callers::{ANOTHER, can_be_another_user},
    daemon::{Config, Daemon, PROGRAM, Place},
    hostile_files::{another, outlasts_hostile_jobs},
    job::CLIENT,
    stage::{Stage, config, emulator},
};

/// The daemon's own user.
const DAEMON: u32 = 54_321;

/// What is in a place for a daemon of that user.
fn furnished() -> Place {
    let place = Place::new();
    place.open_to_all();
    for (program, name) in [(PROGRAM, "daemon"), (CLIENT, "client")] {
        fs::copy(program, place.path(name)).unwrap();
    }
    fs::set_permissions(place.leases(), fs::Permissions::from_mode(0o711)).unwrap();
    // The client too: it believes a daemon that runs as its own file's owner.
    let own = fs::read_dir(place.path("")).unwrap();
    let own = own.map(|entry| entry.unwrap().path());
    for path in own.chain([place.path("")]) {
        chown(path, Some(DAEMON), Some(DAEMON)).unwrap();
    }
    place
}

/// Runs the daemon as that user with these capabilities: `-all`, or `-all,+chown`.
fn run(place: &Place, config: &Config, capabilities: &str) -> Daemon {
    config.write(&place.path("config.toml"));
    let mut command = Command::new("setpriv");
    let id = DAEMON.to_string();
    command.args([
        "--reuid",
        &id,
        "--regid",
        &id,
        "--clear-groups",
        "--no-new-privs",
    ]);
    for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
        command.args([set, capabilities]);
    }
    command
        .arg(place.path("daemon"))
        .args(["serve", "--config"]);
    command.arg(place.path("config.toml")).env_clear();
    command.env("PATH", "/usr/bin:/bin");
    Daemon::run(command)
}

async fn stage(capabilities: &str, change: impl FnOnce(Config) -> Config) -> Stage {
    let (place, emulator) = (furnished(), emulator().await);
    let ca = place.path("ca.pem");
    fs::copy(&emulator.ready().ca_file, &ca).unwrap();
    fs::set_permissions(&ca, fs::Permissions::from_mode(0o644)).unwrap();
    let ca = ca.display().to_string();
    let config = config(&place, &emulator)
        .text("azure.ca_file", &ca)
        .text("issuer.ca_file", &ca)
        .text("files.owner_grace", "100ms")
        .text("listen.socket_mode", "0666");
    let mut daemon = run(&place, &change(config), capabilities);
    daemon.listens().await;
    Stage {
        daemon,
        emulator,
        place,
    }
}

fn capabilities(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cap_chown_and_no_other_capability_is_enough() {
    if !can_be_another_user() {
        return;
    }
    let mut stage = stage("-all,+chown", |config| config).await;
    assert_eq!(capabilities(&stage.daemon), 1, "CAP_CHOWN alone");
    let output = another(&stage, r#"cat "$A"; stat -c ' %a %u' "$A" ."#);
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = format!("correct horse battery staple 400 {ANOTHER}\n 700 {ANOTHER}\n");
    assert_eq!(said, expected);
    // Root is a caller like any other.
    let caller = stage.caller().await;
    let token = stage.token();
    let answer = caller.resolve(ask(&token).file("A", "db-password")).await;
    caller
        .release(&answer.unwrap().lease_id, &token)
        .await
        .unwrap();
    outlasts_hostile_jobs(&mut stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_cap_chown_the_daemon_serves_its_own_user_or_nobody() {
    if !can_be_another_user() {
        return;
    }
    for allowed in [
        "[]".to_owned(),
        format!("[{ANOTHER}]"),
        format!("[{DAEMON}, {ANOTHER}]"),
    ] {
        let place = furnished();
        let config = Config::of(&place).set("listen.allowed_uids", allowed);
        let mut daemon = run(&place, &config, "-all");
        assert_eq!(daemon.ends().await.code(), Some(1));
        let expected = format!(
            "this daemon runs as uid {DAEMON} without the capability CAP_CHOWN, so it cannot give \
             files to their jobs' users: start it with CAP_CHOWN, or set allowed_uids = [{DAEMON}] \
             in every [[listen]] with delivery = \"files\""
        );
        assert!(daemon.log().contains(&expected), "{}", daemon.log());
        assert!(!place.socket().exists());
    }
    let only = format!("[{DAEMON}]");
    let stage = stage("-all", |config| config.set("listen.allowed_uids", only)).await;
    assert_eq!(capabilities(&stage.daemon), 0);
    let warning = "nothing is isolated from it: each of its processes can read and change the \
                   files of every job, and the daemon's notes";
    assert!(
        stage.daemon.log().contains(warning),
        "{}",
        stage.daemon.log()
    );
    let mut command = Command::new("setpriv");
    let id = DAEMON.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    command.arg(stage.place.path("client"));
    command.args(["exec", "--", "/bin/sh", "-c", "cat $A; stat -c ' %a %u' $A"]);
    command.env_clear().env("PATH", "/usr/bin:/bin");
    command.env("RUNNER_SECRETS_SOCKET", stage.place.socket());
    command.env(
        "RUNNER_SECRETS",
        r#"{"A": {"azure_key_vault": {"name": "db-password"}}}"#,
    );
    command.env("JWT", stage.token()).env("CI_JOB_ID", "812");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("correct horse battery staple 400 {DAEMON}\n"));
    stage.place.emptied().await;
}
