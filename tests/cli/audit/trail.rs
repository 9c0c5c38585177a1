//! Writes trails, line by line, as docs/audit.md describes them.

use std::{fmt::Write as _, fs, path::PathBuf};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use crate::operator::{Ran, is_harmless, run};

pub(super) fn sha256(bytes: &[u8]) -> String {
    let hash = digest(&SHA256, bytes);
    hash.as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

/// A daemon that goes on with a chain.
pub(super) struct Chain {
    pub(super) seq: u64,
    pub(super) prev: String,
    pub(super) instance: String,
    pub(super) host: String,
    pub(super) key: Option<Key>,
    /// Of the next record, after 2026-11-21T00:00:00Z.
    pub(super) second: u64,
}

impl Chain {
    pub(super) fn new() -> Self {
        Self {
            seq: 0,
            prev: "0".repeat(64),
            instance: "00000000000000aa".to_owned(),
            host: "build-1".to_owned(),
            key: None,
            second: 0,
        }
    }

    /// `SEQ:HASH` of the last record.
    pub(super) fn head(&self) -> String {
        format!("{}:{}", self.seq, self.prev)
    }

    /// The next line; `fields` begin with a comma, or are none.
    pub(super) fn record(&mut self, event: &str, fields: &str) -> String {
        let open = self.open(event, fields);
        self.seal(&open)
    }

    fn open(&mut self, event: &str, fields: &str) -> String {
        let (seq, prev, instance) = (self.seq + 1, &self.prev, &self.instance);
        let (hours, minutes, seconds) =
            (self.second / 3600, self.second / 60 % 60, self.second % 60);
        self.second += 1;
        format!(
            r#"{{"seq":{seq},"prev":"{prev}","time":"2026-11-21T{hours:02}:{minutes:02}:{seconds:02}.000000Z","instance":"{instance}","event":"{event}"{fields}"#
        )
    }

    fn seal(&mut self, open: &str) -> String {
        self.seq += 1;
        self.prev = sha256(open.as_bytes());
        format!(r#"{open},"hash":"{}"}}"#, self.prev)
    }

    /// The first line of a file.
    pub(super) fn header(&mut self, before: &str) -> String {
        let predecessor = if self.seq == 0 {
            String::new()
        } else {
            let (seq, hash) = (self.seq, &self.prev);
            format!(r#","predecessor":{{"file":"{before}","seq":{seq},"hash":"{hash}"}}"#)
        };
        let fields = format!(r#","version":1,"host":"{}"{predecessor}"#, self.host);
        self.record("header", &fields)
    }

    pub(super) fn checkpoint(&mut self) -> String {
        let Some(key) = self.key.take() else {
            return self.record("checkpoint", "");
        };
        let open = self.open("checkpoint", &format!(r#","key":"{}""#, key.id()));
        let signature = key.sign(&open);
        self.key = Some(key);
        self.seal(&format!(r#"{open},"signature":"{signature}""#))
    }

    /// A file of `records` records: a header, refusals, a checkpoint.
    pub(super) fn file(&mut self, name: &str, records: u64, before: &str) -> File {
        let mut lines = vec![self.header(before)];
        for count in 2..records {
            lines.push(self.record(
                "refused",
                &format!(r#","since":"x","count":{count},"by":[]"#),
            ));
        }
        lines.push(self.checkpoint());
        File {
            name: name.to_owned(),
            lines,
        }
    }
}

/// A key for checkpoints.
pub(super) struct Key(Ed25519KeyPair);

impl Key {
    pub(super) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn id(&self) -> String {
        sha256(self.0.public_key().as_ref())[..16].to_owned()
    }

    fn sign(&self, open: &str) -> String {
        let message = format!("runner-secrets audit checkpoint 1\n{open}");
        BASE64_STANDARD.encode(self.0.sign(message.as_bytes()))
    }

    pub(super) fn public_pem(&self) -> String {
        let der = self.0.public_key().as_der().unwrap();
        let der = BASE64_STANDARD.encode(der.as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }
}

/// A file of lines.
#[derive(Clone)]
pub(super) struct File {
    pub(super) name: String,
    pub(super) lines: Vec<String>,
}

/// Three files of one chain: records 1 to 6, 7 to 12 and 13 to 18.
pub(super) fn three() -> (Chain, Vec<File>) {
    let mut chain = Chain::new();
    let files = three_of(&mut chain);
    (chain, files)
}

pub(super) fn three_of(chain: &mut Chain) -> Vec<File> {
    let mut before = String::new();
    let names = [
        "audit-000000000001.jsonl",
        "audit-000000000007.jsonl",
        "audit.jsonl",
    ];
    let file = |name: &str| {
        let file = chain.file(name, 6, &before);
        name.clone_into(&mut before);
        file
    };
    names.map(file).to_vec()
}

/// An auditor with files.
pub(super) struct Auditor(TempDir);

impl Auditor {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn with(files: &[File]) -> Self {
        let auditor = Self::new();
        for File { name, lines } in files {
            let text = lines.join("\n") + "\n";
            auditor.file(name, text);
        }
        auditor
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a command on the whole directory. The directory's name is taken out of what it says.
    pub(super) fn run(&self, command: &[&str]) -> Ran {
        let directory = self.0.path().to_str().unwrap();
        let arguments: Vec<&str> = ["audit"].iter().chain(command).copied().collect();
        let mut ran = run(
            &self.path("no-config.toml"),
            &[&arguments[..], &[directory]].concat(),
        );
        assert!(is_harmless(&ran.stdout), "{}", ran.stdout);
        assert!(is_harmless(&ran.stderr), "{}", ran.stderr);
        let directory = format!("{directory}/");
        ran.stdout = ran.stdout.replace(&directory, "");
        ran.stderr = ran.stderr.replace(&directory, "");
        ran
    }

    /// Verifies, and gives the lines up to the verdict.
    pub(super) fn damages(&self, options: &[&str]) -> Vec<String> {
        let ran = self.run(&[&["verify"], options].concat());
        assert_eq!((ran.status, ran.stderr.as_str()), (1, ""), "{}", ran.stdout);
        let (damages, _) = ran.stdout.split_once("NOT INTACT\n").unwrap();
        damages.lines().map(str::to_owned).collect()
    }

    /// Verifies what is whole, and gives the lines after the verdict.
    pub(super) fn facts(&self, options: &[&str]) -> Vec<String> {
        let ran = self.run(&[&["verify"], options].concat());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
        let facts = ran.stdout.strip_prefix("intact\n").unwrap();
        facts
            .lines()
            .map(|line| line.trim_start().to_owned())
            .collect()
    }
}

/// Verifies the three files with something done to them.
pub(super) fn damages(change: impl FnOnce(&mut Vec<File>)) -> Vec<String> {
    let (_, mut files) = three();
    change(&mut files);
    Auditor::with(&files).damages(&[])
}
