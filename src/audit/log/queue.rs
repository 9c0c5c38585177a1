//! What is between those who have something to record and the thread that writes it: a queue with
//! a bound, and the word on whether the trail works. Nobody waits here for a disk.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::{oneshot, watch};

use super::{Failing, State};
use crate::audit::{chain::Head, event::Event};

/// Records that wait, at most: some ten megabytes, hours of lease ends, or the starts of more
/// requests than the daemon serves at once.
pub(super) const MOST_WAITING: usize = 10_000;

/// Entries that are written at once, at most: a disk does not get faster by more.
const MOST_AT_ONCE: usize = 1_000;

/// A record to write, and who waits for it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) event: Event,
    pub(super) waiter: Option<oneshot::Sender<Result<(), Failing>>>,
}

impl Entry {
    /// Whether somebody waited for it and does not any more: he was told that it failed.
    fn is_abandoned(&self) -> bool {
        let waiter = self.waiter.as_ref();
        waiter.is_some_and(oneshot::Sender::is_closed)
    }

    pub(super) fn answer(self, answer: Result<(), Failing>) {
        if let Some(waiter) = self.waiter {
            // Who is gone needs no answer.
            drop(waiter.send(answer));
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    queue: Mutex<Queue>,
    awake: Condvar,
    refused: AtomicU64,
    pub(super) state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct Queue {
    entries: VecDeque<Entry>,
    failing: Option<Failing>,
    lost: u64,
    reopen: bool,
    stuck: bool,
    closing: bool,
}

/// Why the thread is awake.
#[derive(Debug, Default)]
pub(super) struct Woken {
    pub(super) entries: Vec<Entry>,
    pub(super) reopen: bool,
    pub(super) stuck: bool,
    pub(super) closing: bool,
}

/// What a time without a trail has cost.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    pub(super) failing: Failing,
    pub(super) refused: u64,
    pub(super) lost: u64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            awake: Condvar::new(),
            refused: AtomicU64::new(0),
            state: watch::Sender::new(State::default()),
        }
    }

    /// Takes a record that nobody waits for. Where there is no room, it is counted as lost.
    pub(super) fn write(&self, event: Event) {
        let mut queue = self.lock();
        if queue.entries.len() >= MOST_WAITING {
            queue.lost += 1;
            self.state.send_modify(|state| state.lost += 1);
            return;
        }
        let waiter = None;
        queue.entries.push_back(Entry { event, waiter });
        self.awake.notify_one();
    }

    /// Takes a record that somebody waits for, unless that is in vain.
    pub(super) fn commit(
        &self,
        event: Event,
    ) -> Result<oneshot::Receiver<Result<(), Failing>>, Failing> {
        let mut queue = self.lock();
        if let Some(failing) = &queue.failing {
            return Err(failing.clone());
        }
        if queue.closing {
            return Err(Failing::now("the daemon is stopping"));
        }
        if queue.entries.len() >= MOST_WAITING {
            return Err(Failing::now("too many records wait to be written"));
        }
        let (waiter, answer) = oneshot::channel();
        let waiter = Some(waiter);
        queue.entries.push_back(Entry { event, waiter });
        self.awake.notify_one();
        Ok(answer)
    }

    /// Somebody has waited for too long: nobody else needs to, until the thread is back.
    pub(super) fn is_stuck(&self, cause: String) -> Failing {
        let mut queue = self.lock();
        queue.stuck = true;
        // It may have come back just now, and then nothing else would tell it.
        self.awake.notify_one();
        self.set_failing(&mut queue, cause)
    }

    /// The trail cannot be written. Everybody who waits for it is told.
    pub(super) fn fail(&self, cause: String) -> Failing {
        let mut queue = self.lock();
        let failing = self.set_failing(&mut queue, cause);
        let entries = mem::take(&mut queue.entries);
        let (waited, kept): (VecDeque<Entry>, _) = entries
            .into_iter()
            .partition(|entry| entry.waiter.is_some());
        queue.entries = kept;
        drop(queue);
        for entry in waited {
            entry.answer(Err(failing.clone()));
        }
        failing
    }

    /// One line in the log for each cause, not for each request.
    fn set_failing(&self, queue: &mut Queue, cause: String) -> Failing {
        let known = queue.failing.as_ref();
        if let Some(known) = known.filter(|known| known.cause == cause) {
            return known.clone();
        }
        let since = known.map_or_else(SystemTime::now, |known| known.since);
        let failing = Failing { since, cause };
        tracing::error!(
            cause = failing.cause,
            "the audit trail cannot be written; nothing is released"
        );
        queue.failing = Some(failing.clone());
        self.state
            .send_modify(|state| state.failing = Some(failing.clone()));
        failing
    }

    /// What a time without a trail has cost so far, if there is one.
    pub(super) fn outage(&self) -> Option<Outage> {
        let queue = self.lock();
        queue.failing.clone().map(|failing| Outage {
            failing,
            refused: self.refused.load(Ordering::Relaxed),
            lost: queue.lost,
        })
    }

    /// The outage is on record: the trail works again.
    pub(super) fn recovered(&self, outage: &Outage) {
        let mut queue = self.lock();
        queue.failing = None;
        queue.lost -= outage.lost;
        self.refused.fetch_sub(outage.refused, Ordering::Relaxed);
        self.state.send_modify(|state| state.failing = None);
        tracing::info!(
            refused = outage.refused,
            lost = outage.lost,
            "the audit trail is written again"
        );
    }

    /// The chain goes on here.
    pub(super) fn begin(&self, head: Head) {
        self.state.send_modify(|state| state.head = head);
    }

    /// Records up to here are durable.
    pub(super) fn advance(&self, head: Head) {
        self.state.send_modify(|state| {
            state.head = head;
            state.syncs += 1;
        });
    }

    /// The record there is a checkpoint.
    pub(super) fn checked(&self, head: Head) {
        self.state
            .send_modify(|state| state.checkpoint = Some(head));
    }

    /// Another sink had no room for so many.
    pub(super) fn missed(&self, count: u64) {
        if count > 0 {
            self.state.send_modify(|state| state.missed += count);
        }
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reopen(&self) {
        self.lock().reopen = true;
        self.awake.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.awake.notify_one();
    }

    /// Waits until there is something to do, or until `until`. While `take` is false, entries stay
    /// where they are.
    pub(super) fn wait(&self, until: Instant, take: bool) -> Woken {
        let mut queue = self.lock();
        loop {
            let some = take && !queue.entries.is_empty();
            let left = until.saturating_duration_since(Instant::now());
            let told = queue.reopen || queue.stuck || queue.closing;
            if some || told || left == Duration::ZERO {
                // What was told may change where the entries go.
                let takes = take && !queue.reopen && !queue.stuck;
                return Woken {
                    entries: if takes { queue.take() } else { Vec::new() },
                    reopen: mem::take(&mut queue.reopen),
                    stuck: mem::take(&mut queue.stuck),
                    closing: queue.closing,
                };
            }
            let waited = self.awake.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0
    }

    /// How many records nobody has begun to write.
    pub(super) fn waiting(&self) -> usize {
        self.lock().entries.len()
    }

    /// How many records nobody will write any more.
    pub(super) fn rest(&self) -> usize {
        self.lock().entries.drain(..).count()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn take(&mut self) -> Vec<Entry> {
        let count = self.entries.len().min(MOST_AT_ONCE);
        let taken = self.entries.drain(..count);
        taken.filter(|entry| !entry.is_abandoned()).collect()
    }
}
