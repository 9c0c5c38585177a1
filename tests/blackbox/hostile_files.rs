//! Files in a hostile place: what others plant where the daemon writes, what a job does with its
//! own directory before the daemon deletes it, and who else sees what is in it.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::mpsc::TryRecvError,
};

use runner_secrets_proto::{
    Reason,
    v1::{ResolveResponse, variable::Content},
};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::{
    call::ask,
    callers::{ANOTHER, can_be_another_user},
    daemon::{Config, Daemon, Place, until},
    job::{CLIENT, entry},
    stage::{Stage, object},
};

fn file(answer: &ResolveResponse, variable: &str) -> PathBuf {
    match &answer.variables[variable].content {
        Some(Content::Path(path)) => PathBuf::from(path),
        _ => panic!("{variable} is no file"),
    }
}

/// What the daemon says that does not start with this `files.directory`.
async fn refused(place: &Place, directory: &Path) -> String {
    let path = place.path("config.toml");
    let directory = directory.display().to_string();
    let config = Config::of(place).text("files.directory", &directory);
    config
        .set("files.require_memory_backed", false)
        .write(&path);
    let mut daemon = Daemon::spawn(&path);
    assert_eq!(daemon.ends().await.code(), Some(1), "{}", daemon.log());
    daemon.log()
}

#[tokio::test]
async fn no_link_is_followed_at_any_component_of_the_directory() {
    let place = Place::new();
    fs::create_dir_all(place.path("real/deep/leases")).unwrap();
    let real = place.path("real/deep/leases").display().to_string();
    symlink("real", place.path("relative")).unwrap();
    symlink(place.path("real/deep"), place.path("absolute")).unwrap();
    symlink("../deep/leases", place.path("real/deep/leaf")).unwrap();
    symlink("nowhere", place.path("dangling")).unwrap();
    for (link, under) in [
        ("relative", "deep/leases"),
        ("absolute", "leases"),
        ("real/deep/leaf", ""),
    ] {
        let link = place.path(link);
        let directory = if under.is_empty() {
            link.clone()
        } else {
            link.join(under)
        };
        let log = refused(&place, &directory).await;
        // What is to be done is said.
        let expected = format!(
            "files.directory: cannot open the directory {}: {} is a symbolic link, and none is \
             followed; write {real}",
            directory.display(),
            link.display()
        );
        assert!(log.contains(&expected), "{log}");
    }
    for (directory, problem) in [
        (
            "dangling",
            "is a symbolic link, and none is followed; name the directory itself",
        ),
        ("real/../real/deep/leases", "it has a component `..`"),
        ("missing", "No such file or directory"),
    ] {
        let log = refused(&place, &place.path(directory)).await;
        assert!(log.contains(problem), "{directory}: {log}");
    }
    assert!(fs::read_dir(&real).unwrap().next().is_none());
}

#[tokio::test]
async fn nothing_but_a_directory_is_the_directory() {
    let place = Place::new();
    let plain = place.path("plain");
    fs::write(&plain, "x").unwrap();
    fs::hard_link(&plain, place.path("hard")).unwrap();
    drop(UnixListener::bind(place.path("socket")).unwrap());
    let mode = Mode::RWXU;
    mknodat(CWD, place.path("fifo"), FileType::Fifo, mode, 0).unwrap();
    let mut planted = vec!["plain", "hard", "socket", "fifo", "plain/leases"];
    if rustix::process::geteuid().is_root() {
        // The one that reads as zeros, where devices may be made.
        let zero = rustix::fs::makedev(1, 5);
        if mknodat(
            CWD,
            place.path("device"),
            FileType::CharacterDevice,
            mode,
            zero,
        )
        .is_ok()
        {
            planted.push("device");
        }
    }
    for name in planted {
        let log = refused(&place, &place.path(name)).await;
        assert!(log.contains("Not a directory"), "{name}: {log}");
    }
    assert_eq!(fs::read(plain).unwrap(), b"x");
}

