//! The log of what the emulated services were asked.
//!
//! An entry is made when a request's head arrives and completed as it goes on, so that a request
//! nobody waited for is visible too. Nothing is redacted: the values are a test's own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;

use crate::call::{Call, Route};
use crate::shared::Shared;

/// Entries kept: more than any test sends, little enough for a long-running emulator.
const KEPT: usize = 10_000;

/// One request, as `GET /requests` shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Request {
    /// When its head arrived, by the emulator's clock.
    pub time: String,
    /// The host it was sent to, with the port if the client named one.
    pub host: String,
    /// Its method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Its headers, names in lower case.
    pub headers: Map<String, Value>,
    /// Its body; bytes that are not UTF-8 are replaced.
    pub body: String,
    /// The answer's status; none yet, or none ever.
    pub status: Option<u16>,
    /// What it was for: token, secret, jwks, discovery, openid, instance, arm, proxy, other.
    pub route: String,
    /// Whether it is still being handled.
    pub in_flight: bool,
    /// Whether the client went away before it had the whole answer.
    pub cancelled: bool,
}

/// Connections to the TLS listener.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connections {
    /// Since start.
    pub accepted: u64,
    /// Now.
    pub open: u64,
}

/// The log.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    entries: Shared<VecDeque<Entry>>,
    active: Arc<AtomicU64>,
    accepted: AtomicU64,
    open: Arc<AtomicU64>,
    closing: Notify,
}

type Entry = Arc<Shared<Request>>;

impl Requests {
    /// Begins an entry; it ends with the guard.
    pub(crate) fn open(&self, time: String, call: &Call) -> InFlight {
        let entry = Arc::new(Shared::new(Request {
            time,
            host: call.authority.clone(),
            method: call.method.to_string(),
            path: call.target.clone(),
            headers: headers(call),
            body: String::new(),
            status: None,
            route: call.route.name().to_owned(),
            in_flight: true,
            cancelled: false,
        }));
        // A tunnel is no request to a service; what goes through it is counted on its own.
        let upstream = call.route != Route::Proxy;
        let mut entries = self.entries.lock();
        if entries.len() == KEPT {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        InFlight {
            entry,
            active: upstream.then(|| Count::new(&self.active)),
            finished: false,
        }
    }

    pub(crate) fn all(&self) -> Vec<Request> {
        let entries = self.entries.lock();
        entries.iter().map(|entry| entry.lock().clone()).collect()
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().clear();
    }

    /// Requests being handled now.
    pub(crate) fn active(&self) -> u64 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn connected(&self) -> Count {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Count::new(&self.open)
    }

    /// Closes every connection that is open now.
    pub(crate) fn close_connections(&self) {
        self.closing.notify_waiters();
    }

    /// Waits until all connections are closed.
    pub(crate) async fn closing(&self) {
        self.closing.notified().await;
    }

    pub(crate) fn connections(&self) -> Connections {
        Connections {
            accepted: self.accepted.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
        }
    }
}

fn headers(call: &Call) -> Map<String, Value> {
    let mut headers = Map::new();
    for (name, value) in &call.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let entry = headers.entry(name.as_str()).or_insert(Value::Null);
        // A header that occurs twice reads like one with a list.
        *entry = match entry.as_str() {
            Some(first) => format!("{first}, {value}").into(),
            None => value.into(),
        };
    }
    headers
}

/// One more of something, while it lives.
#[derive(Debug)]
pub(crate) struct Count(Arc<AtomicU64>);

impl Count {
    fn new(counter: &Arc<AtomicU64>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request being handled. Dropped before `finish`, it was cancelled by the client.
#[derive(Debug)]
pub(crate) struct InFlight {
    entry: Entry,
    #[expect(dead_code, reason = "counts for as long as it lives")]
    active: Option<Count>,
    finished: bool,
}

impl InFlight {
    pub(crate) fn body(&self, body: &[u8]) {
        self.entry.lock().body = String::from_utf8_lossy(body).into_owned();
    }

    /// The answer's head is on its way.
    pub(crate) fn answered(&self, status: u16) {
        self.entry.lock().status = Some(status);
    }

    /// There is nothing more to come, and the client did not leave.
    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut entry = self.entry.lock();
        entry.in_flight = false;
        entry.cancelled = !self.finished;
    }
}
