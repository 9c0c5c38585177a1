//! The sink that counts: a record that it has is durable, as far as such a sink can tell.

use std::io;

use super::Draft;
use crate::{
    audit::{
        chain::Head,
        sink::{
            self,
            current::{Current, Fault, First, Resumed},
            syslog::Syslog,
        },
    },
    config::{self, audit::Durable},
};

/// The sink that counts.
#[derive(Debug)]
pub(super) enum Store {
    File(Box<Current>),
    Syslog(Box<Remote>),
    Nowhere,
}

impl Store {
    pub(super) fn open(settings: &config::Audit) -> io::Result<Self> {
        let (file, syslog) = (&settings.file, &settings.syslog);
        Ok(match (settings.durable, file, syslog) {
            (Durable::File, Some(file), _) => Self::File(Box::new(Current::new(file.clone()))),
            (Durable::Syslog, _, Some(syslog)) => {
                let syslog = Syslog::new(syslog, settings.timeout)?;
                let pending = Vec::new();
                Self::Syslog(Box::new(Remote { syslog, pending }))
            }
            (Durable::File, None, _) | (Durable::Syslog, _, None) => {
                return Err(io::Error::other("nothing would have the records"));
            }
        })
    }

    /// What it is called in a sentence.
    pub(super) fn place(&self) -> &'static str {
        match self {
            Self::File(_) => "the audit file",
            Self::Syslog(_) => "the syslog server",
            Self::Nowhere => "nothing",
        }
    }

    /// Whether there is no trail at all without it, so that a start without it is in vain.
    pub(super) fn is_needed_to_start(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Opens it; `head` is the last record that is known to be in the chain, `None` at a start.
    pub(super) fn resume(&mut self, head: Option<Head>) -> Result<Resumed, sink::Error> {
        let first = match (self, head) {
            (Self::File(file), head) => return Ok(file.resume(head)?),
            (Self::Syslog(remote), Some(_)) => {
                remote.send_pending()?;
                First::Nothing
            }
            (Self::Nowhere, Some(_)) => First::Nothing,
            (Self::Syslog(_) | Self::Nowhere, None) => First::Header(None),
        };
        let head = head.unwrap_or(Head::GENESIS);
        Ok(Resumed { head, first })
    }

    /// Returns when the lines are durable.
    pub(super) fn append(&mut self, draft: &Draft) -> Result<(), Fault<sink::Error>> {
        match self {
            Self::File(file) => file.append(draft).map_err(|fault| Fault {
                error: fault.error.into(),
                head: fault.head,
                written: fault.written,
            }),
            Self::Syslog(remote) => remote.append(draft),
            Self::Nowhere => Ok(()),
        }
    }

    /// Whether the next record could be written, as far as a look can tell.
    pub(super) fn look(&mut self) -> Result<(), sink::Error> {
        match self {
            Self::File(file) => Ok(file.look()?),
            Self::Syslog(remote) => remote.look(),
            Self::Nowhere => Ok(()),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::File(file) if file.is_full())
    }

    /// Goes on in a new file; gives what to write there first.
    pub(super) fn rotate(&mut self, head: Head) -> Result<First, sink::Error> {
        match self {
            Self::File(file) => Ok(file.rotate(head)?),
            Self::Syslog(_) | Self::Nowhere => Ok(First::Nothing),
        }
    }

    /// Whether there is another file at the path by now, or none.
    pub(super) fn has_moved(&self) -> bool {
        matches!(self, Self::File(file) if file.has_moved())
    }

    /// Writes the last lines of a file, wherever it is by now.
    pub(super) fn finish(&mut self, draft: &Draft) -> Result<(), sink::Error> {
        match self {
            Self::File(file) => Ok(file.finish(draft)?),
            Self::Syslog(_) | Self::Nowhere => Ok(()),
        }
    }
}

/// A syslog server that counts.
#[derive(Debug)]
pub(super) struct Remote {
    syslog: Syslog,
    /// Lines of which it is not known whether they arrived. They are sent again before anything
    /// else, the same bytes: a record that came twice is one record, one that is missing is a gap.
    pending: Vec<Draft>,
}

impl Remote {
    fn append(&mut self, draft: &Draft) -> Result<(), Fault<sink::Error>> {
        self.syslog.send(draft).map_err(|source| {
            self.pending.push(draft.clone());
            Fault {
                error: self.error(source),
                head: draft.head,
                written: true,
            }
        })
    }

    fn look(&mut self) -> Result<(), sink::Error> {
        self.syslog.look().map_err(|source| self.error(source))
    }

    fn send_pending(&mut self) -> Result<(), sink::Error> {
        while let Some(draft) = self.pending.first() {
            let sent = self.syslog.send(draft);
            sent.map_err(|source| self.error(source))?;
            self.pending.remove(0);
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> sink::Error {
        sink::Error::Syslog {
            server: self.syslog.server().to_string(),
            source,
        }
    }
}
