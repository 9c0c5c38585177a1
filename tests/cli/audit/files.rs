//! Damages to the files of a trail as a whole, and files that are none.

use std::{fs, path::Path, process::Command};

use super::trail::{Auditor, Chain, damages, three, three_of};
use crate::operator::run;

const FIRST: &str = "audit-000000000001.jsonl";
const SECOND: &str = "audit-000000000007.jsonl";

#[test]
fn files_may_come_in_any_order_and_twice() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let path = |name| auditor.path(name).to_str().unwrap().to_owned();
    let names = ["audit.jsonl", FIRST, SECOND, FIRST].map(path);
    let directory = auditor.path("");
    let mut arguments = vec!["audit", "verify", directory.to_str().unwrap()];
    arguments.extend(names.iter().map(String::as_str));
    let ran = run(Path::new("/nonexistent"), &arguments);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    assert!(ran.stdout.contains("files        3, "), "{}", ran.stdout);
}

#[test]
fn a_missing_file_is_found() {
    let found = damages(|files| drop(files.remove(1)));
    let expected = format!(
        "audit.jsonl: records 7 to 12 are missing between {FIRST} and this file; it was written after a file with the name {SECOND:?}"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn a_file_that_lost_its_end_is_found_by_the_next_one() {
    let found = damages(|files| files[1].lines.truncate(4));
    let expected = format!(
        "audit.jsonl: records 11 to 12 are missing between {SECOND} and this file; it was written after a file with the name {SECOND:?}"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn a_file_that_lost_its_beginning_is_found() {
    let found = damages(|files| drop(files[1].lines.drain(..2)));
    assert_eq!(
        found,
        [
            format!(
                "{SECOND}:1: the file does not begin with a header: its first lines were removed"
            ),
            format!("{SECOND}: records 7 to 8 are missing between {FIRST} and this file"),
        ]
    );
}

#[test]
fn a_header_that_was_altered_costs_one_damage() {
    let found = damages(|files| {
        files[1].lines[0] = files[1].lines[0].replace("build-1", "build-2");
    });
    let expected = format!("{SECOND}:1: record 7 was altered: its hash does not match");
    assert_eq!(found, [expected]);
}

#[test]
fn a_trail_whose_first_files_are_gone_says_so() {
    let (_, files) = three();
    let facts = Auditor::with(&files[1..]).facts(&[]);
    let note = format!(
        "note: {SECOND}: the trail begins with record 7, after another file, {FIRST:?}, which is not here, and no record here says that retention deleted it"
    );
    assert!(facts.contains(&note), "{facts:?}");
}

#[test]
fn what_retention_deleted_is_told_from_what_is_gone() {
    let (mut chain, mut files) = three();
    let (_, hash) = files[0].lines[5].rsplit_once(r#""hash":""#).unwrap();
    let hash = hash.strip_suffix("\"}").unwrap();
    let pruned = chain.record(
        "pruned",
        &format!(r#","file":"{FIRST}","last":{{"seq":6,"hash":"{hash}"}}"#),
    );
    files[2].lines.push(pruned);
    let facts = Auditor::with(&files[1..]).facts(&[]);
    let notes: Vec<_> = facts
        .iter()
        .filter(|fact| fact.contains("retention"))
        .collect();
    assert_eq!(notes.len(), 2, "{facts:?}");
    assert!(notes[0].ends_with("which retention deleted, as a record says"));
    assert_eq!(
        notes[1],
        &format!(
            "note: audit.jsonl:7: the file {FIRST:?}, up to record 6, was deleted by retention at 2026-11-21T00:00:18.000000Z"
        )
    );
}

#[test]
fn a_file_of_another_host_is_found() {
    let mut other = Chain::new();
    other.host = "build-2".to_owned();
    let others = three_of(&mut other);
    let found = damages(|files| files[1] = others[1].clone());
    assert_eq!(
        found,
        [
            format!(
                "{SECOND}: was written after another record 6 than the last one of {FIRST}: that was altered and sealed again, or one of the two files comes from another chain (hosts \"build-1\" and \"build-2\")"
            ),
            format!(
                "audit.jsonl: was written after another record 12 than the last one of {SECOND}: that was altered and sealed again, or one of the two files comes from another chain (hosts \"build-2\" and \"build-1\")"
            ),
        ]
    );
    // Besides the right ones, it is the only one that does not fit.
    let found = damages(|files| {
        let mut other = others[1].clone();
        other.name = "audit-other.jsonl".to_owned();
        files.push(other);
    });
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("audit-other.jsonl: begins with record 7, although"),
        "{found:?}"
    );
}

#[test]
fn a_copy_of_a_file_is_found() {
    let found = damages(|files| {
        let mut copy = files[1].clone();
        copy.name = "copy.jsonl".to_owned();
        copy.lines.truncate(3);
        files.push(copy);
    });
    let expected = format!(
        "copy.jsonl: begins with the same record as {SECOND}: it is a copy of it, or of a part of it"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn a_header_in_the_middle_is_found() {
    let found = damages(|files| {
        let second = files.remove(1);
        files[0].lines.extend(second.lines);
    });
    let expected = format!(
        "{FIRST}:7: another file begins here, in the middle of this one: two files were put together"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn a_header_that_names_another_predecessor_is_found() {
    let mut chain = Chain::new();
    let first = chain.file(FIRST, 3, "");
    let header = chain.record("header", r#","version":1,"host":"build-1""#);
    let second = super::trail::File {
        name: "audit.jsonl".to_owned(),
        lines: vec![header],
    };
    let found = Auditor::with(&[first, second]).damages(&[]);
    assert_eq!(
        found,
        ["audit.jsonl:1: the header contradicts itself on what it was written after"]
    );
}

#[test]
fn a_trail_of_a_later_form_is_not_called_intact() {
    let mut chain = Chain::new();
    let file = super::trail::File {
        name: "audit.jsonl".to_owned(),
        lines: vec![chain.record("header", r#","version":2,"host":"build-1""#)],
    };
    let found = Auditor::with(&[file]).damages(&[]);
    assert_eq!(
        found,
        ["audit.jsonl:1: the trail has the form 2, which this program does not know"]
    );
}

#[test]
fn files_without_records_are_no_part_of_a_trail() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    auditor.file("other.jsonl", "{\"a\":1}\n");
    assert_eq!(
        auditor.damages(&[]),
        [
            "other.jsonl:1: is no record: it was altered, or something else wrote it",
            "other.jsonl: has no record at all: it is no part of a trail, or all of it was altered",
        ]
    );
}

/// A daemon that is killed while it changes files leaves one, and the next daemon goes on in it.
#[test]
fn an_empty_file_is_noted_and_no_damage_unless_there_is_no_other() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    auditor.file("empty.jsonl", "");
    let ran = auditor.run(&["verify"]);
    assert_eq!(ran.status, 0, "{}", ran.stdout);
    assert!(
        ran.stdout.contains("empty.jsonl is empty: "),
        "{}",
        ran.stdout
    );
    let alone = Auditor::with(&[]);
    alone.file("empty.jsonl", "");
    let nothing = alone.run(&["verify"]);
    assert_eq!(nothing.status, 1, "{}", nothing.stdout);
    assert!(
        nothing.stdout.contains("this is no trail"),
        "{}",
        nothing.stdout
    );
    // Whoever empties a file that had records leaves a gap.
    auditor.file(SECOND, "");
    assert_eq!(auditor.run(&["verify"]).status, 1);
}

#[test]
fn what_cannot_be_read_ends_with_66_and_does_not_hang() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let pipe = auditor.path("pipe.jsonl");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let ran = auditor.run(&["verify", "/nonexistent.jsonl", "/dev/null"]);
    assert_eq!(ran.status, 66, "{}", ran.stdout);
    let lines: Vec<_> = ran.stdout.lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "/nonexistent.jsonl: cannot be read: No such file or directory (os error 2)",
            "/dev/null: is not a regular file",
            "pipe.jsonl: is not a regular file",
            "NOT INTACT",
        ]
    );
    // Damage is the stronger word.
    fs::write(auditor.path("audit.jsonl"), "\n").unwrap();
    assert_eq!(auditor.run(&["verify"]).status, 1);
    let nothing = Auditor::new().run(&["verify"]);
    assert_eq!(nothing.status, 66);
    assert!(
        nothing
            .stdout
            .contains(": the directory has no *.jsonl file\n"),
        "{}",
        nothing.stdout
    );
}