#[tokio::test]
async fn the_directory_is_nobody_elses_to_write_to() {
    let place = Place::new();
    let directory = place.path("others");
    fs::create_dir(&directory).unwrap();
    for mode in [0o777, 0o1777, 0o730, 0o1703] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        let log = refused(&place, &directory).await;
        let expected = format!(
            "files.directory: cannot trust {}: others than its owner may write to it (mode \
             {mode:04o}); make it 0711",
            directory.display()
        );
        assert!(log.contains(&expected), "{log}");
    }
    if !can_be_another_user() {
        return;
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::chown(&directory, Some(ANOTHER), None).unwrap();
    let log = refused(&place, &directory).await;
    let expected = format!("it belongs to uid {ANOTHER}; make it this daemon's own, uid 0");
    assert!(log.contains(&expected), "{log}");
}

#[tokio::test]
async fn no_variables_name_leaves_the_directory() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let long = "A".repeat(300);
    for name in [
        "..", ".", "/", "../A", "A/B", "/etc/A", "A\0B", "\0", "A\n", "", &long,
    ] {
        let refusal = caller.refused(ask(&stage.token()).file(name, "db-password"));
        assert_eq!(refusal.await.reason, Reason::RequestInvalid, "{name:?}");
    }
    assert!(stage.place.left().is_empty());
    assert!(stage.notes().is_empty());
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn a_reader_sees_no_file_or_the_whole_file() {
    let stage = Stage::with(|config| config.set("limits.token_rate", 100_000)).await;
    let value = "0123456789abcdef".repeat(1500);
    stage.put("long", &value);
    let (leases, caller, token) = (stage.place.leases(), stage.caller().await, stage.token());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        let mut lengths = Vec::new();
        // Until the other end is gone, however the test ends.
        while stopped.try_recv() != Err(TryRecvError::Disconnected) {
            for entry in fs::read_dir(&leases).unwrap().flatten() {
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                // It may be gone by now.
                if let (false, Ok(read)) = (hidden, fs::read(entry.path().join("A"))) {
                    lengths.push(read.len());
                }
            }
        }
        lengths
    });
    for _ in 0..50 {
        let request = ask(&token).file("A", "long").file("B", "long");
        let answer = caller.resolve(request).await.unwrap();
        caller.release(&answer.lease_id, &token).await.unwrap();
    }
    drop(stop);
    let lengths = reader.join().unwrap();
    println!("{} whole files were read", lengths.len());
    assert!(!lengths.is_empty());
    assert!(lengths.iter().all(|length| *length == value.len()));
}

/// A stage that other users can come to.
async fn for_all() -> Stage {
    let stage = Stage::with(|config| {
        let config = config.text("files.owner_grace", "100ms");
        config.text("listen.socket_mode", "0666")
    })
    .await;
    stage.place.open_to_all();
    let leases = fs::Permissions::from_mode(0o711);
    fs::set_permissions(stage.place.leases(), leases).unwrap();
    fs::copy(CLIENT, stage.place.path("client")).unwrap();
    stage
}

