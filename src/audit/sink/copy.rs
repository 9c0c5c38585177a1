//! The file where it is not the sink that counts. What it has missed it cannot make up for, so it
//! goes on in a new file, which begins with a header: the chain's own thread makes one when it is
//! asked to.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{current::Current, file};
use crate::audit::log::Draft;

/// Each try costs a header in every other sink.
const PAUSE: Duration = Duration::from_secs(30);

/// A file that gets what is on record elsewhere.
#[derive(Debug)]
pub(crate) struct Copy {
    current: Current,
    /// Whether the file goes on where the last lines ended.
    follows: bool,
    failed: Option<Instant>,
    wants_header: Arc<AtomicBool>,
}

impl Copy {
    /// `current` has been resumed where the chain goes on, or else it does not `follow`.
    pub(crate) fn new(current: Current, follows: bool, wants_header: Arc<AtomicBool>) -> Self {
        wants_header.store(!follows, Ordering::Relaxed);
        Self {
            current,
            follows,
            failed: None,
            wants_header,
        }
    }

    /// Writes the lines, or leaves them out. It is never tried again with the same ones.
    #[expect(clippy::unnecessary_wraps, reason = "the other sinks can fail")]
    pub(crate) fn send(&mut self, draft: &Draft) -> io::Result<()> {
        let (before, from_header) = draft.at_header();
        for (part, begins) in [(before, false), (from_header, true)] {
            let Some(part) = part else { continue };
            if let Err(error) = self.write(&part, begins) {
                tracing::error!(%error, "the audit file, which is a copy, misses records");
                self.follows = false;
                self.failed = Some(Instant::now());
            }
        }
        let waits = self.failed.is_some_and(|failed| failed.elapsed() < PAUSE);
        if (!self.follows && !waits) || (self.follows && self.current.is_full()) {
            self.wants_header.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn write(&mut self, part: &Draft, begins: bool) -> Result<(), file::Error> {
        if begins {
            self.current.renew(part.before())?;
            self.follows = true;
            self.failed = None;
        }
        if !self.follows {
            return Ok(());
        }
        self.current.append(part).map_err(|fault| fault.error)
    }
}
