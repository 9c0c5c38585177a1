//! `audit verify`: whether a trail is whole.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{DAMAGED, UNREADABLE, progress::Progress};
use crate::{
    audit::{
        chain::{Head, Line},
        key::PublicKey,
        verify::{self, Kept, Options, Report},
    },
    command::{Error, Streams},
    screen,
};

/// What `audit verify` was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Verify {
    /// The files and directories; without any, those of the daemon.
    pub files: Vec<PathBuf>,
    /// With which keys the checkpoints have to be signed.
    pub public_keys: Vec<PathBuf>,
    /// A record that somebody wrote down.
    pub head: Option<Head>,
    /// A file with a checkpoint that somebody kept.
    pub checkpoint: Option<PathBuf>,
    /// Whether a program reads the answer.
    pub json: bool,
}

impl Verify {
    pub(super) fn run(&self, files: &[PathBuf], streams: &mut Streams<'_>) -> Result<u8, Error> {
        let options = self.options()?;
        let report = report(files, &options, streams);
        let text = if self.json {
            screen::json(&report).map_err(|error| Error::Output(error.into()))?
        } else {
            report.text()
        };
        streams.print(&text)?;
        Ok(status(&report))
    }

    fn options(&self) -> Result<Options, Error> {
        let public_keys = keys(&self.public_keys)?;
        let head = self.head.map(|head| Kept {
            head,
            what: "--head",
        });
        let checkpoint = self.checkpoint.as_deref();
        let checkpoint = checkpoint
            .map(|path| kept(path, &public_keys))
            .transpose()?;
        Ok(Options {
            kept: head.into_iter().chain(checkpoint).collect(),
            public_keys,
        })
    }
}

/// The public keys in these files.
pub(super) fn keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, Error> {
    let keys = paths.iter().map(|path| PublicKey::load(path));
    Ok(keys.collect::<Result<Vec<_>, _>>()?)
}

/// Verifies, while somebody may be waiting.
fn report(files: &[PathBuf], options: &Options, streams: &mut Streams<'_>) -> Report {
    let mut progress = Progress::new(streams.stderr, streams.watched);
    verify::verify(files, options, &mut |done, total| progress.at(done, total))
}

pub(super) fn status(report: &Report) -> u8 {
    match report {
        report if report.intact => 0,
        report if report.only_unreadable() => UNREADABLE,
        _ => DAMAGED,
    }
}

/// The checkpoint in a file of one line.
fn kept(path: &Path, keys: &[PublicKey]) -> Result<Kept, Error> {
    let wrong = |problem: &str| Error::Kept {
        path: path.into(),
        problem: problem.to_owned(),
    };
    let text = fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let line = Line::parse(text.trim_ascii_end()).ok();
    let line = line.filter(|line| line.event == "checkpoint");
    let line = line.ok_or_else(|| wrong("is not one line with an unaltered checkpoint"))?;
    if !keys.is_empty() && !keys.iter().any(|key| key.has_signed(&line)) {
        return Err(wrong(
            "the checkpoint is not signed with the key of --public-key",
        ));
    }
    Ok(Kept {
        head: line.head(),
        what: "--from-checkpoint",
    })
}
