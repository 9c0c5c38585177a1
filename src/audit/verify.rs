//! Whether a trail is whole. Every line's hash is made again, every record has to follow the one
//! before, over the ends of files as well, and what was kept elsewhere (a head, a checkpoint, the
//! public key) has to fit. Every damage is found, not only the first. Nothing is believed of the
//! files, and nothing is changed in them.
//!
//! What a chain cannot show by itself, a report says: that its end was cut off.

use std::{
    num::NonZero,
    path::PathBuf,
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    chain::Head,
    key::PublicKey,
    trail::{self, Source},
};
use scan::scan;
use summary::Summary;

mod damage;
mod link;
mod order;
mod report;
mod scan;
mod summary;
#[cfg(test)]
mod tests;

pub use damage::{Damage, Kind, Span};
pub use report::{Checkpoints, Report};

/// What a trail is held against.
#[derive(Debug, Default)]
pub struct Options {
    /// Every checkpoint has to be signed with one of these keys. Empty: none has to be.
    pub public_keys: Vec<PublicKey>,
    /// Records of which somebody kept the number and the hash.
    pub kept: Vec<Kept>,
}

/// A record of which somebody kept the number and the hash.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// They.
    pub head: Head,
    /// How the user calls it.
    pub what: &'static str,
}

/// Verifies the trail in these files and directories. `progress` hears from time to time how many
/// bytes of how many are done.
pub fn verify(paths: &[PathBuf], options: &Options, progress: &mut dyn FnMut(u64, u64)) -> Report {
    let found = trail::find(paths);
    let files = scan_all(&found.sources, options, progress);
    let mut report = link::link(files, options);
    for (path, why) in found.unreadable {
        report.unreadable(&path, &why);
    }
    report
}

// Often enough to look alive; a report of ten lines a second costs nothing.
const PROGRESS: Duration = Duration::from_millis(100);

/// Looks through the files, as many at a time as there are processors: hashing takes the time.
fn scan_all(
    sources: &[Source],
    options: &Options,
    progress: &mut dyn FnMut(u64, u64),
) -> Vec<Summary> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let total = sources.iter().map(|source| source.size).sum();
    let (read, next) = (AtomicU64::new(0), AtomicUsize::new(0));
    let mut files: Vec<(usize, Summary)> = Vec::new();
    thread::scope(|scope| {
        let (done, summaries) = mpsc::channel();
        for _ in 0..workers.min(sources.len()) {
            let (done, read, next) = (done.clone(), &read, &next);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(source) = sources.get(index) else {
                        break;
                    };
                    let summary = scan(source, options, read);
                    if done.send((index, summary)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(done);
        loop {
            match summaries.recv_timeout(PROGRESS) {
                Ok(summary) => files.push(summary),
                Err(RecvTimeoutError::Timeout) => progress(read.load(Ordering::Relaxed), total),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    });
    files.sort_by_key(|(index, _)| *index);
    files.into_iter().map(|(_, summary)| summary).collect()
}
