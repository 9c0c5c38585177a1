use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{MOST_BYTES, Note, Notes};
use crate::files::Identity;

const NAME: &str = "00112233445566778899aabbccddeeff";

fn note(notes: &Notes) -> Note {
    let identity = Identity {
        device: 1,
        inode: 2,
    };
    let mut note = Note::new(notes, NAME, identity);
    note.lease = "ffeeddccbbaa99887766554433221100".into();
    note.issuer = "https://gitlab.example.com/\"quoted\"\n".into();
    note
}

fn names(place: &Path) -> Vec<String> {
    let entries = fs::read_dir(place).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_note_is_read_as_it_was_written_until_it_is_dropped() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    let notes = Notes::open(&path).unwrap();
    assert_eq!(mode(&path), 0o700);
    let mut written = notes.write(note(&notes)).unwrap();
    assert_eq!(names(&path), [format!("{NAME}.json")]);
    assert_eq!(mode(&path.join(format!("{NAME}.json"))), 0o600);
    written.bring_forward(7).unwrap();
    let expected = written.note().clone();
    assert_eq!(expected.until_ms, 7);
    written.keep();
    let found = notes.read().unwrap().pop().unwrap().unwrap();
    assert_eq!(*found.note(), expected);
    assert_eq!(found.note().boot, notes.boot());
    drop(found);
    assert!(names(&path).is_empty());
}

#[test]
fn one_daemon_uses_the_notes_at_a_time() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    let first = Notes::open(&path).unwrap();
    let refused = Notes::open(&path).unwrap_err().to_string();
    assert!(refused.contains("another daemon uses it"), "{refused}");
    drop(first);
    Notes::open(&path).unwrap();
}

#[test]
fn notes_that_others_could_have_written_are_no_use() {
    let place = tempfile::tempdir().unwrap();
    for mode in [0o720, 0o702, 0o1777] {
        let path = place.path().join(format!("{mode:o}"));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = Notes::open(&path).unwrap_err().to_string();
        assert!(refused.contains("others than its owner"), "{refused}");
    }
    let link = place.path().join("link");
    fs::DirBuilder::new()
        .mode(0o700)
        .create(place.path().join("real"))
        .unwrap();
    symlink(place.path().join("real"), &link).unwrap();
    let refused = Notes::open(&link).unwrap_err().to_string();
    assert!(refused.contains("is a symbolic link"), "{refused}");
}

/// What `change` makes of a good note.
fn strange(change: impl FnOnce(&Path, String)) -> String {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    let notes = Notes::open(&path).unwrap();
    notes.write(note(&notes)).unwrap().keep();
    let file = path.join(format!("{NAME}.json"));
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    change(&file, text);
    let mut found = notes.read().unwrap();
    assert_eq!(found.len(), 1);
    let problem = found.pop().unwrap().unwrap_err().to_string();
    assert!(!names(&path).is_empty(), "it is left: {problem}");
    problem
}

#[test]
fn a_note_that_is_torn_or_strange_is_not_trusted() {
    type Change = fn(String) -> String;
    let texts: [(&str, Change); 7] = [
        ("EOF", |text| text[..text.len() / 2].to_owned()),
        ("EOF", |_| String::new()),
        ("trailing", |text| text + "x"),
        ("unknown field", |text| {
            text.replacen('{', "{\"more\":1,", 1)
        }),
        ("duplicate field", |text| {
            text.replacen('{', "{\"uid\":1,", 1)
        }),
        ("has the version 2", |text| {
            text.replacen("\"version\":1", "\"version\":2", 1)
        }),
        ("something else", |text| text.replacen("0011", "1100", 1)),
    ];
    for (expected, change) in texts {
        let problem = strange(|file, text| fs::write(file, change(text)).unwrap());
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
    let most = usize::try_from(MOST_BYTES).unwrap();
    let problem = strange(|file, text| fs::write(file, text + &" ".repeat(most)).unwrap());
    assert!(problem.contains("bytes"), "{problem}");
}

#[test]
fn a_note_that_somebody_else_placed_is_not_trusted() {
    type Plant = fn(&Path, String);
    let planted: [(&str, Plant); 4] = [
        ("symbolic link", |file, text| {
            fs::write(file.parent().unwrap().with_file_name("target"), text).unwrap();
            symlink("../target", file).unwrap();
        }),
        ("no regular file", |file, text| {
            let other = file.parent().unwrap().with_file_name("other");
            fs::write(&other, text).unwrap();
            fs::hard_link(other, file).unwrap();
        }),
        ("no regular file", |file, _| {
            mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        }),
        ("others than its owner", |file, text| {
            fs::write(file, text).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o622)).unwrap();
        }),
    ];
    for (expected, plant) in planted {
        let problem = strange(plant);
        assert!(problem.contains(expected), "{expected}: {problem}");
    }
    let problem = {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let notes = Notes::open(&path).unwrap();
        fs::write(path.join("README"), "").unwrap();
        notes
            .read()
            .unwrap()
            .pop()
            .unwrap()
            .unwrap_err()
            .to_string()
    };
    assert!(problem.ends_with("README: is no note"), "{problem}");
}

#[test]
fn a_note_that_was_never_finished_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("state");
    let notes = Notes::open(&path).unwrap();
    fs::write(path.join(format!(".{NAME}.json")), "{\"ver").unwrap();
    assert!(notes.read().unwrap().is_empty());
    assert!(names(&path).is_empty());
}
