//! The daemon's log of audit records. One thread writes them, in one order, so that a slow or a
//! hanging disk holds up nobody who does not wait for it, and those who wait share one sync. A
//! record counts when the sink that the operator chose has it; while that cannot be, nothing is
//! released, and the log says since when and why.

mod around;
mod draft;
mod queue;
mod store;
mod thread;

use std::{
    fmt, io,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::{Duration, SystemTime},
};

use tokio::sync::watch;

pub(crate) use self::draft::Draft;
use self::{
    around::{Followers, Pruner},
    draft::Scribe,
    queue::Shared,
    store::Store,
    thread::{Parts, Thread},
};
use super::{
    chain::Head,
    event::Event,
    key::{self, SigningKey},
    sink::{self, current::Resumed, follower::Lag},
};
use crate::config;

/// A handle to the log. All of them are of the same log.
#[derive(Clone, Debug)]
pub struct Log {
    shared: Arc<Shared>,
    instance: Arc<str>,
    timeout: Duration,
    place: &'static str,
    followers: Arc<[Lag]>,
}

/// The thread that writes. Dropping this ends it, with a `stop` record.
#[derive(Debug)]
#[must_use = "the log is closed when this is dropped"]
pub struct Writer {
    shared: Arc<Shared>,
    ended: mpsc::Receiver<()>,
    /// Until it is closed.
    thread: Option<JoinHandle<()>>,
}

/// The state of the log.
#[derive(Clone, Debug)]
pub struct State {
    /// The last record that is durable.
    pub head: Head,
    /// The last checkpoint that this daemon wrote.
    pub checkpoint: Option<Head>,
    /// Why nothing can be recorded; `None`: it can.
    pub failing: Option<Failing>,
    /// How many records that nobody waited for found no room, since the start.
    pub lost: u64,
    /// How many records a sink that does not count had no room for, since the start.
    pub missed: u64,
    /// How often records were made durable, since the start.
    pub syncs: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            head: Head::GENESIS,
            checkpoint: None,
            failing: None,
            lost: 0,
            missed: 0,
            syncs: 0,
        }
    }
}

/// The trail cannot be written, so nothing may be released.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the audit trail cannot be written since {}: {cause}", humantime::format_rfc3339_seconds(*since))]
pub struct Failing {
    /// Since when.
    pub since: SystemTime,
    /// Why, for the operator.
    pub cause: String,
}