/// Runs a script of another user's job, which has its lease in `$RUNNER_SECRETS_LEASE` and its files
/// in `$DIR`.
pub(crate) fn another(stage: &Stage, script: &str) -> Output {
    let spec = object(serde_json::json!({"A": entry("db-password", true)}));
    let script = format!(
        r#"secrets=$("$CLIENT" env) || exit $?; eval "$secrets"; DIR=${{A%/*}}; cd "$DIR" || exit 9
        {script}"#
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).env_clear();
    command.uid(ANOTHER).gid(ANOTHER).current_dir("/");
    command.env("CLIENT", stage.place.path("client"));
    command.env("PATH", "/usr/bin:/bin");
    command.env("RUNNER_SECRETS_SOCKET", stage.place.socket());
    command.env(
        "RUNNER_SECRETS",
        serde_json::Value::Object(spec).to_string(),
    );
    command.env("JWT", stage.token()).env("CI_JOB_ID", "812");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_neither_lists_nor_reads() {
    if !can_be_another_user() {
        return;
    }
    let stage = for_all().await;
    let caller = stage.caller().await;
    let ours = caller.resolve(ask(&stage.token()).file("A", "api-key"));
    let ours = file(&ours.await.unwrap(), "A");
    let output = another(
        &stage,
        &format!(
            r#"cat "$A"; stat -c ' %a %u' "$A" "$DIR"
            for try in 'ls ..' 'cat {ours}' 'ls {directory}' 'ls {state}' 'mkdir ../mine' \
                'mv {directory} ../moved' 'mv . ../moved' 'touch {directory}/x'
            do $try 2>/dev/null && echo "could: $try"; done; true"#,
            ours = ours.display(),
            directory = ours.parent().unwrap().display(),
            state = stage.place.state().display()
        ),
    );
    let said = String::from_utf8(output.stdout).unwrap();
    let expected = format!("correct horse battery staple 400 {ANOTHER}\n 700 {ANOTHER}\n");
    assert_eq!(said, expected);
    assert_eq!(fs::read(ours).unwrap(), b"key-of-this-year");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_jobs_of_a_user_have_a_directory_each() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let mut directories = Vec::new();
    for job in ["812", "813"] {
        let token = stage.token_but(serde_json::json!({"job_id": job}));
        let answer = caller.resolve(ask(&token).file("A", "db-password"));
        let answer = answer.await.unwrap();
        directories.push((token, answer.lease_id.clone(), file(&answer, "A")));
    }
    let [(first, lease, file), (second, _, other)] = &directories[..] else {
        panic!("two jobs");
    };
    assert_ne!(file.parent(), other.parent());
    let refusal = caller.release(lease, second).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::CallerDenied);
    assert!(file.exists() && other.exists());
    caller.release(lease, first).await.unwrap();
    assert!(!file.exists() && other.exists());
}

/// Whatever a job does to its own directory, all of it is deleted and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_job_makes_of_its_directory_does_not_keep_it() {
    if can_be_another_user() {
        outlasts_hostile_jobs(&mut for_all().await).await;
    }
}

/// Has jobs of another user do their worst, one after the other.
pub(crate) async fn outlasts_hostile_jobs(stage: &mut Stage) {
    let precious = stage.place.path("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "x").unwrap();
    for path in [&precious, &precious.join("file")] {
        std::os::unix::fs::chown(path, Some(ANOTHER), None).unwrap();
    }
    let outside = precious.display().to_string();
    for script in HOSTILE {
        another(
            stage,
            &format!("{}\ntrue", script.replace("OUTSIDE", &outside)),
        );
        // The shell has ended, and its lease ends with it.
        stage.place.emptied().await;
        assert_eq!(fs::read(precious.join("file")).unwrap(), b"x", "{script}");
        let mode = fs::metadata(&precious).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{script}");
    }
    until("every end is on record", || stage.notes().is_empty()).await;
    let log = stage.daemon.log();
    assert!(!log.contains("left behind"), "{log}");
}

/// What jobs do in their directory before it is deleted.
const HOSTILE: [&str; 9] = [
    // Closed, and closed below.
    "mkdir -p a/b; : >a/b/f; chmod 000 a/b a .",
    // Open to all.
    "mkdir a; chmod 0777 . a; chmod 0666 A",
    // With every bit there is.
    "mkdir a; : >a/f; chmod 7777 a .",
    // Links out of it and into it, and what is no file.
    "ln -s OUTSIDE s; ln -s OUTSIDE/file t; ln OUTSIDE/file h; ln A ../../precious/A; mkfifo p",
    // Deeper than any path is long.
    "n=$(printf %050d 7); mkdir d; i=0
    while [ $i -lt 300 ]; do mkdir $n && mv d $n && mv $n d || exit 8; i=$((i+1)); done",
    // More than is deleted at once.
    "mkdir w; cd w; seq 1 30000 | xargs touch; mkdir v; cd v; seq 1 30000 | xargs touch",
    // Wide, deep and closed.
    "for i in 1 2 3 4 5 6; do for j in 1 2 3 4 5 6; do mkdir -p $i/$j/$i/$j; done; done
    chmod -R 000 1 2 3",
    // Moved about, and its own file gone.
    "rm -f A; mkdir a a/b a/b/c; mv a/b/c c; mv a c",
    // Now a directory, now a link, until it cannot change anything any more.
    "mkdir k; (while mkdir x k/x; do
        rmdir x k/x; ln -s OUTSIDE x; ln -s OUTSIDE k/x; rm x k/x
    done) >/dev/null 2>&1 &",
];
