//! What can be wrong with a trail, each with what it means in a sentence. The sentences come after
//! the file and line where it shows, and say no more than the bytes do: who did it and why, they
//! cannot know.

use std::fmt;

use serde::{Serialize, Serializer, ser::SerializeStruct as _};

/// One damage, and where it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file; absent where it is the trail as a whole.
    pub file: Option<String>,
    /// The first and the last line of it; absent where it is the file as a whole.
    pub lines: Option<(u64, u64)>,
    /// What is wrong.
    pub kind: Kind,
}

/// The numbers of records in a row, the first and the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the sentences say what each is")]
pub enum Kind {
    #[error("{0}")]
    Unreadable(String),
    #[error("is empty, and there is no other file: this is no trail")]
    Empty,
    #[error("has no record at all: it is no part of a trail, or all of it was altered")]
    NoRecords,
    #[error("record {seq} was altered: its hash does not match")]
    Altered { seq: u64 },
    #[error("is no record: it was altered, or something else wrote it")]
    NoRecord,
    #[error("is longer than any record: line ends were removed, or something else wrote it")]
    Long,
    #[error("the line end after record {seq} was altered")]
    LineEnd { seq: u64 },
    #[error("{span} missing before this line{}", perhaps(*.broken))]
    Missing { span: Span, broken: u64 },
    #[error("{span} not in place: lines were swapped or moved")]
    Moved { span: Span },
    #[error("{span} here once more: lines were duplicated")]
    Again { span: Span },
    #[error(
        "{span} not what has that number above: lines were altered and sealed again, or come from another chain"
    )]
    Twice { span: Span },
    #[error("{span} out of order here: they are a copy, or come from another chain")]
    Stray { span: Span },
    #[error(
        "{span} without a place in this file: they come from another chain, or from elsewhere in this one"
    )]
    Foreign { span: Span },
    #[error(
        "record {seq} was written after another record {} than the one above: that one was altered and sealed again, or lines of another chain begin or end here",
        .seq - 1
    )]
    Unchained { seq: u64 },
    #[error("the file does not begin with a header: its first lines were removed")]
    NoHeader,
    #[error("another file begins here, in the middle of this one: two files were put together")]
    HeaderInside,
    #[error("the header contradicts itself on what it was written after")]
    HeaderWrong,
    #[error("the trail has the form {0}, which this program does not know")]
    Version(u32),
    #[error("this {event} record does not have the fields of one")]
    Fields { event: String },
    #[error(
        "{bytes} bytes with line ends in them are no records: the machine stopped while it wrote them, or somebody altered them"
    )]
    Fragment { bytes: u64 },
    #[error("what is said here to have broken off is not what stands above: that was altered")]
    TornOther,
    #[error("the checkpoint is not signed")]
    Unsigned,
    #[error("the checkpoint is signed with another key, {key}")]
    OtherKey { key: String },
    #[error("the signature of the checkpoint is wrong")]
    Signature,
    #[error("no checkpoint is signed with {keys}, so nothing of the trail is")]
    NothingSigned { keys: String },
    #[error("{span} missing between {after} and this file{}", written_after(.named.as_deref()))]
    Between {
        span: Span,
        after: String,
        named: Option<String>,
    },
    #[error(
        "was written after another record {seq} than the last one of {after}: that was altered and sealed again, or one of the two files comes from another chain{hosts}"
    )]
    NotAfter {
        seq: u64,
        after: String,
        hosts: String,
    },
    #[error(
        "begins with record {seq}, although {after} goes on to {end}: one of the two comes from another chain{hosts}"
    )]
    Overlap {
        seq: u64,
        after: String,
        end: u64,
        hosts: String,
    },
    #[error("begins with the same record as {0}: it is a copy of it, or of a part of it")]
    Copy(String),
    #[error("{span} missing at the end: they were cut off after {what} was taken")]
    Cut { span: Span, what: &'static str },
    #[error(
        "record {seq} is not the one that {what} names: the trail was altered and sealed again"
    )]
    Kept { seq: u64, what: &'static str },
    #[error("record {seq}, which {what} names, is not here")]
    KeptMissing { seq: u64, what: &'static str },
}

impl Kind {
    /// A name for programs, which stays when the sentence changes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Empty | Self::NoRecords => "no_records",
            Self::Altered { .. } | Self::LineEnd { .. } => "altered",
            Self::NoRecord | Self::Long => "no_record",
            Self::Missing { .. } | Self::Between { .. } | Self::KeptMissing { .. } => "missing",
            Self::Moved { .. } => "moved",
            Self::Again { .. } | Self::Copy(_) => "duplicate",
            Self::Twice { .. } | Self::Unchained { .. } | Self::Kept { .. } => "rewritten",
            Self::Stray { .. } | Self::Foreign { .. } => "foreign",
            Self::NotAfter { .. } | Self::Overlap { .. } => "foreign_file",
            Self::NoHeader | Self::HeaderInside | Self::HeaderWrong => "header",
            Self::Version(_) => "version",
            Self::Fields { .. } => "fields",
            Self::Fragment { .. } | Self::TornOther => "torn",
            Self::Unsigned | Self::OtherKey { .. } => "unsigned",
            Self::Signature | Self::NothingSigned { .. } => "signature",
            Self::Cut { .. } => "cut",
        }
    }
}

/// With the verb: `record 5 is`, `records 5 to 9 are`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        if from == to {
            write!(f, "record {from} is")
        } else {
            write!(f, "records {from} to {to} are")
        }
    }
}

fn perhaps(broken: u64) -> String {
    match broken {
        0 => String::new(),
        1 => ", of which one may be the line above".to_owned(),
        lines => format!(", of which {lines} may be the lines above"),
    }
}

fn written_after(file: Option<&str>) -> String {
    file.map_or_else(String::new, |file| {
        format!("; it was written after a file with the name {file:?}")
    })
}

/// As compilers say it: `file:line: sentence`.
impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_deref().unwrap_or("the trail");
        match self.lines {
            None => write!(f, "{file}: {}", self.kind),
            Some((from, to)) if from == to => write!(f, "{file}:{from}: {}", self.kind),
            Some((from, to)) => write!(f, "{file}:{from}-{to}: {}", self.kind),
        }
    }
}

impl Serialize for Damage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Damage", 5)?;
        object.serialize_field("file", &self.file)?;
        object.serialize_field("line", &self.lines.map(|(from, _)| from))?;
        object.serialize_field("last_line", &self.lines.map(|(_, to)| to))?;
        object.serialize_field("kind", self.kind.name())?;
        object.serialize_field("message", &self.kind.to_string())?;
        object.end()
    }
}

/// Damages, as many as anybody reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Damages {
    list: Vec<Damage>,
    rest: u64,
}

/// Who has that many has no trail any more; and a file of another kind must not fill the memory.
pub(super) const MOST: usize = 100;

impl Damages {
    pub(super) fn add(&mut self, damage: Damage) {
        if self.list.len() < MOST {
            self.list.push(damage);
        } else {
            self.rest += 1;
        }
    }

    /// Counts some that are not even named.
    pub(super) fn leave_out(&mut self, some: u64) {
        self.rest += some;
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.rest += others.rest;
        others.list.into_iter().for_each(|damage| self.add(damage));
    }

    /// Those that are kept, and how many more there were.
    pub(super) fn into_parts(self) -> (Vec<Damage>, u64) {
        (self.list, self.rest)
    }
}
