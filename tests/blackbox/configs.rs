//! Mistakes in a configuration: each file in `configs/` beside the complete list of its problems.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::daemon::{Config, Daemon, PROGRAM, Place};

fn run(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    command.args(arguments).arg("--config").arg(path);
    command.output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/blackbox/configs")
}

#[test]
fn every_mistake_of_a_configuration_is_reported_at_once() {
    let mut count = 0;
    for entry in fs::read_dir(configs()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        count += 1;
        let expected = fs::read_to_string(path.with_extension("txt")).unwrap();
        for command in ["check-config", "serve"] {
            let output = run(&[command], &path);
            let said = stderr(&output).replace("runner-secretsd: ", "");
            let said = said.replace(&path.display().to_string(), "CONFIG");
            let name = path.file_name().unwrap().display().to_string();
            assert_eq!(said, expected, "{name}, {command}");
            assert_eq!(output.status.code(), Some(78), "{name}, {command}");
            assert!(output.stdout.is_empty());
        }
    }
    assert!(count > 5, "there are configurations to check");
}

#[test]
fn a_right_configuration_is_said_to_be_right_and_starts_nothing() {
    let place = Place::new();
    let path = place.path("config.toml");
    // Every key there is, with its default.
    fs::write(
        &path,
        fs::read_to_string(configs().join("complete")).unwrap(),
    )
    .unwrap();
    let output = run(&["check-config"], &path);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, format!("{}: no mistakes\n", path.display()));
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_configuration_that_cannot_be_read_is_named() {
    let place = Place::new();
    let missing = place.path("missing.toml");
    let binary = place.path("binary.toml");
    fs::write(&binary, b"[log]\nlevel = \"\xff\"\n").unwrap();
    for (path, problem) in [
        (missing.as_path(), "No such file or directory"),
        (place.leases().as_path(), "Is a directory"),
        (binary.as_path(), "UTF-8"),
    ] {
        for command in ["check-config", "serve"] {
            let output = run(&[command], path);
            assert_eq!(output.status.code(), Some(78), "{}", path.display());
            let said = stderr(&output);
            let expected = format!("runner-secretsd: cannot read {}: ", path.display());
            assert!(said.starts_with(&expected), "{said}");
            assert!(said.contains(problem), "{said}");
        }
    }
    // Root reads everything.
    if !rustix::process::geteuid().is_root() {
        let closed = place.path("closed.toml");
        fs::write(&closed, "").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
        let output = run(&["check-config"], &closed);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains("Permission denied"));
    }
}

#[test]
fn wrong_arguments_are_told_from_a_wrong_configuration() {
    let cases: [&[&str]; 6] = [
        &[],
        &["nonsense"],
        &["serve", "more"],
        &["serve", "--nonsense"],
        &["--config"],
        &["check-config", "--config"],
    ];
    for arguments in cases {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = stderr(&output);
        assert!(said.ends_with("; see runner-secretsd --help\n"), "{said}");
    }
    for (argument, begin) in [
        ("--help", "Gives GitLab CI jobs"),
        ("--version", "runner-secretsd "),
    ] {
        let output = Command::new(PROGRAM).arg(argument).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).starts_with(begin));
    }
}

/// Starts no daemon, and gives what it said.
async fn fails_to_start(config: Config, place: &Place) -> String {
    let path = place.path("config.toml");
    config.write(&path);
    let mut daemon = Daemon::spawn(&path);
    assert_eq!(daemon.ends().await.code(), Some(1), "{}", daemon.log());
    assert!(!place.socket().exists());
    assert!(!daemon.log().contains("listening"), "{}", daemon.log());
    daemon.log()
}

#[tokio::test]
async fn files_on_a_disk_are_refused_unless_the_operator_allows_them() {
    // Of no kind that keeps everything in memory, on any machine.
    let elsewhere = "/proc";
    let place = Place::new();
    let config = Config::of(&place)
        .text("files.directory", elsewhere)
        .set("files.require_memory_backed", true);
    let log = fails_to_start(config.clone(), &place).await;
    let expected = "files.directory: /proc is neither tmpfs nor ramfs, so secrets would be \
        written to a disk; mount a tmpfs there, or set require_memory_backed = false";
    assert!(log.contains(expected), "{log}");
    let unset = config.unset("files.require_memory_backed");
    let log = fails_to_start(unset.clone(), &place).await;
    assert!(log.contains(expected), "it is the default: {log}");
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    unset
        .text("files.directory", disk.path().to_str().unwrap())
        .set("files.require_memory_backed", false)
        .write(&place.path("config.toml"));
    Daemon::start(&place.path("config.toml")).await;
}

#[tokio::test]
async fn a_directory_for_files_that_cannot_be_used_is_named() {
    let place = Place::new();
    let missing = place.path("missing").display().to_string();
    let link = place.path("link");
    std::os::unix::fs::symlink(place.leases(), &link).unwrap();
    let link = link.display().to_string();
    for directory in [&missing, &link] {
        let config = Config::of(&place).text("files.directory", directory);
        let log = fails_to_start(config, &place).await;
        let expected = format!("files.directory: cannot open the directory {directory}: ");
        assert!(log.contains(&expected), "{log}");
    }
}

#[test]
fn a_ca_file_without_a_certificate_is_named() {
    let place = Place::new();
    let file = place.path("ca.pem");
    fs::write(&file, "no certificate\n").unwrap();
    let file = file.display().to_string();
    let path = place.path("config.toml");
    Config::of(&place).text("azure.ca_file", &file).write(&path);
    let expected = format!("azure.ca_file: {file} holds no PEM certificate");
    for command in ["check-config", "serve"] {
        let output = run(&[command], &path);
        assert_eq!(output.status.code(), Some(78));
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn the_log_shows_the_configuration_in_effect_in_the_form_that_is_configured() {
    let place = Place::new();
    let config = Config::of(&place).text("log.format", "json").text(
        "azure.proxy_url",
        "http://user:proxy-password@proxy.example:3128",
    );
    config.write(&place.path("config.toml"));
    let daemon = Daemon::start(&place.path("config.toml")).await;
    let log = daemon.log();
    assert!(!log.contains("proxy-password"), "{log}");
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let said = |message: &str, table: Option<&str>| {
        let says = |line: &&serde_json::Value| {
            line["message"] == message && table.is_none_or(|table| line["table"] == table)
        };
        let line = lines.iter().find(says);
        line.unwrap_or_else(|| panic!("{message} {table:?}: {log}"))
    };
    let configured = |table: &str| -> serde_json::Value {
        let settings = &said("configured", Some(table))["settings"];
        serde_json::from_str(settings.as_str().unwrap()).unwrap()
    };
    let socket = place.socket().display().to_string();
    assert_eq!(configured("listen")["socket"], socket);
    assert_eq!(configured("files")["file_mode"], "0400");
    assert_eq!(configured("limits")["secrets"], 100);
    assert_eq!(configured("azure")["proxy_host"], "proxy.example");
    assert_eq!(said("listening", None)["socket"], socket);
}
