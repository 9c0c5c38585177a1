//! What stands before one service: a vault, or a tenant of Entra. Requests of all jobs go through
//! in turns, job by job, so many at a time and within a rate. What the service says to one counts
//! for all: while it wants a pause nothing is sent, and when it fails again and again one request a
//! second is, until it answers. Whoever cannot wait that long is refused at once.

mod health;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until, timeout_at},
};

use self::health::{Health, Until};
use super::{fault::Sign, traffic::Traffic};
use crate::{
    error::{Detail, Error, Service, Trouble},
    limits::{Pace, Queue as _, Rate, Turns},
};

/// Whose request it is: the hash of the job's ID token.
pub(super) type Job = [u8; 32];

/// How much one service is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Requests at a time.
    pub(super) requests: usize,
    /// Requests in the course of time; `None` where no limit is known.
    pub(super) rate: Option<Rate>,
}

/// The gates to services of one kind, by what tells them apart.
#[derive(Debug)]
pub(super) struct Gates {
    service: Service,
    bounds: Bounds,
    traffic: Traffic,
    by_name: Mutex<HashMap<String, Arc<Gate>>>,
}

impl Gates {
    pub(super) fn new(service: Service, bounds: Bounds, traffic: Traffic) -> Self {
        Self {
            service,
            bounds,
            traffic,
            by_name: Mutex::default(),
        }
    }

    /// The gate to `name`.
    pub(super) fn to(&self, name: &str) -> Arc<Gate> {
        // An operator's rules name some dozen vaults; jobs can name tenants that do not exist.
        const MOST: usize = 1000;
        let mut gates = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(name) {
            return Arc::clone(gate);
        }
        if gates.len() >= MOST {
            let now = Instant::now();
            gates.retain(|_, gate| Arc::strong_count(gate) > 1 || !gate.state().is_rested(now));
        }
        let gate = Gate::new(self.service, self.bounds, self.traffic.clone());
        gates.insert(name.to_owned(), Arc::clone(&gate));
        gate
    }
}

/// The gate to one service.
#[derive(Debug)]
pub(super) struct Gate {
    service: Service,
    bounds: Bounds,
    traffic: Traffic,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: Turns<Job, VecDeque<oneshot::Sender<Word>>>,
    pace: Pace,
    health: Health,
    /// When somebody will look for who can go.
    alarm: Option<Instant>,
}

impl State {
    fn is_rested(&self, now: Instant) -> bool {
        self.pace.is_rested(now) && self.health.is_good(now)
    }
}

/// What one who waits is told.
#[derive(Debug)]
enum Word {
    Go(Pass),
    /// There is a pause: is it worth waiting for its end?
    Paused,
    Failing,
}

/// Leave to send one request.
#[derive(Debug)]
pub(super) struct Pass {
    gate: Arc<Gate>,
    since: Instant,
}

impl Gate {
    pub(super) fn new(service: Service, bounds: Bounds, traffic: Traffic) -> Arc<Self> {
        Arc::new(Self {
            service,
            bounds,
            traffic,
            state: Mutex::default(),
        })
    }

    pub(super) fn service(&self) -> Service {
        self.service
    }

    /// What is counted of the requests that go through.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Leave to send a request of `job`, as soon as it is its turn.
    pub(super) async fn pass(self: &Arc<Self>, job: Job, deadline: Instant) -> Result<Pass, Error> {
        let _waits = self.traffic.waits(self.service);
        loop {
            let word = self.wait(job, deadline)?;
            match timeout_at(deadline, word).await {
                Ok(Ok(Word::Go(pass))) => return Ok(pass),
                Ok(Ok(Word::Paused)) => {}
                Ok(Ok(Word::Failing)) => return Err(self.failing()),
                Ok(Err(_)) => {
                    let what = "a request to a service was forgotten";
                    return Err(Error::Bug { what });
                }
                Err(_) => {
                    let waiting = match self.service {
                        Service::Entra => "waiting for its turn at Microsoft Entra ID",
                        Service::KeyVault => "waiting for its turn at Key Vault",
                    };
                    return Err(Error::DeadlineExceeded { waiting });
                }
            }
        }
    }

