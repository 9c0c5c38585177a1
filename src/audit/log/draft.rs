//! What is written at once: the lines of some records, made one after the other so that each has
//! the hash of the one before.

use std::{sync::Arc, time::SystemTime};

use crate::audit::{
    chain::{Head, Stamp},
    clock,
    event::{Checkpoint, Event, Header, Predecessor},
    key::SigningKey,
};

/// The version of the form of the records.
const VERSION: u32 = 1;

/// Makes lines of events.
#[derive(Debug)]
pub(super) struct Scribe {
    pub(super) clock: clock::Watch,
    instance: Arc<str>,
    host: String,
    key: Option<SigningKey>,
}

impl Scribe {
    /// Checkpoints are signed where there is a `key`.
    pub(super) fn new(instance: Arc<str>, key: Option<SigningKey>) -> Self {
        let host = rustix::system::uname();
        Self {
            instance,
            clock: clock::Watch::new(),
            host: host.nodename().to_string_lossy().into_owned(),
            key,
        }
    }

    pub(super) fn header(&self, predecessor: Option<Predecessor>) -> Event {
        Event::Header(Header {
            version: VERSION,
            host: self.host.clone(),
            predecessor,
        })
    }

    pub(super) fn checkpoint(&self) -> Event {
        let key = self.key.as_ref().map(|key| key.id().to_owned());
        Event::Checkpoint(Checkpoint { key })
    }

    fn line(
        &self,
        head: Head,
        time: SystemTime,
        event: &Event,
    ) -> serde_json::Result<(Vec<u8>, Head)> {
        let instance = &self.instance;
        let stamp = Stamp { time, instance };
        match (event, &self.key) {
            (Event::Checkpoint(_), Some(key)) => {
                head.signed_line(&stamp, event, |line| key.sign(line))
            }
            _ => head.line(&stamp, event),
        }
    }
}

/// Lines that are written at once.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// All of them, each with its line end.
    pub(crate) bytes: Vec<u8>,
    /// Where each of them is.
    pub(crate) lines: Vec<DraftLine>,
    before: Head,
    /// Where the chain is after them.
    pub(crate) head: Head,
}

/// A line of a draft.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftLine {
    start: usize,
    /// After its line end.
    end: usize,
    is_header: bool,
    /// The head that it makes.
    pub(crate) head: Head,
    /// When it was made.
    pub(crate) time: SystemTime,
}

impl Draft {
    pub(super) fn after(head: Head) -> Self {
        Self {
            bytes: Vec::new(),
            lines: Vec::new(),
            before: head,
            head,
        }
    }

    /// Ends what broke off before.
    pub(super) fn end_line(&mut self) {
        self.bytes.push(b'\n');
    }

    /// Adds a record; gives the head that it makes.
    pub(super) fn add(&mut self, scribe: &Scribe, event: &Event) -> serde_json::Result<Head> {
        let time = SystemTime::now();
        let (line, head) = scribe.line(self.head, time, event)?;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&line);
        self.lines.push(DraftLine {
            start,
            end: self.bytes.len(),
            is_header: matches!(event, Event::Header(_)),
            head,
            time,
        });
        self.head = head;
        Ok(head)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Where the chain was before them.
    pub(crate) fn before(&self) -> Head {
        self.before
    }

    /// A line without its line end.
    pub(crate) fn text(&self, line: &DraftLine) -> Option<&[u8]> {
        self.bytes.get(line.start..line.end)?.strip_suffix(b"\n")
    }

    /// The lines before the first header, and those from it on.
    pub(crate) fn at_header(&self) -> (Option<Self>, Option<Self>) {
        match self.lines.iter().position(|line| line.is_header) {
            Some(count) => self.split(count),
            None => (Some(self.clone()), None),
        }
    }

    /// The lines up to and with the one that makes `head`; `None` where there is no such line.
    pub(super) fn up_to(&self, head: Head) -> Option<Self> {
        let last = self.lines.iter().position(|line| line.head == head)?;
        self.split(last + 1).0
    }

    fn split(&self, count: usize) -> (Option<Self>, Option<Self>) {
        let (first, rest) = self.lines.split_at(count.min(self.lines.len()));
        let at = rest.first().map_or(self.bytes.len(), |line| line.start);
        let (bytes, more) = self.bytes.split_at(at);
        let between = first.last().map_or(self.before, |line| line.head);
        let moved = rest.iter().map(|line| DraftLine {
            start: line.start - at,
            end: line.end - at,
            ..*line
        });
        let part = |bytes: &[u8], lines, before, head| {
            (!bytes.is_empty()).then(|| Self {
                bytes: bytes.to_vec(),
                lines,
                before,
                head,
            })
        };
        (
            part(bytes, first.to_vec(), self.before, between),
            part(more, moved.collect(), between, self.head),
        )
    }
}
