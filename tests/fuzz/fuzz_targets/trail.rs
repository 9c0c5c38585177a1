//! Lines of an audit trail, and whole files of it: anything at all is read without a panic, and what
//! is called a record has the hash that it says.
#![no_main]

use std::{io::Write as _, path::PathBuf};

use libfuzzer_sys::fuzz_target;
use runner_secrets::audit::{
    chain::{Digest, Line},
    trail::Lines,
    verify::{Options, verify},
};

fuzz_target!(|bytes: &[u8]| {
    let mut lines = Lines::of(bytes);
    let mut text = Vec::new();
    let mut records = 0;
    while lines.next(&mut text).unwrap().is_some() {
        if let Ok(line) = Line::parse(&text) {
            let (sealed, _) = line.text.rsplit_once(",\"hash\":\"").unwrap();
            assert_eq!(Digest::of(sealed.as_bytes()), line.hash);
            let _ = line.signature();
            records += 1;
        }
    }
    let mut file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
    file.write_all(bytes).unwrap();
    let paths: [PathBuf; 1] = [file.path().into()];
    let report = verify(&paths, &Options::default(), &mut |_, _| {});
    assert_eq!(report.records, records);
    assert!(!report.text().is_empty());
});
