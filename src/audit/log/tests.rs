//! The log on real files: what is in them after everything that can happen to them.

use std::{
    fs,
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
        let directory = tempfile::tempdir().unwrap();
        let settings = Audit {
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
        Self {
            directory,
            settings,
        }
    }

    fn open(&self) -> (Log, Writer) {
        Log::open(&self.settings).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn records(&self) -> Vec<Value> {
        records(&self.path("audit.jsonl"))
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

fn intent(id: &str) -> Event {
    Event::Intent(Request {
        request_id: id.to_owned(),
        ..Request::default()
    })
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
    let mode = fs::metadata(place.path("audit.jsonl"))
        .unwrap()
        .permissions();
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
        log.commit(intent(&run.to_string())).await.unwrap();
        writer.close(PATIENCE).unwrap();
    }
    let found = place.records();
    assert_eq!(found.len(), 10);
    assert_eq!(found[9]["seq"], 10);
}
