//! Damages to the lines of a file: each is found where it is, and reported once.

use super::trail::{Auditor, Chain, File, damages, sha256, three, three_of};

const SECOND: &str = "audit-000000000007.jsonl";

/// Makes a line's hash again after a change.
fn reseal(line: &str, from: &str, to: &str) -> String {
    let (open, _) = line.rsplit_once(r#","hash":""#).unwrap();
    let open = open.replacen(from, to, 1);
    format!(r#"{open},"hash":"{}"}}"#, sha256(open.as_bytes()))
}

#[test]
fn a_whole_trail_is_intact() {
    let (chain, files) = three();
    let facts = Auditor::with(&files).facts(&[]);
    assert_eq!(facts[1], "records      18, from 1 to 18");
    assert_eq!(
        facts[2],
        "time         2026-11-21T00:00:00.000000Z to 2026-11-21T00:00:17.000000Z"
    );
    assert_eq!(facts[3], "runs         1 of the daemon on build-1");
    assert_eq!(facts[4], "checkpoints  3");
    assert_eq!(facts[5], format!("head         {}", chain.head()));
    assert_eq!(
        facts[6..],
        [
            "note: that records were cut off the end cannot be seen without --head or --from-checkpoint, kept elsewhere"
        ]
    );
}

#[test]
fn an_altered_line_is_found() {
    let found = damages(|files| {
        files[1].lines[2] = files[1].lines[2].replace(r#""count":3"#, r#""count":4"#);
    });
    let expected = format!("{SECOND}:3: record 9 was altered: its hash does not match");
    assert_eq!(found, [expected]);
}

#[test]
fn a_line_that_is_no_record_any_more_is_found() {
    let found = damages(|files| files[1].lines[2] = "{}".to_owned());
    let expected = format!("{SECOND}:3: is no record: it was altered, or something else wrote it");
    assert_eq!(found, [expected]);
}

#[test]
fn an_altered_line_with_a_new_hash_is_found_by_the_next_one() {
    let found = damages(|files| {
        let line = &mut files[1].lines[2];
        *line = reseal(line, r#""count":3"#, r#""count":4"#);
    });
    let expected = format!(
        "{SECOND}:4: record 10 was written after another record 9 than the one above: that one was altered and sealed again, or lines of another chain begin or end here"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn missing_lines_are_found_with_their_numbers() {
    let found = damages(|files| drop(files[1].lines.remove(2)));
    assert_eq!(
        found,
        [format!("{SECOND}:3: record 9 is missing before this line")]
    );
    let found = damages(|files| drop(files[1].lines.drain(1..4)));
    let expected = format!("{SECOND}:2: records 8 to 10 are missing before this line");
    assert_eq!(found, [expected]);
}

#[test]
fn a_duplicated_line_is_found() {
    let found = damages(|files| {
        let line = files[1].lines[2].clone();
        files[1].lines.insert(3, line);
    });
    let expected = format!("{SECOND}:4: record 9 is here once more: lines were duplicated");
    assert_eq!(found, [expected]);
    let found = damages(|files| {
        let lines = files[1].lines[1..3].to_vec();
        files[1].lines.splice(5..5, lines);
    });
    let expected =
        format!("{SECOND}:6-7: records 8 to 9 are here once more: lines were duplicated");
    assert_eq!(found, [expected]);
}

#[test]
fn swapped_lines_are_found() {
    let found = damages(|files| files[1].lines.swap(2, 3));
    let expected = format!("{SECOND}:3: record 10 is not in place: lines were swapped or moved");
    assert_eq!(found, [expected]);
    let found = damages(|files| files[1].lines.swap(0, 1));
    assert_eq!(
        found,
        [
            format!(
                "{SECOND}:1: the file does not begin with a header: its first lines were removed"
            ),
            format!(
                "{SECOND}:2: another file begins here, in the middle of this one: two files were put together"
            ),
            format!("{SECOND}:2: record 7 is not in place: lines were swapped or moved"),
        ]
    );
}

#[test]
fn a_moved_block_is_found() {
    let found = damages(|files| {
        let block: Vec<_> = files[1].lines.drain(3..5).collect();
        files[1].lines.splice(1..1, block);
    });
    let expected =
        format!("{SECOND}:2-3: records 10 to 11 are not in place: lines were swapped or moved");
    assert_eq!(found, [expected]);
}

#[test]
fn lines_of_another_chain_are_found() {
    let mut other = Chain::new();
    other.instance = "00000000000000bb".to_owned();
    other.second = 7;
    let others = three_of(&mut other);
    // In place of the same numbers: where they begin, and where they end.
    let found = damages(|files| {
        files[1].lines[2..4].clone_from_slice(&others[1].lines[2..4]);
    });
    let unchained = |line: u64, seq: u64| {
        format!(
            "{SECOND}:{line}: record {seq} was written after another record {} than the one above: that one was altered and sealed again, or lines of another chain begin or end here",
            seq - 1
        )
    };
    assert_eq!(found, [unchained(3, 9), unchained(5, 11)]);
    // Besides them, with numbers that were there, and with others.
    let found = damages(|files| {
        let lines = others[1].lines[1..3].to_vec();
        files[1].lines.splice(4..4, lines);
    });
    let expected = format!(
        "{SECOND}:5-6: records 8 to 9 are not what has that number above: lines were altered and sealed again, or come from another chain"
    );
    assert_eq!(found, [expected]);
    let found = damages(|files| {
        let lines = others[2].lines[1..3].to_vec();
        files[1].lines.splice(4..4, lines);
    });
    let expected = format!(
        "{SECOND}:5-6: records 14 to 15 are from another chain, or what stood between was removed with care"
    );
    assert_eq!(found, [expected]);
}

#[test]
fn several_damages_are_each_found() {
    let found = damages(|files| {
        files[0].lines[1] = files[0].lines[1].replace("count", "cnout");
        files[1].lines.remove(1);
        files[1].lines.swap(2, 3);
        files[2].lines[3] = "garbage".to_owned();
    });
    assert_eq!(
        found,
        [
            "audit-000000000001.jsonl:2: record 2 was altered: its hash does not match".to_owned(),
            format!("{SECOND}:2: record 8 is missing before this line"),
            format!("{SECOND}:3: record 11 is not in place: lines were swapped or moved"),
            "audit.jsonl:4: is no record: it was altered, or something else wrote it".to_owned(),
        ]
    );
}

#[test]
fn the_end_of_the_last_line_counts_as_well() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let text = format!("{}X", files[2].lines.join("\n"));
    auditor.file("audit.jsonl", text);
    let found = auditor.damages(&[]);
    assert_eq!(
        found,
        ["audit.jsonl:6: the line end after record 18 was altered"]
    );
}

#[test]
fn a_list_of_damages_has_an_end() {
    let mut chain = Chain::new();
    let mut file: File = chain.file("audit.jsonl", 500, "");
    for line in &mut file.lines[1..] {
        line.push(' ');
    }
    let found = Auditor::with(&[file]).damages(&[]);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], "and 399 more damages");
}

#[test]
fn what_files_say_cannot_steer_a_screen() {
    let mut chain = Chain::new();
    chain.host = "\\u001b[2J\\u202e".to_owned();
    let mut file = chain.file("audit.jsonl", 3, "");
    file.lines.push(chain.record(
        "recovered",
        r#","since":"x","cause":"\u001b[31m\n","refused":1,"lost":2"#,
    ));
    let facts = Auditor::with(&[file]).facts(&[]);
    assert!(
        facts
            .iter()
            .any(|fact| fact.contains(r"(\u{1b}[31m\u{a}): 1 requests")),
        "{facts:?}"
    );
}
