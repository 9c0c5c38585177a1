//! Which requests are worked on: so many at a time, so many more that wait for their turn, and a
//! refusal at once for everyone beyond. Turns go by caller, a user of the host or an address, and for
//! one caller by connection; nobody can hold every place, however slow what they ask for.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use super::{
    rate::{Pace, Rate},
    turns::{Queue as _, Turns},
};
use crate::{caller::Principal, error::Error};

/// What is let in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Requests worked on at a time.
    pub(crate) requests: usize,
    /// Requests that wait.
    pub(crate) queue: usize,
    /// Requests of one caller.
    pub(crate) rate: Rate,
}

/// The door to the daemon's work, one for all listeners.
#[derive(Debug)]
pub(crate) struct Admission {
    bounds: Bounds,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    waiting: Turns<Principal, Turns<u64, VecDeque<Waiting>>>,
    callers: HashMap<Principal, Caller>,
}

/// Who waits for a place; instead, there can be a refusal.
type Waiting = oneshot::Sender<Result<Admitted, Error>>;

/// What one caller has.
#[derive(Debug, Default)]
struct Caller {
    running: usize,
    pace: Pace,
}

/// A place. Dropping it gives the place to whoever has the next turn.
#[derive(Debug)]
pub(crate) struct Admitted {
    admission: Arc<Admission>,
    principal: Principal,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.admission.state();
        state.running -= 1;
        if let Some(caller) = state.callers.get_mut(&self.principal) {
            caller.running -= 1;
        }
        let next = self.admission.next(&mut state);
        drop(state);
        if let Some((waiting, place)) = next {
            // Who has just gone away gives the place back as everybody does.
            drop(waiting.send(Ok(place)));
        }
    }
}

