//! The thread that writes: takes all that waits, makes lines of it, has the store keep them, and
//! wakes whoever waited. When that fails it tells everybody, tries again every second, and goes on
//! where the chain in the file ends.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Draft, Failing,
    draft::Scribe,
    queue::{Entry, Outage, Shared},
    store::{Fault, First, Resumed, Store},
};
use crate::audit::{
    chain::Head,
    event::{Event, Recovered},
    sink::file,
};

/// Nobody should wait for much longer than the repair took; and a look at a broken disk once a
/// second is no load.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Thread {
    shared: Arc<Shared>,
    store: Store,
    scribe: Scribe,
    /// The last record of the chain.
    head: Head,
    /// When to try again, while the trail cannot be written.
    retry: Option<Instant>,
    /// Records of failed writes that nobody waits for, with the heads they would have made.
    kept: Vec<(Head, Event)>,
    /// Whether there are records since the last checkpoint.
    unchecked: bool,
    checkpoint_interval: Duration,
    checkpoint: Instant,
}

impl Thread {
    pub(super) fn open(
        shared: Arc<Shared>,
        mut store: Store,
        instance: Arc<str>,
        checkpoint_interval: Duration,
    ) -> Result<Self, file::Error> {
        let resumed = store.resume(None)?;
        let mut thread = Self {
            shared,
            store,
            scribe: Scribe::new(instance),
            head: resumed.head,
            retry: None,
            kept: Vec::new(),
            unchecked: false,
            checkpoint_interval,
            checkpoint: Instant::now() + checkpoint_interval,
        };
        let draft = thread.opening(resumed);
        if !draft.is_empty() {
            let kept = thread.store.append(&draft);
            kept.map_err(|fault| fault.error)?;
        }
        thread.has(&draft);
        Ok(thread)
    }

    pub(super) fn run(mut self) {
        loop {
            let until = self.retry.unwrap_or(self.checkpoint);
            let woken = self.shared.wait(until, self.retry.is_none());
            let now = Instant::now();
            let is_due = self.retry.is_some_and(|retry| retry <= now);
            if is_due || (self.retry.is_some() && (woken.reopen || woken.closing)) {
                self.recover();
            } else if woken.reopen {
                self.reopen();
            }
            if woken.closing && (woken.entries.is_empty() || self.retry.is_some()) {
                break;
            }
            if !woken.entries.is_empty() {
                self.record(woken.entries);
            }
            if self.checkpoint <= now {
                self.publish();
            }
        }
        self.end();
    }