    /// Joins those who wait, unless it is known to be in vain.
    fn wait(
        self: &Arc<Self>,
        job: Job,
        deadline: Instant,
    ) -> Result<oneshot::Receiver<Word>, Error> {
        let (sender, receiver) = oneshot::channel();
        let now = Instant::now();
        let mut state = self.state();
        match state.health.holds(now) {
            Some(Until::Paused(until)) if until >= deadline => {
                return Err(Error::UpstreamThrottled {
                    service: self.service,
                    retry_after: Some(until - now),
                    detail: Detail("not asked: it wants a pause".to_owned()),
                });
            }
            Some(Until::Probe(until)) if until >= deadline => return Err(self.failing()),
            _ => {}
        }
        state.waiting.add(job, |queue| queue.push_back(sender));
        drop(state);
        self.let_go();
        Ok(receiver)
    }

    /// Lets all go who can.
    fn let_go(self: &Arc<Self>) {
        let now = Instant::now();
        let mut going = Vec::new();
        let mut state = self.state();
        while state.running < self.bounds.requests {
            let held = state.health.holds(now).map(Until::at);
            let paced = self.bounds.rate.map(|rate| state.pace.next(rate, now));
            if let Some(at) = held.max(paced).filter(|at| *at > now) {
                self.look_again(&mut state, at);
                break;
            }
            let Some(next) = state.waiting.next() else {
                break;
            };
            if let Some(rate) = self.bounds.rate {
                let taken = state.pace.take(rate, now);
                debug_assert!(taken.is_ok(), "the pace was looked at above");
            }
            state.health.asked(now);
            state.running += 1;
            going.push(next);
        }
        drop(state);
        for next in going {
            let gate = Arc::clone(self);
            // Who has gone away meanwhile gives the pass back unused.
            drop(next.send(Word::Go(Pass { gate, since: now })));
        }
    }

    /// Has somebody look again at `at`, if anybody waits.
    fn look_again(self: &Arc<Self>, state: &mut State, at: Instant) {
        if state.waiting.is_empty() || state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        state.alarm = Some(at);
        let gate = Arc::clone(self);
        tokio::spawn(async move {
            sleep_until(at).await;
            gate.state().alarm.take_if(|alarm| *alarm <= at);
            gate.let_go();
        });
    }

    fn failing(&self) -> Error {
        Error::UpstreamUnavailable {
            service: self.service,
            problem: Trouble::Failing,
            detail: Detail("not asked: the last requests to it failed".to_owned()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The request ended. Where this is not called its caller hung up, which says nothing.
    pub(super) fn ended(self, sign: Sign) {
        let now = Instant::now();
        if matches!(sign, Sign::Throttles(_) | Sign::Fails(Some(_))) {
            self.gate.traffic.paused(self.gate.service);
        }
        let mut state = self.gate.state();
        let word: Option<fn() -> Word> = match sign {
            Sign::Works => {
                state.health.works(self.since);
                None
            }
            Sign::Throttles(asked) => {
                state.health.throttles(self.since, now, asked);
                if let Some(rate) = self.gate.bounds.rate {
                    // All come back when the pause ends, and should not all be sent at once.
                    let end = state.health.holds(now).map_or(now, Until::at);
                    state.pace.drain(rate, end);
                }
                Some(|| Word::Paused)
            }
            Sign::Fails(asked) => match (state.health.fails(self.since, now, asked), asked) {
                (true, _) => Some(|| Word::Failing),
                (false, Some(_)) => Some(|| Word::Paused),
                (false, None) => None,
            },
        };
        let told = word.map(|word| (word, mem::take(&mut state.waiting)));
        drop(state);
        if let Some((word, mut waiting)) = told {
            while let Some(waiting) = waiting.next() {
                drop(waiting.send(word()));
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.state().running -= 1;
        self.gate.let_go();
    }
}
