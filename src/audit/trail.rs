//! A trail as an auditor has it: files in any order, from anywhere, of which nothing is believed.
//! This module finds and orders them, and reads them line by line with no more memory than the
//! longest line. What the lines mean is not its business, but for one thing: bytes that a `torn`
//! record says broke off are told from bytes that somebody else put there.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::OFlags;

use super::chain::Line;

mod fragment;
mod lines;
#[cfg(test)]
mod tests;

pub use fragment::Fragment;
pub use lines::{End, Lines};

/// A file of a trail.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// How long it was when it was found.
    pub size: u64,
    /// The number of its first record; `None` where it has none.
    first: Option<u64>,
    device: u64,
    inode: u64,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A pipe or a device would never end, or never begin.
    #[error("is not a regular file")]
    Irregular,
    /// The daemon renames its file when it is full.
    #[error("is another file than a moment ago; run this again")]
    Replaced,
    /// A directory stands for its files of records.
    #[error("the directory has no *.jsonl file")]
    Nothing,
    /// The system says why.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// The files in the order of their first records, and those that cannot be read.
#[derive(Debug, Default)]
pub struct Found {
    /// Each file once.
    pub sources: Vec<Source>,
    /// With the reason.
    pub unreadable: Vec<(PathBuf, Unreadable)>,
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Period {
    /// Its beginning, which belongs to it.
    pub since: Option<SystemTime>,
    /// Its end, which does not.
    pub until: Option<SystemTime>,
}

impl Period {
    /// Whether a record's time is in it. Times of one form compare as texts.
    #[must_use]
    pub fn has(&self, time: &str) -> bool {
        self.reaches(time, time)
    }

    /// Whether any time between these two is in it.
    #[must_use]
    pub fn reaches(&self, first: &str, last: &str) -> bool {
        let text = |time| humantime::format_rfc3339_micros(time).to_string();
        self.since.is_none_or(|since| text(since).as_str() <= last)
            && self.until.is_none_or(|until| first < text(until).as_str())
    }
}

/// Looks for the files that `paths` name. A directory stands for its `*.jsonl`.
#[must_use]
pub fn find(paths: &[PathBuf]) -> Found {
    let mut found = Found::default();
    for path in paths {
        match members(path) {
            Ok(files) if files.is_empty() => {
                found.unreadable.push((path.clone(), Unreadable::Nothing));
            }
            Ok(files) => files.into_iter().for_each(|file| found.add(file)),
            Err(error) => found.unreadable.push((path.clone(), error.into())),
        }
    }
    let order = |source: &Source| (source.first.unwrap_or(u64::MAX), source.path.clone());
    found.sources.sort_by_cached_key(order);
    found
}

/// The file itself, or the files of records in a directory.
fn members(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !fs::metadata(path)?.is_dir() {
        return Ok(vec![path.into()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if file.file_name().is_some_and(is_of_a_trail) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// `*.jsonl`, and what logrotate makes of it: `audit.jsonl.1`, `audit.jsonl-20261121`.
fn is_of_a_trail(name: &OsStr) -> bool {
    let packed = [".gz", ".bz2", ".xz", ".zst"];
    let name = name.to_string_lossy();
    let (_, end) = name.rsplit_once(".jsonl").unwrap_or(("", "no"));
    (end.is_empty() || end.starts_with(['.', '-'])) && !packed.iter().any(|ext| end.ends_with(ext))
}

impl Found {
    fn add(&mut self, path: PathBuf) {
        match Source::at(&path) {
            // A file that two arguments name is one file.
            Ok(source) if self.sources.iter().any(|other| other.is(&source)) => {}
            Ok(source) => self.sources.push(source),
            Err(error) => self.unreadable.push((path, error)),
        }
    }
}

impl Source {
    fn at(path: &Path) -> Result<Self, Unreadable> {
        let file = open(path)?;
        let metadata = file.metadata()?;
        Ok(Self {
            path: path.into(),
            size: metadata.len(),
            device: metadata.dev(),
            inode: metadata.ino(),
            first: first(Lines::of(file))?,
        })
    }

    fn is(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    /// Its lines from the first.
    pub fn lines(&self) -> Result<Lines<File>, Unreadable> {
        self.open().map(Lines::of)
    }

    /// The file that was found, and no other that has its name now.
    pub(super) fn open(&self) -> Result<File, Unreadable> {
        let file = open(&self.path)?;
        let metadata = file.metadata()?;
        if (metadata.dev(), metadata.ino()) == (self.device, self.inode) {
            Ok(file)
        } else {
            Err(Unreadable::Replaced)
        }
    }

    /// Its name, for people.
    #[must_use]
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

/// Opens a regular file. A pipe that nobody writes to must not hold the program up.
pub(super) fn open(path: &Path) -> Result<File, Unreadable> {
    let mut options = OpenOptions::new();
    options.read(true);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(Unreadable::Irregular)
    }
}

/// The number of the first record, be it the first line or not.
fn first(mut lines: Lines<File>) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    while lines.next(&mut text)?.is_some() {
        if let Ok(line) = Line::parse(&text) {
            return Ok(Some(line.seq));
        }
    }
    Ok(None)
}
