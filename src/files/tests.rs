use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::Base;
use crate::{name::VariableName, secret::SecretValue};

fn variable(name: &str) -> VariableName {
    VariableName::parse(name).unwrap()
}

fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn files_hold_exactly_the_bytes_and_only_their_owner_reads_them() {
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    let values = [
        (variable("A"), SecretValue::new(b"line\r\n\0".to_vec())),
        (variable("B"), SecretValue::new(Vec::new())),
    ];
    let files = base
        .materialise(
            0o400,
            None,
            values.iter().map(|(name, value)| (name, value)),
        )
        .unwrap();
    assert_eq!(fs::read(files.path(&variable("A"))).unwrap(), b"line\r\n\0");
    assert_eq!(fs::read(files.path(&variable("B"))).unwrap(), b"");
    assert_eq!(mode(&files.path(&variable("A"))), 0o400);
    assert_eq!(mode(&files.directory()), 0o700);
    assert_eq!(entries(place.path()), 1);
    drop(files);
    assert_eq!(entries(place.path()), 0);
}

#[test]
fn kept_files_stay_until_they_are_removed_by_name() {
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    let value = SecretValue::new(b"x".to_vec());
    let name = variable("A");
    let kept = base
        .materialise(0o400, None, [(&name, &value)].into_iter())
        .unwrap()
        .keep();
    assert_eq!(entries(place.path()), 1);
    base.remove(&kept).unwrap();
    assert_eq!(entries(place.path()), 0);
    base.remove(&kept).unwrap();
}

#[test]
fn what_a_job_added_goes_too_and_links_are_not_followed() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("precious"), "x").unwrap();
    let lease = place.path().join("leases");
    fs::create_dir(&lease).unwrap();
    let files = Base::open(&lease)
        .unwrap()
        .materialise(0o400, None, std::iter::empty())
        .unwrap();
    let directory = files.directory();
    fs::create_dir_all(directory.join("deep/er")).unwrap();
    fs::write(directory.join("deep/er/file"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, directory.join("link")).unwrap();
    drop(files);
    assert_eq!(entries(&lease), 0);
    assert!(outside.join("precious").exists());
}

#[test]
fn a_second_file_of_a_name_is_refused_and_nothing_stays() {
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    let value = SecretValue::new(b"x".to_vec());
    let name = variable("A");
    let twice = [(&name, &value), (&name, &value)];
    assert!(base.materialise(0o400, None, twice.into_iter()).is_err());
    assert_eq!(entries(place.path()), 0);
}

#[test]
fn only_our_own_directories_can_be_removed() {
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    for foreign in ["..", ".", "", "x", "../x", "/etc", &"g".repeat(32)] {
        assert!(base.remove(foreign).is_err(), "{foreign}");
    }
}

#[test]
fn a_symbolic_link_is_no_base() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink("/tmp", &link).unwrap();
    assert!(Base::open(&link).is_err());
}

/// Needs root, to be another user than the one that the files are for.
#[test]
fn files_are_given_to_the_caller_and_taken_back_to_be_deleted() {
    use std::os::unix::fs::MetadataExt as _;

    const SOMEBODY: u32 = 12_345;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give files away");
        assert!(std::env::var_os("CI").is_none(), "CI runs this as root");
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    let value = SecretValue::new(b"x".to_vec());
    let name = variable("A");
    let files = base
        .materialise(0o400, Some(SOMEBODY), [(&name, &value)].into_iter())
        .unwrap();
    for path in [files.directory(), files.path(&name)] {
        assert_eq!(fs::metadata(path).unwrap().uid(), SOMEBODY);
    }
    // What a job may do with its own directory.
    fs::set_permissions(files.directory(), fs::Permissions::from_mode(0o000)).unwrap();
    drop(files);
    assert_eq!(entries(place.path()), 0);
}

/// Plants something of a kind at a path; `precious` is a file elsewhere.
fn plant(what: &str, at: &Path, precious: &Path) -> bool {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

    let node = |kind, device| mknodat(CWD, at, kind, Mode::RWXU, device).is_ok();
    match what {
        "file" => fs::write(at, "old").is_ok(),
        "link" => std::os::unix::fs::symlink(precious, at).is_ok(),
        "dangling link" => std::os::unix::fs::symlink(precious.with_extension("new"), at).is_ok(),
        "hard link" => fs::hard_link(precious, at).is_ok(),
        "directory" => fs::create_dir(at).is_ok(),
        "pipe" => node(FileType::Fifo, 0),
        // The one that reads as zeros; only root makes devices.
        _ => node(FileType::CharacterDevice, makedev(1, 5)),
    }
}

/// Only somebody who may write there can plant anything: with the daemon's own user, or root.
#[test]
fn what_was_planted_where_a_file_goes_is_not_written_to() {
    let outside = tempfile::tempdir().unwrap();
    let precious = outside.path().join("precious");
    let value = SecretValue::new(b"secret".to_vec());
    for what in [
        "file",
        "link",
        "dangling link",
        "hard link",
        "directory",
        "pipe",
        "device",
    ] {
        let place = tempfile::tempdir_in(outside.path()).unwrap();
        let base = Base::open(place.path()).unwrap();
        fs::write(&precious, "x").unwrap();
        let staged = base.stage().unwrap();
        let hidden = place.path().join(format!(".{}", staged.name()));
        if !plant(what, &hidden.join("A"), &precious) {
            assert_eq!(what, "device");
            continue;
        }
        let written = staged.write(&variable("A"), &value, 0o400, None);
        let error = written.unwrap_err().to_string();
        assert!(error.contains("File exists"), "{what}: {error}");
        drop(staged);
        assert_eq!(entries(place.path()), 0, "{what}");
        assert_eq!(fs::read(&precious).unwrap(), b"x");
        assert!(!precious.with_extension("new").exists());
    }
}

#[test]
fn a_directory_that_was_swapped_for_another_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let base = Base::open(place.path()).unwrap();
    for link in [false, true] {
        let files = base.materialise(0o400, None, std::iter::empty()).unwrap();
        let directory = files.directory();
        let moved = place.path().join(format!("moved-{link}"));
        fs::rename(&directory, &moved).unwrap();
        if link {
            std::os::unix::fs::symlink(&moved, &directory).unwrap();
        } else {
            fs::create_dir(&directory).unwrap();
        }
        fs::write(moved.join("precious"), "x").unwrap();
        drop(files);
        assert!(directory.symlink_metadata().is_ok());
        assert!(moved.join("precious").exists());
    }
}
