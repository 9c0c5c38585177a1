//! What a trail came to, for people and for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::Path,
};

use serde::Serialize;

use super::{
    Options,
    damage::{Damage, Damages, Kind},
    summary::Summary,
};
use crate::{
    audit::{chain::Head, key::PublicKey, trail::Unreadable},
    screen::escaped,
};

/// What a trail came to.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing is wrong with it.
    pub intact: bool,
    /// How many files it has, with those that cannot be read.
    pub files: usize,
    /// How many of them could not be read.
    pub unreadable: usize,
    /// How long they are.
    pub bytes: u64,
    /// How many records are in them.
    pub records: u64,
    /// The number of the first record.
    pub first: Option<u64>,
    /// The last record.
    pub head: Option<Head>,
    /// The earliest time of a record.
    pub from: Option<String>,
    /// The latest time of a record.
    pub to: Option<String>,
    /// The hosts that the headers name.
    pub hosts: BTreeSet<String>,
    /// How often a daemon was started, or continued what is not here.
    pub runs: u64,
    /// What vouches for the records.
    pub checkpoints: Checkpoints,
    /// What is wrong.
    pub damages: Vec<Damage>,
    /// How much more is wrong than the list has.
    pub more_damages: u64,
    /// What an auditor should know besides.
    pub notes: Vec<String>,
}

/// What vouches for the records.
#[derive(Debug, Serialize)]
pub struct Checkpoints {
    /// How many there are.
    pub count: u64,
    /// How many name which key.
    pub keys: BTreeMap<String, u64>,
    /// Whether the signatures were checked.
    pub checked: bool,
    /// The last one whose signature holds.
    pub last_signed: Option<u64>,
}

impl Report {
    pub(super) fn of(
        files: Vec<Summary>,
        root: Option<usize>,
        last: Option<usize>,
        found: Vec<Damage>,
        notes: Vec<String>,
        options: &Options,
    ) -> Self {
        let mut report = Self {
            intact: true,
            files: files.len(),
            unreadable: 0,
            bytes: files.iter().map(|file| file.bytes).sum(),
            records: files.iter().map(|file| file.records).sum(),
            first: root.and_then(|root| files.get(root)?.first),
            head: last.and_then(|last| files.get(last)?.end),
            from: None,
            to: None,
            hosts: files.iter().filter_map(|file| file.host.clone()).collect(),
            runs: 0,
            checkpoints: Checkpoints {
                count: files.iter().map(|file| file.checkpoints).sum(),
                keys: BTreeMap::new(),
                checked: !options.public_keys.is_empty(),
                last_signed: files.iter().filter_map(|file| file.signed).max(),
            },
            damages: Vec::new(),
            more_damages: 0,
            notes,
        };
        let all_empty = files.iter().all(|file| file.bytes == 0 && !file.unreadable);
        let any = files.first().map(|file| file.name.clone());
        report.gather(files, found);
        if let Some(file) = any.filter(|_| all_empty) {
            report.add(Damage {
                file: Some(file),
                lines: None,
                kind: Kind::Empty,
            });
        }
        report.vouch(options);
        report
    }

    fn gather(&mut self, files: Vec<Summary>, found: Vec<Damage>) {
        let mut damages = Damages::default();
        let mut instance = String::new();
        let mut rest = 0;
        for file in files {
            let (from, to) = file.times.unzip();
            self.from = self.from.take().into_iter().chain(from).min();
            self.to = self.to.take().into_iter().chain(to).max();
            let goes_on = file.runs > 0 && file.first_instance == instance;
            self.runs += file.runs - u64::from(goes_on);
            instance = file.last_instance;
            for (key, count) in file.keys {
                *self.checkpoints.keys.entry(key).or_default() += count;
            }
            damages.extend(file.damages);
            self.notes.extend(file.notes.list);
            rest += file.notes.rest;
        }
        for damage in found {
            damages.add(damage);
        }
        (self.damages, self.more_damages) = damages.into_parts();
        self.intact = self.damages.is_empty();
        if rest > 0 {
            self.notes.push(format!("{rest} more notes of this kind"));
        }
    }

    /// What the checkpoints are worth, and what is not vouched for.
    fn vouch(&mut self, options: &Options) {
        let Some(head) = self.head else {
            return;
        };
        if options.kept.is_empty() {
            self.notes.push(
                "that records were cut off the end cannot be seen without --head or --from-checkpoint, kept elsewhere"
                    .to_owned(),
            );
        }
        if !self.checkpoints.checked {
            if !self.checkpoints.keys.is_empty() {
                let note =
                    "the signatures of the checkpoints were not checked: that takes --public-key";
                self.notes.push(note.to_owned());
            }
            return;
        }
        let Some(signed) = self.checkpoints.last_signed else {
            let keys: Vec<&str> = options.public_keys.iter().map(PublicKey::id).collect();
            let keys = keys.join(" or ");
            return self.add(Damage {
                file: None,
                lines: None,
                kind: Kind::NothingSigned { keys },
            });
        };
        let unsigned = head.seq.saturating_sub(signed);
        if unsigned > 0 {
            self.notes.push(format!(
                "{unsigned} records after the last signed checkpoint, record {signed}, are not signed yet"
            ));
        }
    }

    pub(super) fn unreadable(&mut self, path: &Path, why: &Unreadable) {
        self.files += 1;
        self.unreadable += 1;
        self.add(Damage {
            file: Some(path.display().to_string()),
            lines: None,
            kind: Kind::Unreadable(why.to_string()),
        });
    }

    fn add(&mut self, damage: Damage) {
        self.intact = false;
        self.damages.push(damage);
    }

    /// Whether all that is wrong is that files could not be read.
    #[must_use]
    pub fn only_unreadable(&self) -> bool {
        let unreadable = |damage: &Damage| matches!(damage.kind, Kind::Unreadable(_));
        !self.intact && self.more_damages == 0 && self.damages.iter().all(unreadable)
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for damage in &self.damages {
            let _ = writeln!(text, "{}", escaped(&damage.to_string()));
        }
        if self.more_damages > 0 {
            let _ = writeln!(text, "and {} more damages", self.more_damages);
        }
        let verdict = if self.intact { "intact" } else { "NOT INTACT" };
        let _ = writeln!(text, "{verdict}");
        for (name, value) in self.facts() {
            let _ = writeln!(text, "  {name:<12} {}", escaped(&value));
        }
        for note in &self.notes {
            let _ = writeln!(text, "  note: {}", escaped(note));
        }
        text
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![("files", format!("{}, {} bytes", self.files, self.bytes))];
        if let (Some(first), Some(head)) = (self.first, self.head) {
            let records = format!("{}, from {first} to {}", self.records, head.seq);
            facts.push(("records", records));
        }
        if let (Some(from), Some(to)) = (&self.from, &self.to) {
            facts.push(("time", format!("{from} to {to}")));
        }
        let hosts: Vec<&str> = self.hosts.iter().map(String::as_str).collect();
        let runs = format!("{} of the daemon on {}", self.runs, hosts.join(", "));
        facts.push(("runs", runs));
        facts.push(("checkpoints", self.checkpoints.text()));
        if let Some(head) = self.head {
            facts.push(("head", head.to_string()));
        }
        facts
    }
}

impl Checkpoints {
    fn text(&self) -> String {
        let mut text = self.count.to_string();
        for (key, count) in &self.keys {
            let _ = write!(text, ", {count} signed with {key}");
        }
        if self.checked && self.last_signed.is_some() {
            text.push_str(", signatures checked");
        }
        text
    }
}
