use std::{
    fs,
    io::{self, Read},
};

use super::{End, Fragment, Lines, Unreadable, find};
use crate::audit::{
    chain::{Digest, LONGEST},
    event::Torn,
};

#[test]
fn lines_are_read_to_their_ends_and_no_further_than_the_longest() {
    let long = "x".repeat(LONGEST + 1);
    let exact = "y".repeat(LONGEST);
    let text = format!("a\n\n{exact}\n{long}zzz\nb");
    let mut lines = Lines::of(text.as_bytes());
    let mut line = Vec::new();
    let mut ends = Vec::new();
    while let Some(end) = lines.next(&mut line).unwrap() {
        assert!(line.capacity() <= 2 * (LONGEST + 1));
        ends.push((lines.number(), line.len(), end));
    }
    let expected = [
        (1, 1, End::Line),
        (2, 0, End::Line),
        (3, LONGEST, End::Line),
        (4, LONGEST + 1, End::Never),
        (5, 1, End::File),
    ];
    assert_eq!(ends, expected);
}

#[test]
fn a_fragment_is_its_bytes_with_the_line_ends_between() {
    let mut fragment = Fragment::default();
    fragment.add(b"a");
    fragment.add(b"");
    let torn = |bytes: &[u8]| Torn {
        bytes: bytes.len() as u64,
        sha256: Digest::of(bytes),
    };
    assert!(fragment.is(&torn(b"a\n")));
    assert!(!fragment.is(&torn(b"a")));
    assert!(!fragment.is(&torn(b"b\n")));
    assert_eq!(fragment.lines(), 2);
}

/// Gives one part at each look; an empty one is the end, for the moment.
struct Growing(Vec<&'static [u8]>);

impl Read for Growing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let part = self.0.pop().unwrap_or_default();
        buffer[..part.len()].copy_from_slice(part);
        Ok(part.len())
    }
}

#[test]
fn a_file_that_grows_ends_where_its_end_was() {
    let mut lines = Lines::of(Growing(vec![b"cd\n", b"", b"a\nb"]));
    let mut line = Vec::new();
    assert_eq!(lines.next(&mut line).unwrap(), Some(End::Line));
    assert_eq!(lines.next(&mut line).unwrap(), Some(End::File));
    assert_eq!(line, b"b");
    assert_eq!(lines.next(&mut line).unwrap(), None);
}

#[test]
fn a_file_that_another_has_replaced_is_not_taken_for_it() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("audit.jsonl");
    fs::write(&path, "a\n").unwrap();
    let found = find(&[place.path().into()]);
    let source = &found.sources[0];
    assert!(source.lines().is_ok());
    fs::rename(&path, place.path().join("audit-000000000001.jsonl")).unwrap();
    fs::write(&path, "b\n").unwrap();
    assert!(matches!(source.lines(), Err(Unreadable::Replaced)));
}

#[test]
fn a_directory_stands_for_its_files_of_records() {
    let place = tempfile::tempdir().unwrap();
    let of_a_trail = ["a.jsonl", "a.jsonl-20261121", "a.jsonl.1"];
    let others = ["a.jsonl.2.gz", "a.jsonlx", "a.txt", "notes"];
    for name in of_a_trail.iter().chain(&others) {
        fs::write(place.path().join(name), "").unwrap();
    }
    fs::create_dir(place.path().join("policies")).unwrap();
    let found = find(&[place.path().into()]);
    let names = found
        .sources
        .iter()
        .map(|source| source.path.file_name().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), of_a_trail);
}
