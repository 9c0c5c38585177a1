//! The log on real files: what is in them after everything that can happen to them.

mod damage;
mod rotation;
mod waiting;

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Log, Writer};
use crate::{
    audit::{
        chain::{Head, Line},
        event::{Event, Request},
    },
    config::{self, Audit},
};

/// Longer than anything takes on a machine with too much to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a trail in it.
struct Place {
    directory: tempfile::TempDir,
    settings: Audit,
}

impl Place {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Audit)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = Audit {
            file: Some(config::audit::File {
                path: directory.path().join("audit.jsonl"),
                rotate_size: 1 << 20,
                keep: None,
                keep_for: None,
            }),
            syslog: None,
            stdout: false,
            durable: config::audit::Durable::File,
            signing_key: None,
            checkpoint_interval: PATIENCE,
            timeout: PATIENCE,
            user: config::audit::User::Login,
        };
        change(&mut settings);
        Self {
            directory,
            settings,
        }
    }

    fn open(&self) -> (Log, Writer) {
        Log::open(&self.settings).unwrap()
    }

    /// What the operator is told instead.
    fn refuses(&self) -> String {
        Log::open(&self.settings).unwrap_err().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn current(&self) -> PathBuf {
        self.path("audit.jsonl")
    }

    /// The records of the current file.
    fn records(&self) -> Vec<Value> {
        records(&self.current())
    }

    /// The records of all files, which have to be one chain.
    fn trail(&self) -> Vec<Value> {
        let names = fs::read_dir(self.directory.path()).unwrap();
        let mut files: Vec<Vec<Value>> = names
            .map(|entry| records(&entry.unwrap().path()))
            .filter(|records| !records.is_empty())
            .collect();
        files.sort_by_key(|records| records[0]["seq"].as_u64());
        for pair in files.windows(2) {
            let (last, header) = (&pair[0][pair[0].len() - 1], &pair[1][0]);
            assert_eq!(header["event"], "header");
            assert_eq!(header["prev"], last["hash"]);
            assert_eq!(header["predecessor"]["hash"], last["hash"]);
            assert_eq!(header["predecessor"]["seq"], last["seq"]);
        }
        files.concat()
    }
}

/// The records of a file, each of which must be intact and go on where the one before ended.
fn records(path: &Path) -> Vec<Value> {
    let text = fs::read(path).unwrap();
    let mut head: Option<Head> = None;
    let mut records = Vec::new();
    for text in text.split(|byte| *byte == b'\n') {
        let Ok(line) = Line::parse(text) else {
            continue;
        };
        if let Some(head) = head {
            assert_eq!((line.seq, line.prev), (head.seq + 1, head.hash));
        }
        head = Some(line.head());
        records.push(serde_json::from_slice(text).unwrap());
    }
    records
}

fn events(records: &[Value]) -> Vec<&str> {
    let events = records.iter().map(|record| record["event"].as_str());
    events.map(Option::unwrap).collect()
}

/// The ids of the requests on record, in order.
fn ids(records: &[Value]) -> Vec<&str> {
    let ids = records.iter();
    ids.filter_map(|record| record["request_id"].as_str())
        .collect()
}

fn intent(id: impl fmt::Display) -> Event {
    Event::Intent(Request {
        request_id: id.to_string(),
        ..Request::default()
    })
}

/// Waits until the log works again, which must take a retry at most.
async fn works(log: &Log) {
    let mut state = log.watch();
    let working = state.wait_for(|state| state.failing.is_none());
    let in_time = tokio::time::timeout(PATIENCE, working).await.is_ok();
    assert!(in_time, "it never worked again: {:?}", log.failing());
}

