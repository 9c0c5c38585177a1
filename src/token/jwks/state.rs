//! What is known of an issuer's keys, and the decisions that follow from it. Plain values and
//! given times: nothing in here waits, fetches or looks at a clock.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::token::{fetch, key::KeySet};

// A server that says less, or nothing can be kept, is asked once a minute all the same.
const SHORTEST: Duration = Duration::from_secs(60);

// What GitLab itself says. A key withdrawn in an emergency is not to be trusted for longer.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

// Where the server says nothing: a withdrawn key is out within the hour.
const UNSAID: Duration = Duration::from_secs(60 * 60);

// A night's outage of GitLab must stop no job; keys that nobody could check for longer than a day
// beyond their time may have been withdrawn.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

// Three at once: a rotation, one more that follows it, and one made-up id in between.
const BURST: u32 = 3;

// Then two a minute: nothing to a server, and the longest that a job's new key can go unnoticed.
const REFILL: Duration = Duration::from_secs(30);

/// What to do for a token that names a certain key.
#[derive(Debug)]
pub(super) enum Step {
    /// These have the key, or certainly not.
    Use(Arc<KeySet>),
    /// The same, and start a fetch that nobody waits for.
    RefreshAndUse(Arc<KeySet>),
    /// Wait for the fetch that is under way, then ask again.
    Join(Flight),
    /// Start a fetch and wait for it, then ask again.
    Fetch,
    /// Too many fetches already.
    Refuse { retry_after: Duration },
}

/// A fetch that is under way.
#[derive(Clone, Debug)]
pub(super) struct Flight(pub(super) watch::Receiver<()>);

impl Flight {
    /// Returns when the fetch has ended, however it did.
    pub(super) async fn landed(mut self) {
        // Nothing is ever sent: an error says that the sender is gone.
        while self.0.changed().await.is_ok() {}
    }

    fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }
}

/// Keys and how long they keep.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) keys: Arc<KeySet>,
    pub(super) fetched_at: Instant,
    /// The number of the fetch that they came with.
    flight: u64,
    /// From here on they are fetched again ahead of time, so that no job waits for it.
    refresh_at: Instant,
    fresh_until: Instant,
    pub(super) usable_until: Instant,
}

#[derive(Debug)]
pub(super) struct State {
    known: Option<Known>,
    /// Why the last fetch failed; `None` when it did not.
    failure: Option<fetch::Error>,
    flight: Option<Flight>,
    /// How many fetches were started, which is also the number of the last.
    started: u64,
    /// The number of the last that ended.
    ended: u64,
    budget: Budget,
}

