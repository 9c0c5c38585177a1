use std::{
    fs,
    path::PathBuf,
    time::{Duration, UNIX_EPOCH},
};

use proptest::{prelude::*, sample::Index};
use serde_json::json;
use tempfile::TempDir;

use super::{Kept, Options, Report, verify};
use crate::audit::{
    chain::{Head, Stamp, VERSION},
    event::{Checkpoint, Clock, Event, Header, Predecessor, Start},
};

const FILES: usize = 3;
const RECORDS: u64 = 3;

/// Three files of three records each, and the head.
fn trail() -> ([Vec<u8>; FILES], Head) {
    let mut head = Head::GENESIS;
    let mut record = |event: &Event| {
        let stamp = Stamp {
            time: UNIX_EPOCH + Duration::from_secs(1_795_250_818 + head.seq),
            instance: "0123456789abcdef",
        };
        let (line, next) = head.line(&stamp, event).unwrap();
        head = next;
        (line, next)
    };
    let mut predecessor = None;
    let files = std::array::from_fn(|_| {
        let header = Event::Header(Header {
            version: VERSION,
            host: "build-1".to_owned(),
            predecessor: predecessor.take(),
        });
        let mut file = record(&header).0;
        for _ in 2..RECORDS {
            file.extend(record(&start()).0);
        }
        let (line, head) = record(&Event::Checkpoint(Checkpoint { key: None }));
        file.extend(line);
        predecessor = Some(Predecessor { file: None, head });
        file
    });
    (files, head)
}

fn start() -> Event {
    Event::Start(Start {
        version: "0.1.0".to_owned(),
        pid: 1,
        uid: 0,
        boot_id: None,
        clock: Clock::default(),
        config: json!({"text": "a \"b\"\n"}),
    })
}

struct Place(TempDir);

impl Place {
    fn with(files: &[Vec<u8>; FILES]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (index, file) in files.iter().enumerate() {
            place.put(index, file);
        }
        place
    }

    fn put(&self, index: usize, file: &[u8]) {
        fs::write(self.0.path().join(format!("{index}.jsonl")), file).unwrap();
    }

    fn verify(&self, options: &Options) -> Report {
        let paths: [PathBuf; 1] = [self.0.path().into()];
        verify(&paths, options, &mut |_, _| {})
    }
}

fn held_against(head: Head) -> Options {
    Options {
        kept: vec![Kept {
            head,
            what: "--head",
        }],
        ..Options::default()
    }
}

#[test]
fn what_the_daemon_writes_is_intact() {
    let (files, head) = trail();
    let report = Place::with(&files).verify(&held_against(head));
    assert!(report.intact, "{}", report.text());
    assert_eq!((report.records, report.head), (9, Some(head)));
}

#[test]
fn every_byte_of_a_trail_counts() {
    let (files, _) = trail();
    let place = Place::with(&files);
    for (index, file) in files.iter().enumerate() {
        for at in 0..file.len() {
            for other in [file[at] ^ 1, b'\n'] {
                if other != file[at] {
                    let mut altered = file.clone();
                    altered[at] = other;
                    place.put(index, &altered);
                    let report = place.verify(&Options::default());
                    assert!(!report.intact, "file {index}, byte {at}, {other:#x}");
                }
            }
        }
        place.put(index, file);
    }
}

/// What somebody may do to the lines of a trail.
#[derive(Clone, Debug)]
enum Change {
    Delete(Index),
    Duplicate(Index, Index),
    Swap(Index, Index),
    Move(Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let two = || (any::<Index>(), any::<Index>());
    prop_oneof![
        any::<Index>().prop_map(Change::Delete),
        two().prop_map(|(from, to)| Change::Duplicate(from, to)),
        two().prop_map(|(one, other)| Change::Swap(one, other)),
        two().prop_map(|(from, to)| Change::Move(from, to)),
    ]
}

/// Lines with the file that each is in.
type Lines = Vec<(usize, Vec<u8>)>;

fn apply(change: &Change, lines: &mut Lines) {
    let count = lines.len();
    match change {
        Change::Delete(at) => drop(lines.remove(at.index(count))),
        Change::Duplicate(from, to) => {
            let (_, line) = lines[from.index(count)].clone();
            let to = to.index(count);
            lines.insert(to, (lines[to].0, line));
        }
        Change::Swap(one, other) => {
            let (one, other) = (one.index(count), other.index(count));
            let line = lines[one].1.clone();
            lines[one].1 = std::mem::replace(&mut lines[other].1, line);
        }
        Change::Move(from, to) => {
            let (_, line) = lines.remove(from.index(count));
            let to = to.index(count - 1);
            lines.insert(to, (lines[to].0, line));
        }
    }
}

proptest! {
    #[test]
    fn no_line_can_be_removed_duplicated_or_moved(changes in prop::collection::vec(change(), 1..4)) {
        let (files, head) = trail();
        let lines = |(index, file): (usize, &Vec<u8>)| {
            let lines = file.split_inclusive(|byte| *byte == b'\n');
            lines.map(|line| (index, line.to_vec())).collect::<Lines>()
        };
        let before: Lines = files.iter().enumerate().flat_map(lines).collect();
        let mut after = before.clone();
        for change in &changes {
            apply(change, &mut after);
        }
        let texts = |lines: &Lines| -> [Vec<u8>; FILES] {
            std::array::from_fn(|index| {
                let own = lines.iter().filter(|(file, _)| *file == index);
                own.flat_map(|(_, line)| line.clone()).collect()
            })
        };
        let (before, after) = (texts(&before), texts(&after));
        let report = Place::with(&after).verify(&held_against(head));
        prop_assert_eq!(report.intact, before == after, "{}", report.text());
    }

    #[test]
    fn anything_at_all_can_be_verified(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut files, _) = trail();
        files[1].extend(bytes);
        let report = Place::with(&files).verify(&Options::default());
        prop_assert!(!report.text().is_empty());
    }
}
