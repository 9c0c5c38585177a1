//! Which connections there are, who has them, and since when nobody uses them.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tonic::{Status, body::Body};

use crate::caller::Principal;

/// How many there can be, and how long one may be unused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) most: usize,
    pub(crate) idle_timeout: Duration,
}

/// The connections of the daemon.
#[derive(Debug)]
pub(crate) struct Connections {
    limits: Limits,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Entry>>,
    /// One of them closed, or has nothing to do any more.
    changed: Notify,
}

#[derive(Debug)]
struct Entry {
    of: Option<Principal>,
    requests: usize,
    had_one: bool,
    /// Since when there is no request on it.
    since: Instant,
    evict: Arc<Notify>,
    evicted: bool,
}

impl Connections {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            next: AtomicU64::default(),
            open: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Waits until there is room for another one, and makes some if nobody needs it.
    pub(super) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            if self.has_room() {
                return;
            }
            changed.await;
        }
    }

    fn has_room(&self) -> bool {
        let mut open = self.entries();
        if open.len() < self.limits.most {
            return true;
        }
        // One at a time: each that closes is asked about again.
        if !open.values().any(|entry| entry.evicted)
            && let Some(entry) = spare(&mut open)
        {
            entry.evicted = true;
            entry.evict.notify_one();
        }
        false
    }

    /// A new connection, of `of` as far as that is known when it begins.
    pub(super) fn open(self: &Arc<Self>, of: Option<Principal>) -> Open {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let evict = Arc::new(Notify::new());
        let entry = Entry {
            of,
            requests: 0,
            had_one: false,
            since: Instant::now(),
            evict: Arc::clone(&evict),
            evicted: false,
        };
        self.entries().insert(id, entry);
        Open {
            id,
            evict,
            connections: Arc::clone(self),
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Entry>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest unused connection of whoever has the most unused ones.
fn spare(open: &mut HashMap<u64, Entry>) -> Option<&mut Entry> {
    let mut callers: HashMap<Option<&Principal>, usize> = HashMap::new();
    for entry in open.values().filter(|entry| entry.requests == 0) {
        *callers.entry(entry.of.as_ref()).or_default() += 1;
    }
    let (most, _) = callers.into_iter().max_by_key(|(_, unused)| *unused)?;
    let most = most.cloned();
    let unused = open.values_mut();
    let unused = unused.filter(|entry| entry.of == most && entry.requests == 0);
    unused.min_by_key(|entry| entry.since)
}

/// A connection. It counts until this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    id: u64,
    evict: Arc<Notify>,
    connections: Arc<Connections>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connections.entries().remove(&self.id);
        self.connections.changed.notify_waiters();
    }
}

impl Open {
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// A request on it, until the guard is dropped.
    pub(super) fn busy(&self) -> Busy {
        if let Some(entry) = self.connections.entries().get_mut(&self.id) {
            entry.requests += 1;
            entry.had_one = true;
        }
        self.connections.changed.notify_waiters();
        Busy {
            id: self.id,
            connections: Arc::clone(&self.connections),
        }
    }

    /// Waits until it has to make room, and nobody uses it.
    pub(super) async fn evicted(&self) {
        loop {
            self.evict.notified().await;
            let mut open = self.connections.entries();
            match open.get_mut(&self.id) {
                // A request came at the same moment: another connection has to go.
                Some(entry) if entry.requests > 0 => entry.evicted = false,
                _ => return,
            }
            drop(open);
            self.connections.changed.notify_waiters();
        }
    }

    /// Waits until nobody has used it for as long as it may be unused, or for `first` where there
    /// never was a request.
    pub(super) async fn unused(&self, first: Duration) {
        let usual = self.connections.limits.idle_timeout;
        self.unused_since(Instant::now(), |had_one| {
            if had_one { usual } else { first.min(usual) }
        })
        .await;
    }

    /// Waits until there was a request on it, but no longer than for `time`.
    pub(super) async fn asked(&self, time: Duration) {
        let asked = async {
            loop {
                let changed = self.connections.changed.notified();
                if self
                    .connections
                    .entries()
                    .get(&self.id)
                    .is_none_or(|entry| entry.had_one)
                {
                    return;
                }
                changed.await;
            }
        };
        // Who has not asked by then is not about to.
        drop(tokio::time::timeout(time, asked).await);
    }

    /// Waits until nobody uses it, and then for `time` at least.
    pub(super) async fn unused_for(&self, time: Duration) {
        self.unused_since(Instant::now(), |_| time).await;
    }

    async fn unused_since(&self, now: Instant, time: impl Fn(bool) -> Duration) {
        loop {
            let end = match self.connections.entries().get(&self.id) {
                Some(entry) if entry.requests == 0 => entry.since.max(now) + time(entry.had_one),
                // Asked again when it could be over at the earliest.
                Some(entry) => Instant::now() + time(entry.had_one),
                None => return,
            };
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// A request on a connection.
#[derive(Debug)]
pub(super) struct Busy {
    id: u64,
    connections: Arc<Connections>,
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut open = self.connections.entries();
        let Some(entry) = open.get_mut(&self.id) else {
            return;
        };
        entry.requests -= 1;
        if entry.requests == 0 {
            entry.since = Instant::now();
            drop(open);
            self.connections.changed.notify_waiters();
        }
    }
}

/// A body during which its connection is busy.
pub(super) struct Held {
    body: Body,
    busy: Option<Busy>,
}

impl Held {
    pub(super) fn new(body: Body, busy: Busy) -> Self {
        let busy = Some(busy);
        Self { body, busy }
    }
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let next = Pin::new(&mut self.body).poll_frame(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.busy = None;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
