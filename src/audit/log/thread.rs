//! The thread that writes: takes all that waits, makes lines of it, has the store keep them, and
//! wakes whoever waited. When that fails it tells everybody, tries again every second, and goes on
//! where the chain ends.

mod recovery;

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use super::{
    Draft, Failing,
    around::{Followers, Pruner},
    draft::Scribe,
    queue::{Entry, Shared},
    store::Store,
};
use crate::audit::{
    chain::Head,
    event::Event,
    sink::{
        self,
        current::{Fault, Resumed},
    },
};

/// Nobody should wait for much longer than the repair took; and a look at a broken disk once a
/// second is no load.
const RETRY: Duration = Duration::from_secs(1);

/// How often to look at a store that nobody writes to, so that what is wrong with it shows within a
/// second and not with the next job.
const LOOK: Duration = Duration::from_millis(500);

/// The other sinks get this long to send what they have when the daemon stops.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    pub(super) scribe: Scribe,
    pub(super) followers: Followers,
    pub(super) pruner: Pruner,
    /// How often there is a checkpoint.
    pub(super) interval: Duration,
}

#[derive(Debug)]
pub(super) struct Thread {
    parts: Parts,
    /// The last record of the chain.
    head: Head,
    /// When to try again, while the trail cannot be written.
    retry: Option<Instant>,
    /// Records of failed writes that nobody waits for, with the heads they would have made.
    kept: Vec<(Head, Event)>,
    /// Lines of which it is not known whether they are in the chain.
    doubtful: Option<Draft>,
    /// Whether there are records since the last checkpoint.
    unchecked: bool,
    checkpoint: Instant,
    /// When to look at the store.
    look: Instant,
}

impl Thread {
    /// `resumed`: where the chain goes on, if that is known.
    pub(super) fn open(mut parts: Parts, resumed: Option<Resumed>) -> Result<Self, sink::Error> {
        let resumed = match resumed {
            Some(resumed) => resumed,
            None => parts.store.resume(None)?,
        };
        let mut thread = Self {
            head: resumed.head,
            retry: None,
            kept: Vec::new(),
            doubtful: None,
            unchecked: false,
            checkpoint: Instant::now() + parts.interval,
            look: Instant::now() + LOOK,
            parts,
        };
        thread.parts.shared.begin(thread.head);
        let draft = thread.opening(resumed);
        if let Err(fault) = thread.append(draft) {
            if thread.parts.store.is_needed_to_start() {
                return Err(fault.error);
            }
            thread.fail(&fault, Vec::new());
        }
        Ok(thread)
    }

    /// Until it is closed. `ending` goes when the last record is where it counts.
    pub(super) fn run(mut self, ending: mpsc::Sender<()>) {
        self.prune();
        loop {
            let until = self.retry.unwrap_or(self.checkpoint.min(self.look));
            let woken = self.parts.shared.wait(until, self.retry.is_none());
            let now = Instant::now();
            let at_once = woken.reopen || woken.closing;
            match self.retry {
                Some(retry) if at_once || retry <= now => self.recover(),
                None if woken.reopen => self.reopen(),
                None if woken.stuck => self.is_back(),
                Some(_) | None => {}
            }
            if !woken.entries.is_empty() {
                self.record(woken.entries);
            } else if woken.closing && (self.retry.is_some() || self.parts.shared.is_empty()) {
                break;
            }
            if self.look <= now {
                self.look = now + LOOK;
                self.look();
            }
            if self.checkpoint <= now {
                self.checkpoint = now + self.parts.interval;
                self.publish();
                self.prune();
            }
        }
        self.end();
        drop(ending);
        self.parts.followers.close(Instant::now() + LAST_WORDS);
    }

    /// Finds out what the next record would run into.
    fn look(&mut self) {
        if self.retry.is_some() {
            return;
        }
        if let Err(error) = self.parts.store.look() {
            let fault = Fault {
                error,
                head: self.head,
                written: true,
            };
            self.fail(&fault, Vec::new());
        }
    }