impl Admission {
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            state: Mutex::default(),
        })
    }

    /// A place for a request of `principal` on `connection`, as soon as it is its turn; whoever asks
    /// faster than its rate gets none.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        principal: Principal,
        connection: u64,
        deadline: Instant,
    ) -> Result<Admitted, Error> {
        let rate = self.bounds.rate;
        self.state().spend(&principal, rate, Instant::now())?;
        self.wait(principal, connection, deadline).await
    }

    /// The same at any rate, for work that cannot be asked for a second time.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        principal: Principal,
        connection: u64,
        deadline: Instant,
    ) -> Result<Admitted, Error> {
        let place = self.ask(principal, connection);
        let waiting = "waiting for other requests to end";
        match timeout_at(deadline, place).await {
            Ok(Ok(place)) => place,
            Ok(Err(_)) => Err(Error::Bug {
                what: "a request in the queue was forgotten",
            }),
            Err(_) => Err(Error::DeadlineExceeded { waiting }),
        }
    }

    /// Joins the queue, which is where a place comes from also when one is free.
    fn ask(
        self: &Arc<Self>,
        principal: Principal,
        connection: u64,
    ) -> oneshot::Receiver<Result<Admitted, Error>> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.forget(Instant::now());
        state.waiting.add(principal, |connections| {
            connections.add(connection, |queue| queue.push_back(sender));
        });
        let next = self.next(&mut state);
        let shed = self.shed(&mut state);
        drop(state);
        if let Some((waiting, place)) = next {
            drop(waiting.send(Ok(place)));
        }
        if let Some(waiting) = shed {
            drop(waiting.send(Err(Error::Overloaded {
                problem: "the daemon has as many requests waiting as it accepts",
                // Most requests are over in less.
                retry_after: Duration::from_secs(1),
            })));
        }
        receiver
    }

    /// Whether one more would be one too many.
    pub(crate) fn is_full(&self) -> bool {
        let mut state = self.state();
        if state.waiting.len() >= self.bounds.queue {
            state.waiting.prune();
        }
        state.running >= self.bounds.requests && state.waiting.len() >= self.bounds.queue
    }

    /// Who has the next turn, and the place, if there is one.
    fn next(self: &Arc<Self>, state: &mut State) -> Option<(Waiting, Admitted)> {
        if state.running >= self.bounds.requests {
            return None;
        }
        let State {
            waiting, callers, ..
        } = state;
        // The last eighth is for others: requests that hang must not hang everybody's.
        let most = self.bounds.requests - self.bounds.requests / 8;
        let may = |principal: &Principal| {
            let caller = callers.get(principal);
            caller.is_none_or(|caller| caller.running < most)
        };
        let (principal, next) = waiting.next_of(may)?;
        state.running += 1;
        callers.entry(principal.clone()).or_default().running += 1;
        let admitted = Admitted {
            admission: Arc::clone(self),
            principal,
        };
        Some((next, admitted))
    }

    /// Who is one too many: the newest of whoever has the most waiting.
    fn shed(&self, state: &mut State) -> Option<Waiting> {
        let full = |state: &State| state.waiting.len() > self.bounds.queue;
        if full(state) {
            // Those who went away take no room.
            state.waiting.prune();
        }
        full(state).then(|| state.waiting.shed())?
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets whom there is nothing to say of, before there are too many.
    fn forget(&mut self, now: Instant) {
        // A host has some dozen users that run jobs, and a cluster some thousand pods; user namespaces
        // can make it more.
        const MOST: usize = 10_000;
        if self.callers.len() >= MOST {
            let busy = |caller: &Caller| caller.running > 0 || !caller.pace.is_rested(now);
            self.callers.retain(|_, caller| busy(caller));
        }
    }

    /// Counts a request of `principal` against its rate.
    fn spend(&mut self, principal: &Principal, rate: Rate, now: Instant) -> Result<(), Error> {
        let caller = self.callers.entry(principal.clone()).or_default();
        let problem = match principal {
            Principal::User(_) => {
                "this user of the host sends more requests than limits.caller_rate allows"
            }
            Principal::Remote(_) => {
                "this address sends more requests than limits.caller_rate allows"
            }
        };
        caller
            .pace
            .take(rate, now)
            .map_err(|retry_after| Error::Overloaded {
                problem,
                retry_after,
            })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use runner_secrets_proto::Reason;
    use tokio::{task::yield_now, time::Instant};

    use super::{Admission, Admitted, Bounds, Rate};
    use crate::{caller::Principal, error::Error};

    fn admission(requests: usize, queue: usize) -> Arc<Admission> {
        Admission::new(Bounds {
            requests,
            queue,
            rate: Rate::new(1, 100),
        })
    }

    type Asking = tokio::task::JoinHandle<Result<Admitted, Error>>;

    /// Asks for a place, and has it waiting when this returns.
    async fn ask(admission: &Arc<Admission>, uid: u32, connection: u64) -> Asking {
        let deadline = Instant::now() + Duration::from_secs(30);
        let admission = Arc::clone(admission);
        let user = Principal::User(uid);
        let asking = tokio::spawn(async move { admission.enter(user, connection, deadline).await });
        yield_now().await;
        asking
    }

    async fn place(asking: Asking) -> Admitted {
        asking.await.unwrap().unwrap()
    }

    async fn reason(asking: Asking) -> Reason {
        asking.await.unwrap().unwrap_err().reason()
    }

    #[tokio::test(start_paused = true)]
    async fn turns_go_by_user_and_then_by_connection() {
        let admission = admission(1, 100);
        let mut running = place(ask(&admission, 1, 1).await).await;
        let mut waiting = Vec::new();
        for (uid, connection) in [(1, 1), (1, 1), (1, 2), (1, 1), (2, 3), (2, 3)] {
            let asking = ask(&admission, uid, connection).await;
            waiting.push(((uid, connection), asking));
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(running);
            yield_now().await;
            let at = waiting.iter().position(|(_, asking)| asking.is_finished());
            let (who, asking) = waiting.remove(at.unwrap());
            order.push(who);
            running = place(asking).await;
        }
        assert_eq!(order, [(1, 1), (2, 3), (1, 2), (2, 3), (1, 1), (1, 1)]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_one_too_many_is_refused_at_once_and_is_of_who_has_the_most() {
        let admission = admission(1, 3);
        let running = place(ask(&admission, 1, 1).await).await;
        let first = ask(&admission, 1, 1).await;
        let second = ask(&admission, 1, 2).await;
        let last = ask(&admission, 1, 2).await;
        // There is room for another user, at the expense of the first.
        let other = ask(&admission, 2, 3).await;
        assert_eq!(reason(last).await, Reason::Overloaded);
        assert_eq!(
            reason(ask(&admission, 1, 1).await).await,
            Reason::Overloaded
        );
        // Who hangs up makes room as well.
        second.abort();
        yield_now().await;
        let third = ask(&admission, 1, 4).await;
        drop(running);
        for waiting in [first, other, third] {
            drop(place(waiting).await);
        }
        assert_eq!(admission.state().running, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_user_leaves_places_for_others() {
        let admission = admission(8, 100);
        let mut held = Vec::new();
        for connection in 0..7 {
            held.push(place(ask(&admission, 1, connection).await).await);
        }
        let greedy = ask(&admission, 1, 9).await;
        let other = place(ask(&admission, 2, 10).await).await;
        assert!(!greedy.is_finished());
        drop(held.pop());
        drop((place(greedy).await, other));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_deadline() {
        let admission = admission(1, 3);
        let running = place(ask(&admission, 1, 1).await).await;
        let late = ask(&admission, 1, 2).await;
        assert_eq!(reason(late).await, Reason::DeadlineExceeded);
        drop(running);
        drop(place(ask(&admission, 1, 2).await).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_a_rate_of_its_own() {
        let admission = admission(1000, 1000);
        for _ in 0..100 {
            drop(place(ask(&admission, 1, 1).await).await);
        }
        assert_eq!(
            reason(ask(&admission, 1, 2).await).await,
            Reason::Overloaded
        );
        drop(place(ask(&admission, 2, 2).await).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(place(ask(&admission, 1, 1).await).await);
    }
}