#[tokio::test]
async fn a_record_is_in_the_file_when_commit_returns() {
    let place = Place::new();
    let (log, writer) = place.open();
    log.commit(intent("a")).await.unwrap();
    let found = place.records();
    assert_eq!(events(&found), ["header", "intent"]);
    assert_eq!(found[1]["request_id"], "a");
    assert_eq!(found[1]["instance"], log.instance());
    assert_eq!(log.watch().borrow().head.seq, 2);
    let mode = fs::metadata(place.current()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o7777, 0o640);
    writer.close(PATIENCE).unwrap();
    assert_eq!(
        events(&place.records()),
        ["header", "intent", "stop", "checkpoint"]
    );
}

#[tokio::test]
async fn the_chain_goes_on_after_a_restart() {
    let place = Place::new();
    for run in 0..3 {
        let (log, writer) = place.open();
        log.commit(intent(run)).await.unwrap();
        writer.close(PATIENCE).unwrap();
    }
    let found = place.records();
    assert_eq!(found.len(), 10);
    assert_eq!(found[9]["seq"], 10);
}

#[tokio::test]
async fn a_chain_goes_on_from_full_and_renamed_files() {
    for name in [
        "audit-000000000001.jsonl",
        "audit.jsonl.1",
        "audit.jsonl-20261121",
    ] {
        let place = Place::new();
        let (log, writer) = place.open();
        log.commit(intent("a")).await.unwrap();
        writer.close(PATIENCE).unwrap();
        fs::rename(place.current(), place.path(name)).unwrap();
        let (_, writer) = place.open();
        writer.close(PATIENCE).unwrap();
        assert_eq!(place.records()[0]["predecessor"]["file"], name);
        assert_eq!(place.trail().len(), 7);
    }
}

#[tokio::test]
async fn only_one_daemon_writes_a_trail() {
    let place = Place::new();
    let (_, writer) = place.open();
    let said = place.refuses();
    assert!(
        said.ends_with("audit.jsonl is in use by another process, which has locked it"),
        "{said}"
    );
    writer.close(PATIENCE).unwrap();
    place.open().1.close(PATIENCE).unwrap();
}

#[tokio::test]
async fn checkpoints_are_signed_with_the_operators_key() {
    let key = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
        -----END PRIVATE KEY-----\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.pem");
    {
        use std::io::Write as _;
        let mut file = fs::File::create_new(&path).unwrap();
        file.write_all(key.as_bytes()).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let place = Place::with(|settings| settings.signing_key = Some(path));
    place.open().1.close(PATIENCE).unwrap();
    let found = place.records();
    let checkpoint = found.last().unwrap();
    assert_eq!(checkpoint["event"], "checkpoint");
    assert_eq!(checkpoint["key"].as_str().unwrap().len(), 16);
    assert_eq!(checkpoint["signature"].as_str().unwrap().len(), 88);
}

#[tokio::test]
async fn there_is_a_checkpoint_at_intervals_if_there_is_something_new() {
    let place = Place::with(|settings| {
        settings.checkpoint_interval = Duration::from_millis(1);
    });
    let (log, writer) = place.open();
    let mut state = log.watch();
    // The header is new, then the checkpoint itself, and nothing after it.
    state.wait_for(|state| state.head.seq == 2).await.unwrap();
    log.commit(intent("a")).await.unwrap();
    state.wait_for(|state| state.head.seq == 4).await.unwrap();
    writer.close(PATIENCE).unwrap();
    let found = place.records();
    assert_eq!(
        events(&found),
        [
            "header",
            "checkpoint",
            "intent",
            "checkpoint",
            "stop",
            "checkpoint"
        ]
    );
}

#[tokio::test]
async fn a_log_to_nowhere_takes_everything() {
    let (log, writer) = Log::to_nowhere().unwrap();
    log.commit(intent("a")).await.unwrap();
    log.write(intent("b"));
    assert!(log.failing().is_none());
    writer.close(PATIENCE).unwrap();
    assert_eq!(log.watch().borrow().head.seq, 5);
    let after = log.commit(intent("c")).await.unwrap_err();
    assert_eq!(after.cause, "the daemon is stopping");
}
