//! What a machine that stops leaves behind is a note; what it does not leave is a damage.

use super::trail::{Auditor, Chain, File, sha256, three};

/// A file with bytes in it that a `torn` record is about.
fn closed_off(fragment: &str, said: &str) -> Auditor {
    let mut chain = Chain::new();
    let mut file = chain.file("audit.jsonl", 4, "");
    file.lines.push(fragment.to_owned());
    let fields = format!(
        r#","bytes":{},"sha256":"{}""#,
        said.len(),
        sha256(said.as_bytes())
    );
    file.lines.push(chain.record("torn", &fields));
    file.lines.push(chain.record("start", ""));
    Auditor::with(&[file])
}

#[test]
fn a_fragment_that_was_closed_off_is_a_note() {
    let facts = closed_off("{\"seq\":5,\"pr", "{\"seq\":5,\"pr").facts(&[]);
    let note = "note: audit.jsonl:6: 12 bytes of a record broke off at 2026-11-21T00:00:04.000000Z";
    assert!(facts.contains(&note.to_owned()), "{facts:?}");
}

#[test]
fn a_fragment_that_is_another_one_is_found() {
    let found = closed_off("{\"seq\":5,\"px", "{\"seq\":5,\"pr").damages(&[]);
    assert_eq!(
        found,
        [
            "audit.jsonl:5: is no record: it was altered, or something else wrote it",
            "audit.jsonl:6: what is said here to have broken off is not what stands above: that was altered",
        ]
    );
}

#[test]
fn a_fragment_that_was_removed_is_found() {
    let mut chain = Chain::new();
    let mut file = chain.file("audit.jsonl", 4, "");
    let fields = format!(r#","bytes":3,"sha256":"{}""#, sha256(b"abc"));
    file.lines.push(chain.record("torn", &fields));
    let found = Auditor::with(&[file]).damages(&[]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("audit.jsonl:5: what is said here to have broken off"),
        "{found:?}"
    );
}

#[test]
fn a_fragment_with_line_ends_in_it_is_found() {
    let found = closed_off("abc\ndef\n", "abc\ndef\n").damages(&[]);
    assert_eq!(
        found,
        [
            "audit.jsonl:5-7: 8 bytes with line ends in them are no records: the machine stopped while it wrote them, or somebody altered them"
        ]
    );
}

#[test]
fn a_record_that_lost_only_its_line_end_counts() {
    let (chain, files) = three();
    let auditor = Auditor::with(&files);
    auditor.file("audit.jsonl", files[2].lines.join("\n"));
    let facts = auditor.facts(&["--head", &chain.head()]);
    assert!(
        facts.contains(&"records      18, from 1 to 18".to_owned()),
        "{facts:?}"
    );
}

#[test]
fn a_record_that_broke_off_at_the_end_is_a_note() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    auditor.file(
        "audit.jsonl",
        format!("{}\n{{\"seq\":19,\"pre", files[2].lines.join("\n")),
    );
    let facts = auditor.facts(&[]);
    let note = "note: audit.jsonl: its last 14 bytes are the beginning of a record that broke off, or is being written; the daemon closes it off when it starts";
    assert!(facts.contains(&note.to_owned()), "{facts:?}");
    assert!(
        facts.contains(&"records      18, from 1 to 18".to_owned()),
        "{facts:?}"
    );
}

#[test]
fn a_record_that_broke_off_before_the_next_file_is_a_note() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    auditor.file(
        &files[1].name,
        format!("{}\n{{\"seq\":13", files[1].lines.join("\n")),
    );
    let facts = auditor.facts(&[]);
    let note = format!(
        "note: {}: its last 9 bytes are the beginning of a record that broke off",
        files[1].name
    );
    assert!(facts.contains(&note), "{facts:?}");
}

#[test]
fn times_without_a_trail_are_told() {
    let mut chain = Chain::new();
    let mut file: File = chain.file("audit.jsonl", 4, "");
    let fields =
        r#","since":"2026-11-20T23:00:00.000000Z","cause":"no space left","refused":12,"lost":3"#;
    file.lines.push(chain.record("recovered", fields));
    let facts = Auditor::with(&[file]).facts(&[]);
    let note = "note: audit.jsonl:5: no trail could be written from 2026-11-20T23:00:00.000000Z to 2026-11-21T00:00:04.000000Z (no space left): 12 requests were refused, 3 records lost";
    assert!(facts.contains(&note.to_owned()), "{facts:?}");
}
