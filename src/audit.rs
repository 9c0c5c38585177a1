//! The audit trail: who read what, on record before anything is released, in a form that shows
//! when something was altered or is missing. A [`Record`] goes with every request and always
//! writes; [`chain`] is the form of the lines; [`log`] writes them, and says when it cannot, and
//! then no secret leaves. No token and no value ever comes here, nor a hash of a value.

pub mod chain;
pub mod clock;
#[cfg(test)]
mod documented;
pub mod event;
pub mod export;
pub mod key;
pub mod log;
pub mod query;
mod record;
mod refusals;
pub mod sink;
pub mod trail;
pub mod user;
pub mod verify;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::{sync::watch, time::Instant};

pub use self::record::{Intended, Record, Trace};
use self::{
    event::{Caller, Event},
    log::{Log, State},
    refusals::Refusals,
};
use crate::{
    error::Error,
    metrics::{Front, Metrics},
};

/// The trail of a daemon.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Log,
    metrics: Metrics,
    refusals: Mutex<Refusals>,
}

impl Audit {
    /// A trail in `log`, whose requests are counted in `metrics`.
    #[must_use]
    pub fn new(log: Log, metrics: Metrics) -> Self {
        Self(Arc::new(Inner {
            log,
            metrics,
            refusals: Mutex::default(),
        }))
    }

    /// Opens the record of a request.
    pub fn record(&self, front: Front, call: &str, request_id: &str, caller: Caller) -> Record {
        Record::open(self, front, call, request_id, caller)
    }

    /// Whether records can be written. Where not, nothing may be released, and so nothing need be
    /// begun.
    pub fn ready(&self) -> Result<(), Error> {
        match self.0.log.failing() {
            None => Ok(()),
            Some(failing) => Err(Error::AuditFailed(failing)),
        }
    }

    /// Records something that nobody waits for.
    pub fn write(&self, event: Event) {
        self.0.log.write(event);
    }

    /// The state of the trail.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.log.watch().borrow().clone()
    }

    /// How many records wait to be durable.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.log.waiting()
    }

    /// How many records each of the sinks that do not count does not have yet, by its name.
    #[must_use]
    pub fn lags(&self) -> Vec<(&'static str, usize)> {
        self.0.log.lags()
    }

    /// The state of the trail, as it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.0.log.watch()
    }

    /// Opens the trail's file anew, for whoever has renamed it.
    pub fn reopen(&self) {
        self.0.log.reopen();
    }

    /// Sums up once a minute what was only counted, for as long as it is polled.
    pub async fn sum_up(&self) {
        loop {
            tokio::time::sleep(refusals::MINUTE).await;
            self.flush();
        }
    }

    /// Records what was only counted so far.
    pub fn flush(&self) {
        if let Some(refused) = self.refusals().sum_up(Instant::now()) {
            self.write(Event::Refused(refused));
        }
    }

    /// Records `event` and returns when that is durable.
    async fn commit(&self, event: Event) -> Result<(), Error> {
        self.0.log.commit(event).await.map_err(Error::AuditFailed)
    }

    /// Counts a request that was refused because there is no trail.
    fn turned_away(&self) {
        self.0.log.refused();
    }

    /// Where requests are counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.0
            .refusals
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