    /// What has to be written before anything else where the chain goes on.
    fn opening(&self, resumed: Resumed) -> Draft {
        let mut draft = Draft::after(resumed.head);
        match resumed.first {
            First::Header(predecessor) => {
                self.add(&mut draft, &self.scribe.header(predecessor));
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

    fn record(&mut self, entries: Vec<Entry>) {
        let mut draft = match self.begin() {
            Ok(draft) => draft,
            Err(fault) => {
                let made = entries.into_iter().map(|entry| (fault.head, entry));
                return self.fail(&fault, made.collect());
            }
        };
        let mut made = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.add(&mut draft, &entry.event) {
                Some(head) => made.push((head, entry)),
                None => entry.answer(Err(Failing::now("the record has no form"))),
            }
        }
        self.put(&draft, made);
    }

    /// What the next lines are written after: in a new file where this one is full.
    fn begin(&mut self) -> Result<Draft, Fault> {
        let mut draft = Draft::after(self.head);
        if self.store.is_full() {
            self.write_checkpoint()?;
            draft = match self.store.rotate(self.head) {
                Ok(first) => self.opening(Resumed {
                    head: self.head,
                    first,
                }),
                Err(error) => {
                    tracing::warn!(%error, "the audit file is full and was not rotated");
                    Draft::after(self.head)
                }
            };
        }
        if let Some(change) = self.scribe.clock.change() {
            self.add(&mut draft, &Event::Clock(change));
        }
        Ok(draft)
    }

    /// Has the lines kept, and tells those who wait.
    fn put(&mut self, draft: &Draft, made: Vec<(Head, Entry)>) {
        if let Err(fault) = self.store.append(draft) {
            return self.fail(&fault, made);
        }
        self.has(draft);
        for (_, entry) in made {
            entry.answer(Ok(()));
        }
        // Somebody may have given up waiting; then it is over now.
        if let Some(outage) = self.shared.outage() {
            let mut draft = Draft::after(self.head);
            self.add(&mut draft, &recovered(&outage));
            match self.store.append(&draft) {
                Ok(()) => self.is_over(&draft, &outage),
                Err(fault) => self.fail(&fault, Vec::new()),
            }
        }
    }

    fn has(&mut self, draft: &Draft) {
        self.head = draft.head;
        self.unchecked = true;
        self.shared.advance(draft.head);
    }

    fn is_over(&mut self, draft: &Draft, outage: &Outage) {
        self.has(draft);
        self.retry = None;
        self.shared.recovered(outage);
    }

    /// Nothing is released from now on. Records that nobody waits for are kept, unless they are in
    /// the file.
    fn fail(&mut self, fault: &Fault, made: Vec<(Head, Entry)>) {
        self.head = fault.head;
        self.retry = Some(Instant::now() + RETRY);
        let failing = self.shared.fail(fault.error.to_string());
        for (head, entry) in made {
            if entry.waiter.is_some() {
                entry.answer(Err(failing.clone()));
            } else if !fault.written {
                self.kept.push((head, entry.event));
            }
        }
    }

    /// Tries to go on.
    fn recover(&mut self) {
        self.retry = Some(Instant::now() + RETRY);
        let resumed = match self.store.resume(Some(self.head)) {
            Ok(resumed) => resumed,
            Err(error) => {
                self.shared.fail(error.to_string());
                return;
            }
        };
        // What turned out to be in the file is not written again.
        let found = self.head.seq + 1..=resumed.head.seq;
        self.kept.retain(|(head, _)| !found.contains(&head.seq));
        self.head = resumed.head;
        let mut draft = self.opening(resumed);
        let outage = self.shared.outage();
        if let Some(outage) = &outage {
            self.add(&mut draft, &recovered(outage));
        }
        let mut made = Vec::with_capacity(self.kept.len());
        for (_, event) in mem::take(&mut self.kept) {
            let head = self.add(&mut draft, &event).unwrap_or(draft.head);
            let waiter = None;
            made.push((head, Entry { event, waiter }));
        }
        match (self.store.append(&draft), outage) {
            (Ok(()), Some(outage)) => self.is_over(&draft, &outage),
            (Ok(()), None) => self.has(&draft),
            (Err(fault), _) => self.fail(&fault, made),
        }
    }

    /// Somebody says that the file may have been renamed.
    fn reopen(&mut self) {
        if !self.store.has_moved() {
            return;
        }
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &self.scribe.checkpoint());
        match self.store.finish(&draft) {
            Ok(()) => self.has(&draft),
            Err(error) => tracing::warn!(%error, "the old audit file has no checkpoint at its end"),
        }
        let resumed = self.store.resume(Some(self.head));
        let opened = resumed.map(|resumed| self.opening(resumed));
        match opened {
            Ok(draft) if draft.is_empty() => {}
            Ok(draft) => self.put(&draft, Vec::new()),
            Err(error) => self.fail(&self.fault(error), Vec::new()),
        }
    }

    /// A checkpoint, and the head in the log, so that there is a copy of it elsewhere.
    fn publish(&mut self) {
        self.checkpoint = Instant::now() + self.checkpoint_interval;
        if !self.unchecked || self.retry.is_some() {
            return;
        }
        if let Err(fault) = self.write_checkpoint() {
            self.fail(&fault, Vec::new());
        }
    }

    fn write_checkpoint(&mut self) -> Result<(), Fault> {
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &self.scribe.checkpoint());
        self.store.append(&draft)?;
        self.has(&draft);
        self.unchecked = false;
        self.shared.checked(self.head);
        let Head { seq, hash } = self.head;
        tracing::info!(seq, %hash, "audit head");
        Ok(())
    }

    fn end(&mut self) {
        let rest = self.shared.rest();
        if self.retry.is_some() {
            let lost = rest.len() + self.kept.len();
            tracing::error!(lost, "stopped while the audit trail could not be written");
            return;
        }
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &Event::Stop);
        self.put(&draft, Vec::new());
        if self.retry.is_none() {
            self.publish();
        }
    }

    fn fault(&self, error: file::Error) -> Fault {
        Fault {
            error,
            head: self.head,
            written: true,
        }
    }

    /// Adds a record; gives the head that it makes. One that has no form is a defect; the others
    /// must not suffer from it.
    fn add(&self, draft: &mut Draft, event: &Event) -> Option<Head> {
        match draft.add(&self.scribe, event) {
            Ok(head) => Some(head),
            Err(error) => {
                tracing::error!(%error, "a record of the audit trail has no form in JSON");
                None
            }
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