impl State {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            known: None,
            failure: None,
            flight: None,
            started: 0,
            ended: 0,
            budget: Budget::new(now),
        }
    }

    pub(super) fn started(&self) -> u64 {
        self.started
    }

    pub(super) fn failure(&self) -> Option<&fetch::Error> {
        self.failure.as_ref()
    }

    /// The keys, unless they are too old for any use.
    pub(super) fn known(&self, now: Instant) -> Option<&Known> {
        self.known.as_ref().filter(|known| now < known.usable_until)
    }

    /// What to do for `key_id`, for a caller that came when `seen` fetches had been started. Takes
    /// from the budget what the answer costs.
    pub(super) fn step(&mut self, key_id: &str, seen: u64, now: Instant) -> Step {
        let retried = self.ended > seen;
        let failing = self.failure.is_some();
        let under_way = self.under_way();
        if let Some(known) = self.known(now) {
            let keys = Arc::clone(&known.keys);
            let (fresh, early) = (now < known.fresh_until, now < known.refresh_at);
            if keys.has(key_id) {
                // Stale keys are used at once only if asking for newer ones has failed already.
                if fresh || failing || retried {
                    let refresh = !early && under_way.is_none() && self.budget.take(now);
                    return if refresh {
                        Step::RefreshAndUse(keys)
                    } else {
                        Step::Use(keys)
                    };
                }
            } else if known.flight > seen {
                // Fetched after the token was there: a key that it has not is not published.
                return Step::Use(keys);
            }
            return match under_way {
                Some(flight) => Step::Join(flight),
                None if retried && failing => self.refuse(now),
                None if self.budget.take(now) => Step::Fetch,
                None => self.refuse(now),
            };
        }
        match under_way {
            Some(flight) => Step::Join(flight),
            None if retried => self.refuse(now),
            None if self.budget.take(now) => Step::Fetch,
            None => self.refuse(now),
        }
    }

    /// Whether to fetch because there is nothing yet, which takes from the budget.
    pub(super) fn begin_without_keys(&mut self, now: Instant) -> bool {
        self.known(now).is_none() && self.under_way().is_none() && self.budget.take(now)
    }

    /// When to fetch whether or not anybody asks: ahead of the keys' time, at once where there are
    /// none.
    pub(super) fn due(&self, now: Instant) -> Instant {
        self.known(now).map_or(now, |known| known.refresh_at)
    }

    /// Whether to fetch now although nobody asks, which takes from the budget; but never the last,
    /// which is for a job.
    pub(super) fn begin_unasked(&mut self, now: Instant) -> bool {
        now >= self.due(now) && self.under_way().is_none() && self.budget.take_but_last(now)
    }

    /// A fetch begins.
    pub(super) fn take_off(&mut self, flight: Flight) -> Flight {
        self.started += 1;
        self.flight = Some(flight.clone());
        flight
    }

    /// The fetch has ended.
    pub(super) fn land(
        &mut self,
        outcome: Result<(KeySet, Option<String>), fetch::Error>,
        now: Instant,
    ) {
        self.flight = None;
        self.ended = self.started;
        match outcome {
            Ok((keys, cache_control)) => {
                let life = life(cache_control.as_deref());
                self.failure = None;
                self.known = Some(Known {
                    keys: Arc::new(keys),
                    fetched_at: now,
                    flight: self.started,
                    refresh_at: now + life.mul_f32(0.75),
                    fresh_until: now + life,
                    usable_until: now + life + STALE,
                });
            }
            Err(error) => self.failure = Some(error),
        }
    }

    /// The fetch under way; not one whose task is gone without having ended it.
    fn under_way(&self) -> Option<Flight> {
        self.flight.clone().filter(|flight| !flight.is_over())
    }

    fn refuse(&self, now: Instant) -> Step {
        let retry_after = self.budget.next(now);
        Step::Refuse { retry_after }
    }
}

/// How many fetches may be started.
#[derive(Debug)]
struct Budget {
    left: u32,
    /// When the last was added.
    filled_at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            filled_at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && now >= self.filled_at + REFILL {
            self.left += 1;
            self.filled_at += REFILL;
        }
        if self.left == BURST {
            self.filled_at = now;
        }
        let taken = self.left.checked_sub(1);
        self.left = taken.unwrap_or(0);
        taken.is_some()
    }

    /// The same, where one is left after it.
    fn take_but_last(&mut self, now: Instant) -> bool {
        let taken = self.take(now);
        if taken && self.left == 0 {
            self.left = 1;
            return false;
        }
        taken
    }

    /// How long until there is one.
    fn next(&self, now: Instant) -> Duration {
        match self.left {
            0 => (self.filled_at + REFILL).saturating_duration_since(now),
            _ => Duration::ZERO,
        }
    }
}

/// How long keys may be kept (RFC 9111 §5.2.2), within our bounds.
fn life(cache_control: Option<&str>) -> Duration {
    let mut life = UNSAID;
    for directive in cache_control.unwrap_or_default().split(',') {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return SHORTEST,
            "max-age" => {
                let seconds = value.trim().trim_matches('"').parse();
                life = seconds.map_or(SHORTEST, Duration::from_secs);
            }
            _ => {}
        }
    }
    life.clamp(SHORTEST, LONGEST)
}
