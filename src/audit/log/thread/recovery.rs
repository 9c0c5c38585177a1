//! How the trail goes on: after a start, after the file was renamed, and after a time when it
//! could not be written.

use std::{mem, time::Instant};

use super::{RETRY, Thread};
use crate::audit::{
    event::{Event, Recovered},
    log::{
        Draft,
        queue::{Entry, Outage},
    },
    sink::current::{Fault, First, Resumed},
};

impl Thread {
    /// What has to be written before anything else where the chain goes on.
    pub(super) fn opening(&self, resumed: Resumed) -> Draft {
        let mut draft = Draft::after(resumed.head);
        match resumed.first {
            First::Header(predecessor) => {
                self.add(&mut draft, &self.parts.scribe.header(predecessor));
            }
            First::Torn(torn) => {
                draft.end_line();
                self.add(&mut draft, &Event::Torn(torn));
            }
            First::LineEnd => draft.end_line(),
            First::Nothing => {}
        }
        draft
    }

    /// Tries to go on.
    pub(super) fn recover(&mut self) {
        self.retry = Some(Instant::now() + RETRY);
        let resumed = match self.parts.store.resume(Some(self.head)) {
            Ok(resumed) => resumed,
            Err(error) => {
                self.parts.shared.fail(error.to_string());
                return;
            }
        };
        self.adopt(&resumed);
        // A record can just fit where the next one will not.
        if let Err(error) = self.parts.store.look() {
            self.parts.shared.fail(error.to_string());
            return;
        }
        let mut draft = self.opening(resumed);
        let outage = self.parts.shared.outage();
        if let Some(outage) = &outage {
            self.add(&mut draft, &recovered(outage));
        }
        let mut made = Vec::with_capacity(self.kept.len());
        for (_, event) in mem::take(&mut self.kept) {
            let head = self.add(&mut draft, &event).unwrap_or(draft.head);
            let waiter = None;
            made.push((head, Entry { event, waiter }));
        }
        match self.append(draft) {
            Ok(()) => {
                self.retry = None;
                outage.inspect(|outage| self.parts.shared.recovered(outage));
            }
            Err(fault) => self.fail(&fault, made),
        }
    }

    /// What turned out to be in the file is in the chain, and is not written again.
    fn adopt(&mut self, resumed: &Resumed) {
        let found = self.head.seq + 1..=resumed.head.seq;
        self.kept.retain(|(head, _)| !found.contains(&head.seq));
        let doubtful = self.doubtful.take();
        if let Some(draft) = doubtful.and_then(|draft| draft.up_to(resumed.head)) {
            self.tell(draft);
        }
        self.head = resumed.head;
    }

    /// The store works. Somebody may have given up waiting for it; that is over now.
    pub(super) fn is_back(&mut self) {
        let Some(outage) = self.parts.shared.outage() else {
            return;
        };
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &recovered(&outage));
        match self.append(draft) {
            Ok(()) => self.parts.shared.recovered(&outage),
            Err(fault) => self.fail(&fault, Vec::new()),
        }
    }

    /// Somebody says that the file may have been renamed.
    pub(super) fn reopen(&mut self) {
        if !self.parts.store.has_moved() {
            return;
        }
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &self.parts.scribe.checkpoint());
        match self.parts.store.finish(&draft) {
            Ok(()) => {
                self.head = draft.head;
                self.parts.shared.advance(draft.head);
                self.tell(draft);
            }
            Err(error) => tracing::warn!(%error, "the old audit file has no checkpoint at its end"),
        }
        let head = self.head;
        let appended = match self.parts.store.resume(Some(head)) {
            Ok(resumed) => self.append(self.opening(resumed)),
            Err(error) => Err(Fault {
                error,
                head,
                written: true,
            }),
        };
        if let Err(fault) = appended {
            self.fail(&fault, Vec::new());
        }
    }
}

fn recovered(outage: &Outage) -> Event {
    let Outage {
        failing,
        refused,
        lost,
    } = outage;
    Event::Recovered(Recovered {
        since: humantime::format_rfc3339_micros(failing.since).to_string(),
        cause: failing.cause.clone(),
        refused: *refused,
        lost: *lost,
    })
}