impl Failing {
    fn now(cause: &str) -> Self {
        Self {
            since: SystemTime::now(),
            cause: cause.to_owned(),
        }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The sink that counts cannot be used.
    #[error(transparent)]
    Sink(#[from] sink::Error),
    /// The signing key cannot be used.
    #[error("audit.signing_key: {0}")]
    Key(#[from] key::Error),
    /// The machine gives no random numbers, or no thread.
    #[error("the audit trail: {0}")]
    System(#[from] io::Error),
}

/// The end of the log did not come in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the audit trail was not closed within {} s; its last records may be missing", .0.as_secs())]
pub struct Unclosed(Duration);

impl Log {
    /// Opens the sinks, goes on with the chain that is there or begins one, and starts the thread.
    pub fn open(settings: &config::audit::Audit) -> Result<(Self, Writer), Error> {
        let key = settings.signing_key.as_deref().map(SigningKey::load);
        let key = key.transpose()?;
        let store = Store::open(settings)?;
        let (followers, resumed) = Followers::start(settings)?;
        let lags = followers.lags();
        let instance: Arc<str> = random_instance()?.into();
        let shared = Arc::new(Shared::new());
        let parts = Parts {
            pruner: Pruner::new(settings, shared.clone()),
            scribe: Scribe::new(instance.clone(), key),
            interval: settings.checkpoint_interval,
            shared,
            store,
            followers,
        };
        Self::start(parts, resumed, instance, settings.timeout, lags)
    }

    /// A log that keeps nothing, for benchmarks and tests of what is around it.
    pub fn to_nowhere() -> Result<(Self, Writer), Error> {
        const LONG: Duration = Duration::from_secs(60 * 60);
        let instance: Arc<str> = random_instance()?.into();
        let shared = Arc::new(Shared::new());
        let parts = Parts {
            pruner: Pruner::nothing(shared.clone()),
            scribe: Scribe::new(instance.clone(), None),
            interval: LONG,
            shared,
            store: Store::Nowhere,
            followers: Followers::default(),
        };
        Self::start(parts, None, instance, LONG, Vec::new())
    }

    fn start(
        parts: Parts,
        resumed: Option<Resumed>,
        instance: Arc<str>,
        timeout: Duration,
        followers: Vec<Lag>,
    ) -> Result<(Self, Writer), Error> {
        let shared = parts.shared.clone();
        let log = Self {
            place: parts.store.place(),
            shared: shared.clone(),
            instance,
            timeout,
            followers: followers.into(),
        };
        let thread = Thread::open(parts, resumed)?;
        let (ending, ended) = mpsc::channel();
        let threads = std::thread::Builder::new().name("audit".to_owned());
        let thread = threads.spawn(move || thread.run(ending))?;
        let writer = Writer {
            shared,
            ended,
            thread: Some(thread),
        };
        Ok((log, writer))
    }

    /// Which run of the daemon this is, as all its records say.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Records something that nobody waits for. While the trail cannot be written it is kept, up
    /// to a bound, and written later, in order.
    pub fn write(&self, event: Event) {
        self.shared.write(event);
    }

    /// Records something, and returns when it is durable. An error means that it may not be: it is
    /// not tried again, and what depends on it must not happen.
    pub async fn commit(&self, event: Event) -> Result<(), Failing> {
        let answer = self.shared.commit(event)?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(Failing::now("the thread that writes it has ended")),
            Err(_) => {
                let waited = humantime::format_duration(self.timeout);
                let cause = format!("{} has not answered for {waited}", self.place);
                Err(self.shared.is_stuck(cause))
            }
        }
    }

    /// Why nothing can be recorded at the moment; to be asked before work is done in vain.
    #[must_use]
    pub fn failing(&self) -> Option<Failing> {
        self.shared.state.borrow().failing.clone()
    }

    /// Counts a request that was refused because of [`Log::failing`].
    pub fn refused(&self) {
        self.shared.refused();
    }

    /// How many records wait to be durable.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting()
    }

    /// How many records each of the other sinks does not have yet, by its name.
    #[must_use]
    pub fn lags(&self) -> Vec<(&'static str, usize)> {
        let followers = self.followers.iter();
        followers.map(|lag| (lag.sink(), lag.records())).collect()
    }

    /// The state, and every change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.shared.state.subscribe()
    }

    /// Looks again at what is at the path, as after logrotate has renamed the file.
    pub fn reopen(&self) {
        self.shared.reopen();
    }
}

impl Writer {
    /// Writes what is left, a `stop` record and a checkpoint, and ends the thread; waits for that
    /// no longer than `timeout`, whatever the sink does. The other sinks get a moment more.
    pub fn close(mut self, timeout: Duration) -> Result<(), Unclosed> {
        self.end(timeout)
    }

    fn end(&mut self, timeout: Duration) -> Result<(), Unclosed> {
        let thread = self.thread.take();
        self.shared.close();
        if let Err(mpsc::RecvTimeoutError::Timeout) = self.ended.recv_timeout(timeout) {
            return Err(Unclosed(timeout));
        }
        // An error would be a panic, which has been said by then.
        thread.map_or(Ok(()), |thread| thread.join().or(Ok(())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // Longer than a disk takes that works.
        const LONGEST: Duration = Duration::from_secs(5);
        if self.thread.is_none() {
            return;
        }
        if let Err(error) = self.end(LONGEST) {
            tracing::error!("{error}");
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failing {
            Some(failing) => failing.fmt(f),
            None => write!(f, "the audit trail is at {}", self.head),
        }
    }
}

/// 16 hexadecimal digits.
fn random_instance() -> io::Result<String> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(format!("{:016x}", u64::from_be_bytes(random)))
}

#[cfg(test)]
mod tests;
