//! Inline delivery, and `get`: the client writes the files, and takes them away again.

use std::{fs, path::Path};

use crate::{
    job::{Job, spec, stderr, stdout},
    provider::Provider,
};

/// The value of one of the lines that `env` printed.
fn exported(printed: &str, name: &str) -> String {
    let start = format!("export {name}='");
    let line = printed.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("{name} in {printed}"))
        .trim_end_matches('\'')
        .to_owned()
}

#[test]
fn files_are_written_to_memory_and_released() {
    let provider = Provider::inline(&[("A", b"a\n")], false);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let later = job.path("later");
    let job = job.with("GITLAB_ENV", later.to_str().unwrap());
    let output = job.client(&["env"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let path = exported(&stdout(&output), "A");
    assert_eq!(fs::read(&path).unwrap(), b"a\n");
    let lease = exported(&stdout(&output), "RUNNER_SECRETS_LEASE");
    assert_eq!(lease, format!("file:{}", path.strip_suffix("/A").unwrap()));
    // The memory of a container ends with its script: after_script must not look for them there.
    assert!(!later.exists());

    let released = job.client(&["release", &lease]);
    assert!(released.status.success(), "{}", stderr(&released));
    assert!(!Path::new(&path).exists());
    assert_eq!(stdout(&released) + &stderr(&released), "");
    // The daemon keeps nothing, so it is not asked.
    assert!(provider.calls().released.is_empty());
}

#[test]
fn values_need_no_files_and_no_lease() {
    let provider = Provider::inline(&[("A", b"a")], false);
    let job = Job::new(&provider.socket(), &spec(&["A"], false));
    assert_eq!(stdout(&job.client(&["env"])), "export A='a'\n");
}

#[test]
fn exec_leaves_no_file_behind() {
    let provider = Provider::inline(&[("A", b"a")], false);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["exec", "--", "sh", "-c", "cat \"$A\"; printf ' %s' \"$A\""]);
    let printed = stdout(&output);
    let (value, path) = printed.split_once(' ').unwrap();
    assert_eq!(value, "a");
    assert!(!Path::new(path).exists());
    assert!(!Path::new(path).parent().unwrap().exists());
}

#[test]
fn a_nul_is_for_files_only() {
    let provider = Provider::inline(&[("A", b"a\0b")], false);
    let job = Job::new(&provider.socket(), &spec(&["A"], false));
    for arguments in [&["env"][..], &["exec", "--", "true"]] {
        let output = job.client(arguments);
        assert_eq!(output.status.code(), Some(64));
        assert_eq!(
            stderr(&output).lines().rev().nth(3).unwrap(),
            "runner-secrets: A holds a NUL byte, which no environment variable can \
             (REQUEST_INVALID)"
        );
    }
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["env"]);
    let path = exported(&stdout(&output), "A");
    assert_eq!(fs::read(path).unwrap(), b"a\0b");
    let lease = exported(&stdout(&output), "RUNNER_SECRETS_LEASE");
    assert!(job.client(&["release", &lease]).status.success());
}

#[test]
fn get_writes_the_bytes_of_one_secret() {
    let value = b"\x00\xff two\nlines\n";
    for provider in [
        Provider::with_files(&[("A", value)]),
        Provider::inline(&[("A", value)], false),
    ] {
        let job = Job::new(&provider.socket(), &spec(&["A", "B"], true));
        let output = job.client(&["get", "A"]);
        assert_eq!(output.stdout, value);
        assert_eq!(
            stderr(&output),
            "runner-secrets: 1 secret for job 812 (request 7f3a-test); the runner does not mask \
             it in this mode\n"
        );
        let calls = provider.calls();
        assert_eq!(calls.resolved[0].secrets.len(), 1);
        // Nothing is written anywhere for it.
        assert_eq!(calls.resolved[0].secrets["A"].file, Some(false));
    }
}

#[test]
fn a_lease_of_the_job_cannot_be_made_to_delete_other_things() {
    let provider = Provider::inline(&[], false);
    let job = Job::new(&provider.socket(), "");
    let precious = job.path("0123456789abcdef0123456789abcdef");
    fs::create_dir(&precious).unwrap();
    let output = job.client(&["release", &format!("file:{}", precious.display())]);
    assert_eq!(output.status.code(), Some(70));
    assert!(precious.exists());
}
