//! The current file of the trail: where the chain goes on after a start, a rotation or a failure,
//! and what has to be written there first. Decides which lines count as written when writing them
//! failed.

use super::{
    file::{self, Found, Identity, Open, unfit},
    siblings,
};
use crate::{
    audit::{
        chain::Head,
        event::{Predecessor, Torn},
        log::Draft,
    },
    config,
};

/// Where the chain goes on.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) head: Head,
    pub(crate) first: First,
}

/// What is written before anything else.
#[derive(Debug)]
pub(crate) enum First {
    Header(Option<Predecessor>),
    Torn(Torn),
    LineEnd,
    Nothing,
}

/// Lines that could not be made durable.
#[derive(Debug)]
pub(crate) struct Fault<Error = file::Error> {
    pub(crate) error: Error,
    /// Where the chain is now, as far as it is known.
    pub(crate) head: Head,
    /// Whether all of the lines are where they should be, and stay there.
    pub(crate) written: bool,
}

/// The file at `audit.path`.
#[derive(Debug)]
pub(crate) struct Current {
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
    /// The last of them that was seen in the file.
    found: Option<Head>,
    /// A file that a sync failed for. The kernel forgets what it could not write and says so once
    /// (fsync(2)), so what can be read there now need not be on the disk.
    distrusted: Option<Identity>,
}

impl Current {
    pub(crate) fn new(settings: config::audit::File) -> Self {
        Self {
            full_at: settings.rotate_size,
            settings,
            open: None,
            begins: 0,
            predecessor: None,
            doubtful: Vec::new(),
            found: None,
            distrusted: None,
        }
    }

    /// Opens it; `head` is the last record that is known to be in the chain, `None` at a start.
    pub(crate) fn resume(&mut self, head: Option<Head>) -> Result<Resumed, file::Error> {
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
                let head = tail.head;
                if Some(open.identity()) == self.distrusted {
                    drop(open);
                    let first = self.renew(head)?;
                    return Ok(Resumed { head, first });
                }
                self.is_open(open, begins);
                let first = match tail.torn {
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
        let mut head = self.found.or(head);
        if let Some(open) = self.open.take()
            && let Ok(Some(tail)) = open.tail()
        {
            if self.doubtful.contains(&tail.head) {
                head = Some(tail.head);
                self.found = head;
            }
            if head == Some(tail.head) {
                self.predecessor = open.name();
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
        self.is_open(open, head.seq + 1);
        self.distrusted = None;
        let file = self.predecessor.clone();
        First::Header((head != Head::GENESIS).then_some(Predecessor { file, head }))
    }

    fn is_open(&mut self, open: Open, begins: u64) {
        self.open = Some(open);
        self.begins = begins;
        self.full_at = self.settings.rotate_size;
        self.doubtful.clear();
        self.found = None;
    }

    /// Returns when the lines are on disk.
    pub(crate) fn append(&mut self, draft: &Draft) -> Result<(), Fault> {
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
            self.doubtful = draft.lines.iter().map(|line| line.head).collect();
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

    /// Whether the file is still ours, and there is room on its file system.
    pub(crate) fn look(&self) -> Result<(), file::Error> {
        let open = self.open.as_ref();
        let open = open.ok_or_else(|| unfit(&self.settings.path, IS_NOT_OPEN))?;
        open.check()?;
        open.room()
    }

    pub(crate) fn is_full(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.size >= self.full_at)
    }

    /// Goes on in a new file, if the full one can be renamed; otherwise in the full one.
    pub(crate) fn rotate(&mut self, head: Head) -> Result<First, file::Error> {
        let Some(open) = &self.open else {
            return Err(unfit(&self.settings.path, IS_NOT_OPEN));
        };
        match open.retire(self.begins) {
            Ok(name) => {
                self.predecessor = Some(name);
                self.begin_anew(head)
            }
            Err(error) => {
                tracing::warn!(%error, "the audit file is full and cannot be renamed, so it grows");
                self.full_at = open.size + self.settings.rotate_size;
                Ok(First::Nothing)
            }
        }
    }

    /// Goes on in a new file, whatever state the one at the path is in, if it is of this trail.
    pub(crate) fn renew(&mut self, head: Head) -> Result<First, file::Error> {
        self.settle(None);
        match Found::open(&self.settings.path)? {
            Found::Empty(open) => Ok(self.begin(open, head)),
            Found::Trail(open, begins, _) => {
                self.predecessor = Some(open.retire(begins)?);
                drop(open);
                self.begin_anew(head)
            }
        }
    }

    fn begin_anew(&mut self, head: Head) -> Result<First, file::Error> {
        self.open = None;
        match Found::open(&self.settings.path)? {
            Found::Empty(open) => Ok(self.begin(open, head)),
            Found::Trail(..) => Err(unfit(&self.settings.path, IS_OLDER)),
        }
    }

    /// Whether there is another file at the path by now, or none.
    pub(crate) fn has_moved(&self) -> bool {
        let open = self.open.as_ref();
        open.is_some_and(|open| open.check().is_err())
    }

    /// Writes the last lines of a file, wherever it is by now.
    pub(crate) fn finish(&mut self, draft: &Draft) -> Result<(), file::Error> {
        let Some(open) = &mut self.open else {
            return Err(unfit(&self.settings.path, IS_NOT_OPEN));
        };
        open.append(&draft.bytes)?;
        open.sync()
    }
}

const IS_NOT_OPEN: &str = "is not open";
const IS_OLDER: &str = "does not end with the last record that was written: it is another file, or something was cut off; move it away";
