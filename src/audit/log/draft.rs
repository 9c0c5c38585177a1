//! What is written at once: the lines of some records, made one after the other so that each has
//! the hash of the one before.

use std::{sync::Arc, time::SystemTime};

use crate::audit::{
    chain::{Head, Stamp},
    clock,
    event::{Checkpoint, Event, Header, Predecessor},
};

/// The version of the form of the records.
const VERSION: u32 = 1;

/// Makes lines of events.
#[derive(Debug)]
pub(super) struct Scribe {
    pub(super) instance: Arc<str>,
    pub(super) clock: clock::Watch,
    host: String,
}

impl Scribe {
    pub(super) fn new(instance: Arc<str>) -> Self {
        let host = rustix::system::uname();
        Self {
            instance,
            clock: clock::Watch::new(),
            host: host.nodename().to_string_lossy().into_owned(),
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
        Event::Checkpoint(Checkpoint { key: None })
    }

    fn line(&self, head: Head, event: &Event) -> serde_json::Result<(Vec<u8>, Head)> {
        let stamp = Stamp {
            time: SystemTime::now(),
            instance: &self.instance,
        };
        head.line(&stamp, event)
    }
}

/// Lines that are written at once.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// All of them, each with its line end.
    pub(crate) bytes: Vec<u8>,
    /// Where each of them ends, and the head that it makes.
    pub(crate) lines: Vec<(usize, Head)>,
    before: Head,
    /// Where the chain is after them.
    pub(crate) head: Head,
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
        let (line, head) = scribe.line(self.head, event)?;
        self.bytes.extend_from_slice(&line);
        self.lines.push((self.bytes.len(), head));
        self.head = head;
        Ok(head)
    }

    /// Where the chain was before them.
    pub(super) fn before(&self) -> Head {
        self.before
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
