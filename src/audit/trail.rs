//! A trail as an auditor has it: files in any order, from anywhere, of which nothing is believed.
//! This module finds and orders them, and reads them line by line with no more memory than the
//! longest line. What the lines mean is not its business, but for one thing: bytes that a `torn`
//! record says broke off are told from bytes that somebody else put there.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, BufRead as _, BufReader, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use aws_lc_rs::digest;
use rustix::fs::OFlags;

use super::{
    chain::{LONGEST, Line},
    event::Torn,
};

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
        open(&self.path).map(Lines::of)
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

/// How a line ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a line end.
    Line,
    /// With the file: it broke off, or is being written.
    File,
    /// It is longer than any record; the rest was passed over.
    Never,
}

/// The lines of a file.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    number: u64,
}

// Large enough that reading costs nothing beside hashing, small enough for the processor's cache.
const CHUNK: usize = 256 * 1024;

impl<R: io::Read> Lines<R> {
    /// Of what `reader` gives.
    pub fn of(reader: R) -> Self {
        Self {
            reader: BufReader::with_capacity(CHUNK, reader),
            number: 0,
        }
    }

    /// Puts the next line into `line`, without its line end; `None` at the end of the file.
    pub fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<End>> {
        line.clear();
        let most = LONGEST as u64 + 1;
        if self.reader.by_ref().take(most).read_until(b'\n', line)? == 0 {
            return Ok(None);
        }
        self.number += 1;
        if line.last() == Some(&b'\n') {
            line.pop();
            return Ok(Some(End::Line));
        }
        if line.len() <= LONGEST {
            return Ok(Some(End::File));
        }
        self.reader.skip_until(b'\n')?;
        Ok(Some(End::Never))
    }

    /// The number of the line that was read last; the first is 1.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }
}

/// Lines in a row that are no records, as the fragment of a record that they may be.
#[derive(Clone)]
pub struct Fragment {
    bytes: u64,
    lines: u64,
    hash: digest::Context,
}

impl Default for Fragment {
    fn default() -> Self {
        Self {
            bytes: 0,
            lines: 0,
            hash: digest::Context::new(&digest::SHA256),
        }
    }
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fragment")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Fragment {
    /// One line more.
    pub fn add(&mut self, line: &[u8]) {
        if self.lines > 0 {
            self.hash.update(b"\n");
            self.bytes += 1;
        }
        self.hash.update(line);
        self.bytes += line.len() as u64;
        self.lines += 1;
    }

    /// How many lines.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Whether there is nothing to be said of it: it has no line, or the next record says that it
    /// broke off.
    #[must_use]
    pub fn is_closed_by(&self, next: &Line<'_>) -> bool {
        let is = |torn: Torn| self.lines == 1 && self.is(&torn);
        self.lines == 0 || next.event == "torn" && serde_json::from_str(next.text).is_ok_and(is)
    }

    /// The first and the last line of it, if the one after it has this number.
    #[must_use]
    pub fn before(&self, next: u64) -> (u64, u64) {
        (next.saturating_sub(self.lines), next.saturating_sub(1))
    }

    /// Whether it is what the record says broke off.
    #[must_use]
    pub fn is(&self, torn: &Torn) -> bool {
        let hash = self.hash.clone().finish();
        self.bytes == torn.bytes && *hash.as_ref() == *torn.sha256.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::{End, Fragment, LONGEST, Lines};
    use crate::audit::{chain::Digest, event::Torn};

    #[test]
    fn lines_are_read_to_their_ends_and_no_further_than_the_longest() {
        let long = "x".repeat(LONGEST + 1);
        let exact = "y".repeat(LONGEST);
        let text = format!("a\n\n{exact}\n{long}zzz\nb");
        let mut lines = Lines::of(text.as_bytes());
        let mut line = Vec::new();
        let mut ends = Vec::new();
        while let Some(end) = lines.next(&mut line).unwrap() {
            assert!(line.capacity() <= 2 * (LONGEST + 1));
            ends.push((lines.number(), line.len(), end));
        }
        let expected = [
            (1, 1, End::Line),
            (2, 0, End::Line),
            (3, LONGEST, End::Line),
            (4, LONGEST + 1, End::Never),
            (5, 1, End::File),
        ];
        assert_eq!(ends, expected);
    }

    #[test]
    fn a_fragment_is_its_bytes_with_the_line_ends_between() {
        let mut fragment = Fragment::default();
        fragment.add(b"a");
        fragment.add(b"");
        let torn = |bytes: &[u8]| Torn {
            bytes: bytes.len() as u64,
            sha256: Digest::of(bytes),
        };
        assert!(fragment.is(&torn(b"a\n")));
        assert!(!fragment.is(&torn(b"a")));
        assert!(!fragment.is(&torn(b"b\n")));
        assert_eq!(fragment.lines(), 2);
    }
}