    fn record(&mut self, entries: Vec<Entry>) {
        let mut draft = match self.begin() {
            Ok(draft) => draft,
            Err(fault) => {
                let made = entries.into_iter().map(|entry| (self.head, entry));
                let made = made.collect();
                return self.fail(&fault, made);
            }
        };
        let mut made = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.add(&mut draft, &entry.event) {
                Some(head) => made.push((head, entry)),
                None => entry.answer(Err(Failing::now("the record has no form"))),
            }
        }
        match self.append(draft) {
            Ok(()) => {
                for (_, entry) in made {
                    entry.answer(Ok(()));
                }
                self.is_back();
            }
            Err(fault) => self.fail(&fault, made),
        }
    }

    /// What the next lines are written after: in a new file where this one is full.
    fn begin(&mut self) -> Result<Draft, Fault<sink::Error>> {
        let mut draft = Draft::after(self.head);
        if self.parts.store.is_full() {
            self.write_checkpoint()?;
            draft = self.rotate()?;
            self.prune();
        } else if self.parts.followers.want_header() {
            self.write_checkpoint()?;
            draft = Draft::after(self.head);
            self.add(&mut draft, &self.parts.scribe.header(None));
        }
        if let Some(change) = self.parts.scribe.clock.change() {
            self.add(&mut draft, &Event::Clock(change));
        }
        Ok(draft)
    }

    fn rotate(&mut self) -> Result<Draft, Fault<sink::Error>> {
        let head = self.head;
        match self.parts.store.rotate(head) {
            Ok(first) => Ok(self.opening(Resumed { head, first })),
            Err(error) => Err(Fault {
                error,
                head,
                written: false,
            }),
        }
    }

    /// Returns when the lines are durable.
    fn append(&mut self, draft: Draft) -> Result<(), Fault<sink::Error>> {
        if draft.is_empty() {
            return Ok(());
        }
        let appended = self.parts.store.append(&draft);
        let head = appended
            .as_ref()
            .map_or_else(|fault| fault.head, |()| draft.head);
        self.head = head;
        if appended.is_ok() {
            self.unchecked = true;
            self.parts.shared.advance(head);
        }
        if head == draft.head {
            self.tell(draft);
        } else {
            self.doubtful = Some(draft);
        }
        appended
    }

    /// The lines are in the chain: the other sinks get them.
    fn tell(&mut self, draft: Draft) {
        let missed = self.parts.followers.send(draft);
        self.parts.shared.missed(missed);
    }

    /// Nothing is released from now on. Records that nobody waits for are kept, unless they are in
    /// the chain.
    fn fail(&mut self, fault: &Fault<sink::Error>, made: Vec<(Head, Entry)>) {
        self.retry = Some(Instant::now() + RETRY);
        let failing = self.parts.shared.fail(fault.error.to_string());
        for (head, entry) in made {
            if entry.waiter.is_some() {
                entry.answer(Err(failing.clone()));
            } else if !fault.written {
                self.kept.push((head, entry.event));
            }
        }
    }

    /// A checkpoint, where there is something new to check.
    fn publish(&mut self) {
        if self.unchecked
            && self.retry.is_none()
            && let Err(fault) = self.write_checkpoint()
        {
            self.fail(&fault, Vec::new());
        }
    }

    /// A checkpoint, and the head in the log, so that there is a copy of it elsewhere.
    fn write_checkpoint(&mut self) -> Result<(), Fault<sink::Error>> {
        let mut draft = Draft::after(self.head);
        self.add(&mut draft, &self.parts.scribe.checkpoint());
        self.append(draft)?;
        self.unchecked = false;
        self.parts.shared.checked(self.head);
        let Head { seq, hash } = self.head;
        tracing::info!(seq, %hash, "audit head");
        Ok(())
    }

    /// Deletes what is too old, unless the clock that would say so is known to be wrong.
    fn prune(&mut self) {
        let age_counts = self.parts.scribe.clock.synchronised() != Some(false);
        self.parts.pruner.start(age_counts);
    }

    fn end(&mut self) {
        if self.retry.is_none() {
            let mut draft = Draft::after(self.head);
            self.add(&mut draft, &Event::Stop);
            match self.append(draft) {
                Ok(()) => self.publish(),
                Err(fault) => self.fail(&fault, Vec::new()),
            }
        }
        if self.retry.is_some() {
            let lost = self.parts.shared.rest() + self.kept.len();
            tracing::error!(lost, "stopped while the audit trail could not be written");
        }
    }

    /// Adds a record; gives the head that it makes. One that has no form is a defect; the others
    /// must not suffer from it.
    fn add(&self, draft: &mut Draft, event: &Event) -> Option<Head> {
        match draft.add(&self.parts.scribe, event) {
            Ok(head) => Some(head),
            Err(error) => {
                tracing::error!(%error, "a record of the audit trail has no form in JSON");
                None
            }
        }
    }
}
