//! Files of the trail on a running daemon: full ones, and those that logrotate renames.

use std::{fs, path::Path, process::Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    call::ask,
    daemon::names,
    stage::Stage,
    trail::{count, trail},
};

async fn serve(stage: &Stage, times: usize) {
    let caller = stage.caller().await;
    for _ in 0..times {
        let request = ask(&stage.token()).value("A", "db-password");
        caller.resolve(request).await.unwrap();
    }
}

#[tokio::test]
async fn full_files_go_on_in_the_next_and_the_oldest_are_deleted() {
    let mut stage = Stage::with(|config| {
        let config = config.set("audit.rotate_size", 8192);
        config
            .set("audit.keep", 3)
            .set("limits.caller_rate", 10_000)
    })
    .await;
    let directory = stage.place.trail().parent().unwrap().to_owned();
    let first = directory.join("audit-000000000001.jsonl");
    let gone = format!("\"file\":\"{}\"", first.file_name().unwrap().display());
    let is_pruned = || {
        let files = names(&directory);
        let is_trail = |name: &&String| name.strip_suffix(".jsonl").is_some();
        let mut files = files.iter().filter(is_trail);
        files.any(|name| {
            fs::read_to_string(directory.join(name)).is_ok_and(|text| {
                text.lines()
                    .any(|line| line.contains("\"event\":\"pruned\"") && line.contains(&gone))
            })
        })
    };
    let mut served = 0;
    while !is_pruned() || first.exists() {
        serve(&stage, 5).await;
        served += 5;
        assert!(served < 1_000, "no file is ever deleted");
    }
    stage.daemon.stop(Signal::TERM).await;
    let full = names(&directory);
    let full = full.iter().filter(|name| name.starts_with("audit-"));
    assert!(full.count() >= 3);
}

#[tokio::test]
async fn a_renamed_file_is_left_at_the_signal_with_a_checkpoint_at_its_end() {
    let mut stage = Stage::new().await;
    let file = stage.place.trail();
    let directory = file.parent().unwrap().to_owned();
    serve(&stage, 2).await;
    let renamed = directory.join("audit.jsonl-20261121");
    fs::rename(&file, &renamed).unwrap();
    hang_up(&mut stage).await;
    serve(&stage, 1).await;
    stage.daemon.stop(Signal::TERM).await;
    assert!(
        !stage.daemon.log().contains("nothing is released"),
        "{}",
        stage.daemon.log()
    );
    assert_went_over(&directory, &renamed);
}

/// Sends SIGHUP, and waits until it has been acted on.
async fn hang_up(stage: &mut Stage) {
    let before = stage.daemon.log().matches("policy reloaded").count();
    stage.daemon.signal(Signal::HUP);
    stage.daemon.logs_more("policy reloaded", before).await;
}

fn assert_went_over(directory: &Path, old: &Path) {
    let text = fs::read_to_string(old).unwrap();
    let last: Value = serde_json::from_str(text.lines().next_back().unwrap()).unwrap();
    assert_eq!(last["event"], "checkpoint");
    let records = trail(directory);
    let header = records
        .iter()
        .rfind(|record| record["event"] == "header")
        .unwrap();
    let name = old.file_name().unwrap().to_str().unwrap();
    assert_eq!(header["predecessor"]["file"], name);
    assert_eq!(header["predecessor"]["hash"], last["hash"]);
    assert_eq!(count(&records, "outcome"), 3);
}

#[tokio::test]
async fn the_sample_for_logrotate_rotates_the_trail() {
    let tool = Command::new("logrotate").arg("--version").output();
    if tool.is_err() {
        assert!(std::env::var_os("CI").is_none(), "this needs logrotate");
        println!("skipped: there is no logrotate");
        return;
    }
    let mut stage = Stage::new().await;
    serve(&stage, 2).await;
    let file = stage.place.trail();
    let directory = file.parent().unwrap().to_owned();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/logrotate/runner-secrets");
    let sample = fs::read_to_string(sample).unwrap();
    let hang_up = "systemctl kill --signal=HUP runner-secrets.service";
    assert!(sample.contains(hang_up));
    let ours = sample
        .replace(
            "/var/log/runner-secrets/audit.jsonl",
            &file.display().to_string(),
        )
        .replace(hang_up, &format!("kill -HUP {}", stage.daemon.pid()));
    let config = stage.place.path("logrotate");
    fs::write(&config, ours).unwrap();
    fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let noted = stage.place.path("logrotate.state");
    let mut logrotate = Command::new("logrotate");
    logrotate
        .args(["--force", "--state"])
        .arg(&noted)
        .arg(&config);
    let before = stage.daemon.log().matches("policy reloaded").count();
    let rotated = logrotate.output().unwrap();
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    stage.daemon.logs_more("policy reloaded", before).await;
    serve(&stage, 1).await;
    stage.daemon.stop(Signal::TERM).await;
    let files = names(&directory);
    let old = files
        .iter()
        .find(|name| name.starts_with("audit.jsonl-"))
        .unwrap();
    assert_went_over(&directory, &directory.join(old));
}
