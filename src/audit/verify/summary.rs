//! What a look through one file of a trail comes to: all that has to be known of it to say how the
//! files hang together, in little memory however long the file is.

use std::collections::BTreeMap;

use super::damage::Damages;
use crate::audit::{
    chain::{Head, Line},
    event::{Predecessor, Pruned},
};

/// What one file came to.
#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) name: String,
    pub(super) damages: Damages,
    pub(super) notes: Notes,
    pub(super) bytes: u64,
    pub(super) records: u64,
    pub(super) host: Option<String>,
    pub(super) predecessor: Option<Predecessor>,
    /// The number of the first record, and the lines before it that are none.
    pub(super) first: Option<u64>,
    pub(super) broken_before: u64,
    pub(super) begin: Option<Head>,
    pub(super) end: Option<Head>,
    /// The earliest and the latest time.
    pub(super) times: Option<(String, String)>,
    /// The daemon's runs, one after the other.
    pub(super) runs: u64,
    pub(super) first_instance: String,
    pub(super) last_instance: String,
    pub(super) checkpoints: u64,
    /// Checkpoints by the key that they name.
    pub(super) keys: BTreeMap<String, u64>,
    /// The number of the last checkpoint whose signature holds.
    pub(super) signed: Option<u64>,
    pub(super) pruned: Vec<Pruned>,
    /// Bytes after the last line end.
    pub(super) tail: u64,
    /// For each record that was kept elsewhere: its line, and whether it is the same.
    pub(super) kept: Vec<Option<(u64, bool)>>,
    pub(super) unreadable: bool,
}

/// Sentences that are no damages, as many as anybody reads.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) list: Vec<String>,
    pub(super) rest: u64,
}

// A disk that fills up every night for a year.
pub(super) const MOST_NOTES: usize = 400;
// One a year, for a century; what more there are is in the count of checkpoints.
pub(super) const MOST_KEYS: usize = 100;

impl Notes {
    pub(super) fn add(&mut self, note: String) {
        if self.list.len() < MOST_NOTES {
            self.list.push(note);
        } else {
            self.rest += 1;
        }
    }
}

impl Summary {
    /// Counts a record in, which comes after `broken` lines that are none.
    pub(super) fn count(&mut self, line: &Line<'_>, broken: u64) {
        self.records += 1;
        if self.first.is_none() {
            self.first = Some(line.seq);
            self.broken_before = broken;
            line.instance.clone_into(&mut self.first_instance);
        }
        match &mut self.times {
            None => self.times = Some((line.time.to_owned(), line.time.to_owned())),
            Some((from, _)) if line.time < from.as_str() => line.time.clone_into(from),
            Some((_, to)) if line.time > to.as_str() => line.time.clone_into(to),
            Some(_) => {}
        }
        if self.last_instance != line.instance {
            self.runs += 1;
            line.instance.clone_into(&mut self.last_instance);
        }
    }
}
