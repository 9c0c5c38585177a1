//! What goes on beside the sink that counts: the other sinks, and the deletion of old files. Each
//! has a thread of its own, so that nothing here can hold up a record.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use super::{Draft, queue::Shared};
use crate::{
    audit::{
        event::{Event, Pruned},
        sink::{
            copy::Copy,
            current::{Current, Resumed},
            follower::{Follower, Lag, Sink},
            retention::Retention,
            syslog::Syslog,
        },
    },
    config::{self, audit::Durable},
};

/// The sinks that do not count.
#[derive(Debug, Default)]
pub(super) struct Followers {
    all: Vec<Follower>,
    wants_header: Arc<AtomicBool>,
}

impl Followers {
    /// Starts those that are configured. Where the file is one of them, the chain goes on where
    /// it ends, if it can be had.
    pub(super) fn start(settings: &config::Audit) -> io::Result<(Self, Option<Resumed>)> {
        let mut followers = Self::default();
        let mut resumed = None;
        let file = settings.file.as_ref();
        if let Some(file) = file.filter(|_| settings.durable != Durable::File) {
            let mut current = Current::new(file.clone());
            resumed = current
                .resume(None)
                .map_err(|error| {
                    tracing::error!(%error, "the audit file, which is a copy, misses records");
                })
                .ok();
            let copy = Copy::new(current, resumed.is_some(), followers.wants_header.clone());
            followers.add(Sink::File(Box::new(copy)))?;
        }
        let syslog = settings.syslog.as_ref();
        if let Some(syslog) = syslog.filter(|_| settings.durable != Durable::Syslog) {
            let syslog = Syslog::new(syslog, settings.timeout)?;
            followers.add(Sink::Syslog(Box::new(syslog)))?;
        }
        if settings.stdout {
            followers.add(Sink::Stdout)?;
        }
        Ok((followers, resumed))
    }

    fn add(&mut self, sink: Sink) -> io::Result<()> {
        self.all.push(Follower::start(sink)?);
        Ok(())
    }

    /// Hands the lines to all of them; gives how many there was no room for.
    pub(super) fn send(&mut self, draft: Draft) -> u64 {
        let draft = Arc::new(draft);
        let sent = self.all.iter_mut().map(|follower| follower.send(&draft));
        sent.sum()
    }

    /// How far behind each of them is, as long as the handle is held.
    pub(super) fn lags(&self) -> Vec<Lag> {
        self.all.iter().map(Follower::lag).collect()
    }

    /// Whether a header is needed before the next record, for a file to begin with.
    pub(super) fn want_header(&self) -> bool {
        self.wants_header.swap(false, Ordering::Relaxed)
    }

    /// Lets them send what they have, for no longer than `until`.
    pub(super) fn close(&mut self, until: Instant) {
        for follower in self.all.drain(..) {
            follower.close(until);
        }
    }
}

/// Deletes old files, from time to time.
#[derive(Debug)]
pub(super) struct Pruner {
    retention: Option<Arc<Mutex<Retention>>>,
    running: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Pruner {
    pub(super) fn new(settings: &config::Audit, shared: Arc<Shared>) -> Self {
        let retention = settings.file.as_ref().and_then(Retention::new);
        Self {
            retention: retention.map(|retention| Arc::new(Mutex::new(retention))),
            running: None,
            shared,
        }
    }

    pub(super) fn nothing(shared: Arc<Shared>) -> Self {
        Self {
            retention: None,
            running: None,
            shared,
        }
    }

    /// Has a look, unless it is still at the last one.
    pub(super) fn start(&mut self, age_counts: bool) {
        let running = self.running.as_ref();
        let Some(retention) = &self.retention else {
            return;
        };
        if running.is_some_and(|running| !running.is_finished()) {
            return;
        }
        let (retention, shared) = (retention.clone(), self.shared.clone());
        let prune = move || {
            let mut retention = retention.lock().unwrap_or_else(PoisonError::into_inner);
            retention.prune(age_counts, |pruned| is_on_record(&shared, pruned));
        };
        let thread = std::thread::Builder::new().name("audit pruner".to_owned());
        match thread.spawn(prune) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::warn!(%error, "cannot look for audit files that are too old"),
        }
    }
}

fn is_on_record(shared: &Shared, pruned: Pruned) -> bool {
    let answer = shared.commit(Event::Pruned(pruned));
    answer.is_ok_and(|answer| matches!(answer.blocking_recv(), Ok(Ok(()))))
}
