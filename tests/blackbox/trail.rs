//! The audit trail as an auditor without our program would check it, and places where it cannot be
//! written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;

use crate::daemon::names;

/// All records of the files in a directory, which have to be one chain from its first record on.
pub(crate) fn trail(directory: &Path) -> Vec<Value> {
    let files = names(directory).into_iter();
    let files = files.filter(|name| name.contains(".jsonl"));
    let mut files: Vec<Vec<String>> = files
        .map(|name| lines(&directory.join(name)))
        .filter(|lines| !lines.is_empty())
        .collect();
    files.sort_by_key(|lines| seq(&lines[0]));
    assert_chain(&files.concat())
}

/// The records among the lines; whatever broke off is followed by a record that says so.
pub(crate) fn assert_chain(lines: &[String]) -> Vec<Value> {
    let mut records: Vec<Value> = Vec::new();
    let mut prev = "0".repeat(64);
    let mut broken = Vec::new();
    for line in lines {
        let Some(hash) = hash(line) else {
            broken.push(line.clone());
            continue;
        };
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["seq"], records.len() + 1, "{line}");
        assert_eq!(record["prev"], prev, "{line}");
        if record["event"] == "torn" {
            let torn = broken.join("\n");
            broken.clear();
            assert_eq!(record["sha256"], sha256(torn.as_bytes()));
        }
        assert!(
            broken.is_empty(),
            "no record, and none that says so: {broken:?}"
        );
        prev = hash;
        records.push(record);
    }
    assert!(broken.is_empty(), "{broken:?}");
    records
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.split('\n').map(str::to_owned);
    let mut lines: Vec<String> = lines.collect();
    // After the last line end there is nothing.
    assert_eq!(lines.pop().as_deref(), Some(""), "{}", path.display());
    lines
}

/// What the line says its hash is, if it is.
fn hash(line: &str) -> Option<String> {
    let (sealed, rest) = line.rsplit_once(r#","hash":""#)?;
    let hash = rest.strip_suffix("\"}")?;
    (sha256(sealed.as_bytes()) == hash).then(|| hash.to_owned())
}

fn seq(line: &str) -> u64 {
    let record: Value = serde_json::from_str(line).unwrap();
    assert_eq!(record["event"], "header");
    record["seq"].as_u64().unwrap()
}

fn sha256(bytes: &[u8]) -> String {
    let digest = digest(&SHA256, bytes);
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

/// How many records have this event, for this request if one is named.
pub(crate) fn count(records: &[Value], event: &str) -> usize {
    let is = |record: &&Value| record["event"] == event;
    records.iter().filter(is).count()
}

/// Whether this machine lets the test mount something. Where everything has to be tested, it must.
pub(crate) fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root();
    assert!(
        can || std::env::var_os("CI").is_none(),
        "this has to run as root, to mount a file system"
    );
    if !can {
        println!("skipped: only root can mount a file system");
    }
    can
}

/// Runs a tool, which must succeed.
pub(crate) fn tool(program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

/// A file system of its own. Dropping it unmounts it.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mount {
    /// In memory, with so much room.
    pub(crate) fn tmpfs(size: &str) -> Self {
        let (directory, at) = place();
        let options = format!("size={size},mode=0700");
        let path = at.display().to_string();
        tool(
            "mount",
            &["-t", "tmpfs", "-o", &options, "runner-secrets-test", &path],
        );
        Self {
            at,
            _directory: directory,
        }
    }

    /// On a disk that is a file.
    pub(crate) fn ext4() -> Self {
        let (directory, at) = place();
        let disk = directory.path().join("disk");
        fs::File::create_new(&disk)
            .unwrap()
            .set_len(16 << 20)
            .unwrap();
        let disk = disk.display().to_string();
        tool("mkfs.ext4", &["-q", "-E", "root_owner", &disk]);
        let path = at.display().to_string();
        tool("mount", &["-o", "loop", &disk, &path]);
        Self {
            at,
            _directory: directory,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::Builder::new().prefix("rs-").tempdir().unwrap();
    let at = directory.path().join("mounted");
    fs::create_dir(&at).unwrap();
    (directory, at)
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever still has a file open there does not keep it from going.
        let mut command = Command::new("umount");
        let unmounted = command.arg("--lazy").arg(&self.at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            println!("{} is still mounted", self.at.display());
        }
    }
}
