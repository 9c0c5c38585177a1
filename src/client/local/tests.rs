use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Error, Local, Places};
use crate::{name::VariableName, secret::SecretValue};

/// A machine whose memory is a disk: the temporary directories of tests often are one.
fn disk_only(project: &Path, job: &str) -> Places {
    Places::new(Vec::new(), Some(project.to_owned()), job)
}

fn write(places: &Places, disk_allowed: bool) -> Result<Local, Error> {
    let name = variable();
    let value = SecretValue::new(b"secret\n".to_vec());
    places.write(&[(&name, &value)], disk_allowed)
}

fn variable() -> VariableName {
    VariableName::parse("A").unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_disk_is_used_only_where_it_is_allowed() {
    let project = tempfile::tempdir().unwrap();
    let places = disk_only(project.path(), "812");
    let error = write(&places, false).unwrap_err();
    assert!(
        error.to_string().contains("does not allow a disk"),
        "{error}"
    );
    assert!(error.to_string().contains("inline_disk = true"), "{error}");
    assert_eq!(error.exit(), 70);
    assert!(entries(project.path()).is_empty());

    let local = write(&places, true).unwrap();
    let path = local.path(&variable());
    assert_eq!(fs::read(&path).unwrap(), b"secret\n");
    assert_eq!(mode(&path), 0o400);
    assert_eq!(mode(&project.path().join("runner-secrets-812")), 0o700);
    assert!(local.lasting);
    local.remove().unwrap();
    assert!(entries(project.path()).is_empty());
}

#[test]
fn leftovers_of_earlier_jobs_go_and_those_of_this_job_stay() {
    let project = tempfile::tempdir().unwrap();
    write(&disk_only(project.path(), "811"), true)
        .unwrap()
        .keep();
    fs::create_dir(project.path().join("runner-secrets-notes")).unwrap();
    fs::write(project.path().join("DEPLOY_KEY"), "the runner's own").unwrap();

    let this_job = disk_only(project.path(), "812");
    let first = write(&this_job, true).unwrap();
    let path = first.path(&variable());
    first.keep();
    write(&this_job, true).unwrap().keep();

    assert!(!project.path().join("runner-secrets-811").exists());
    assert!(project.path().join("runner-secrets-notes").exists());
    assert!(project.path().join("DEPLOY_KEY").exists());
    assert!(path.exists());
    assert_eq!(entries(&project.path().join("runner-secrets-812")).len(), 2);
}

#[test]
fn a_lease_names_nothing_but_a_directory_of_ours() {
    let project = tempfile::tempdir().unwrap();
    let places = disk_only(project.path(), "812");
    let local = write(&places, true).unwrap();
    let directory = local.directory();
    local.keep();
    let id = directory.file_name().unwrap().to_str().unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = elsewhere.path().join("runner-secrets-812").join(id);
    fs::create_dir_all(&foreign).unwrap();
    let not_ours = project.path().join("cache").join(id);
    fs::create_dir_all(&not_ours).unwrap();
    for refused in [
        foreign.clone(),
        not_ours.clone(),
        project.path().join("runner-secrets-812"),
        project.path().join("runner-secrets-812/.."),
        project.path().join("runner-secrets-812/x"),
        directory.join("A"),
        PathBuf::from("/"),
        PathBuf::from("relative"),
        PathBuf::new(),
    ] {
        assert!(places.remove(&refused).is_err(), "{}", refused.display());
    }
    assert!(foreign.exists() && not_ours.exists() && directory.exists());

    places.remove(&directory).unwrap();
    assert!(!directory.exists());
    places.remove(&directory).unwrap();
}

#[test]
fn a_directory_that_others_can_open_is_not_used() {
    let project = tempfile::tempdir().unwrap();
    let home = project.path().join("runner-secrets-812");
    fs::create_dir(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    let error = write(&disk_only(project.path(), "812"), true).unwrap_err();
    assert!(error.to_string().contains("belongs to others"), "{error}");
    assert!(entries(&home).is_empty());
}

#[test]
fn dropping_deletes_what_was_written() {
    let project = tempfile::tempdir().unwrap();
    let local = write(&disk_only(project.path(), "812"), true).unwrap();
    let directory = local.directory();
    drop(local);
    assert!(!directory.exists());
}

#[test]
fn memory_is_preferred_and_a_disk_is_not_taken_for_it() {
    let project = tempfile::tempdir().unwrap();
    let mut places = disk_only(project.path(), "812");
    places.memory = vec![PathBuf::from("/nowhere"), PathBuf::from("/proc")];
    let error = write(&places, false).unwrap_err();
    assert!(
        error.to_string().contains("is not memory-backed"),
        "{error}"
    );

    places.memory.push(PathBuf::from("/dev/shm"));
    let local = write(&places, true).unwrap();
    assert!(local.directory().starts_with("/dev/shm"));
    assert!(!local.lasting);
    local.remove().unwrap();
}
