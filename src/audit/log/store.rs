//! The sink that counts: a record that it has is durable. Says where the chain goes on after a
//! start, a rotation or a failure, and what has to be written there first.

use super::Draft;
use crate::{
    audit::{
        chain::Head,
        event::{Predecessor, Torn},
        sink::{
            file::{self, Found, Identity, Open, unfit},
            siblings,
        },
    },
    config,
};

/// The sink that counts.
#[derive(Debug)]
pub(super) enum Store {
    File(Box<FileStore>),
    Nowhere,
}

/// Where the chain goes on.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) head: Head,
    pub(super) first: First,
}

/// What is written before anything else.
#[derive(Debug)]
pub(super) enum First {
    Header(Option<Predecessor>),
    Torn(Torn),
    LineEnd,
    Nothing,
}

/// Lines that could not be made durable.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) error: file::Error,
    /// Where the chain is now, as far as it is known.
    pub(super) head: Head,
    /// Whether all of the lines are in the file, and stay there.
    pub(super) written: bool,
}

impl Store {
    pub(super) fn open(settings: &config::Audit) -> Self {
        match &settings.file {
            Some(file) => Self::File(Box::new(FileStore::new(file.clone()))),
            None => Self::Nowhere,
        }
    }

    /// What it is called in a sentence.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Self::File(_) => "the audit file",
            Self::Nowhere => "nothing",
        }
    }

    /// Opens it; `head` is the last record that is known to be in the chain, `None` at a start.
    pub(super) fn resume(&mut self, head: Option<Head>) -> Result<Resumed, file::Error> {
        match self {
            Self::File(store) => store.resume(head),
            Self::Nowhere => Ok(Resumed {
                head: head.unwrap_or(Head::GENESIS),
                first: First::Header(None),
            }),
        }
    }

    /// Returns when the lines are durable.
    pub(super) fn append(&mut self, draft: &Draft) -> Result<(), Fault> {
        match self {
            Self::File(store) => store.append(draft),
            Self::Nowhere => Ok(()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::File(store) => store.is_full(),
            Self::Nowhere => false,
        }
    }

    /// Goes on in a new file; gives what to write there first.
    pub(super) fn rotate(&mut self, head: Head) -> Result<First, file::Error> {
        match self {
            Self::File(store) => store.rotate(head),
            Self::Nowhere => Ok(First::Nothing),
        }
    }

    /// Whether there is another file at the path by now, or none.
    pub(super) fn has_moved(&self) -> bool {
        match self {
            Self::File(store) => store.has_moved(),
            Self::Nowhere => false,
        }
    }

    /// Writes the last lines of a file, wherever it is by now.
    pub(super) fn finish(&mut self, draft: &Draft) -> Result<(), file::Error> {
        match self {
            Self::File(store) => store.finish(draft),
            Self::Nowhere => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(super) struct FileStore {
    settings: config::audit::File,
    open: Option<Open>,
    /// The number of its header.
    begins: u64,
    /// At which size it is full.
    full_at: u64,
    /// What the file before was called.
    predecessor: Option<String>,
    /// Records of which it is not known whether they are in the file.
    doubtful: Vec<Head>,
    /// A file that a sync failed for. The kernel forgets what it could not write and says so once
    /// (fsync(2)), so what can be read there now need not be on the disk.
    distrusted: Option<Identity>,
}

impl FileStore {
    fn new(settings: config::audit::File) -> Self {
        Self {
            full_at: settings.rotate_size,
            settings,
            open: None,
            begins: 0,
            predecessor: None,
            doubtful: Vec::new(),
            distrusted: None,
        }
    }

    fn resume(&mut self, head: Option<Head>) -> Result<Resumed, file::Error> {
        let head = self.settle(head);
        match Found::open(&self.settings.path)? {
            Found::Empty(open) => {
                let head = match head {
                    Some(head) => head,
                    None => self.newest()?,
                };
                let first = self.begin(open, head);
                Ok(Resumed { head, first })
            }
            Found::Trail(open, begins, tail) => {
                if let Some(head) = head
                    && head != tail.head
                    && !self.doubtful.contains(&tail.head)
                {
                    return Err(unfit(&self.settings.path, IS_OLDER));
                }
                self.doubtful.clear();
                self.full_at = self.settings.rotate_size;
                self.begins = begins;
                let (head, distrusted) = (tail.head, Some(open.identity()) == self.distrusted);
                self.open = Some(open);
                let first = match tail.torn {
                    _ if distrusted => self.rotate(head)?,
                    Some(torn) => First::Torn(torn),
                    None if tail.ended => First::Nothing,
                    None => First::LineEnd,
                };
                Ok(Resumed { head, first })
            }
        }
    }

    /// Looks at the file that was written to before it is given up: what of the last lines is in
    /// it, and what it is called by now.
    fn settle(&mut self, head: Option<Head>) -> Option<Head> {
        let mut head = head;
        if let Some(open) = self.open.take()
            && let Ok(Some(tail)) = open.tail()
        {
            if self.doubtful.contains(&tail.head) {
                head = Some(tail.head);
            }
            if head == Some(tail.head) {
                self.predecessor = open.name();
                self.doubtful.clear();
            }
        }
        head
    }

    /// Where the chain was before a start without a file.
    fn newest(&mut self) -> Result<Head, file::Error> {
        let newest = siblings::newest(&self.settings.path)?;
        let (name, head) = newest.map_or((None, Head::GENESIS), |(name, head)| (Some(name), head));
        self.predecessor = name;
        Ok(head)
    }

    fn begin(&mut self, open: Open, head: Head) -> First {
        self.open = Some(open);
        self.begins = head.seq + 1;
        self.full_at = self.settings.rotate_size;
        self.distrusted = None;
        self.doubtful.clear();
        let file = self.predecessor.clone();
        First::Header((head != Head::GENESIS).then_some(Predecessor { file, head }))
    }

    fn append(&mut self, draft: &Draft) -> Result<(), Fault> {
        let before = draft.before();
        let fault = |error, head| Fault {
            error,
            head,
            written: false,
        };
        let Some(open) = &mut self.open else {
            let error = unfit(&self.settings.path, IS_NOT_OPEN);
            return Err(fault(error, before));
        };
        open.check().map_err(|error| fault(error, before))?;
        if let Err(error) = open.append(&draft.bytes) {
            self.doubtful = draft.lines.iter().map(|(_, head)| *head).collect();
            return Err(fault(error, before));
        }
        if let Err(error) = open.sync() {
            self.distrusted = Some(open.identity());
            return Err(fault(error, draft.head));
        }
        // Only now is it known that they are in the file at the path, and not in one that somebody
        // has taken away meanwhile.
        open.check().map_err(|error| Fault {
            written: true,
            ..fault(error, draft.head)
        })
    }

    fn is_full(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.size >= self.full_at)
    }

    fn rotate(&mut self, head: Head) -> Result<First, file::Error> {
        let path = &self.settings.path;
        let Some(open) = &self.open else {
            return Err(unfit(path, IS_NOT_OPEN));
        };
        // Where it cannot be renamed, it grows on; after as much again is another try.
        self.full_at = open.size + self.settings.rotate_size;
        self.predecessor = Some(open.retire(self.begins)?);
        self.open = None;
        match Found::open(path)? {
            Found::Empty(open) => Ok(self.begin(open, head)),
            Found::Trail(..) => Err(unfit(path, IS_OLDER)),
        }
    }

    fn has_moved(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.check().is_err())
    }

    fn finish(&mut self, draft: &Draft) -> Result<(), file::Error> {
        let Some(open) = &mut self.open else {
            return Err(unfit(&self.settings.path, IS_NOT_OPEN));
        };
        open.append(&draft.bytes)?;
        open.sync()
    }
}

const IS_NOT_OPEN: &str = "is not open";
const IS_OLDER: &str = "does not end with the last record that was written: it is another file, or something was cut off; move it away";
