//! The keys of one issuer, kept as long as its server allows. A key id that is not known makes for
//! one fetch that everybody waits for, out of a budget, so that a flood of made-up ids costs the
//! issuer a handful of requests. While the issuer is down, known keys go on being used for a day.
//! No lock is held while anything is awaited, and a fetch outlives the caller that caused it.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use url::Url;

use super::{
    Error,
    fetch::{self, Fetch, Fetched},
    json::{self, Json},
    key::KeySet,
};
use crate::config::issuer::{Issuer, KeySource};

use state::{Flight, State};

mod state;
#[cfg(test)]
mod tests;

/// The keys of one issuer.
#[derive(Clone, Debug)]
pub(super) struct Keys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    issuer: String,
    source: KeySource,
    fetch: Fetch,
    state: Mutex<State>,
}

/// Soon enough for a GitLab that restarts, and after a few tries no oftener than the budget allows.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What there is to say on an issuer's keys, for metrics, readiness and `doctor`.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whose keys.
    pub issuer: String,
    /// How many of them can be used now.
    pub keys: usize,
    /// How long ago they were fetched.
    pub age: Option<Duration>,
    /// How long they can be used if they are never fetched again.
    pub left: Option<Duration>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<fetch::Error>,
}

impl Keys {
    pub(super) fn new(issuer: &Issuer, fetch: Fetch) -> Self {
        Self(Arc::new(Shared {
            issuer: issuer.url.clone(),
            source: issuer.keys.clone(),
            fetch,
            state: Mutex::new(State::new(Instant::now())),
        }))
    }

    /// The keys to check a token with that names `key_id`: a set that has this id, if there is one.
    pub(super) async fn find(&self, key_id: &str) -> Result<Arc<KeySet>, Error> {
        let seen = self.state().started();
        loop {
            let flight = {
                let mut state = self.state();
                match state.step(key_id, seen, Instant::now()) {
                    state::Step::Use(keys) => return Ok(keys),
                    state::Step::RefreshAndUse(keys) => {
                        self.start(&mut state);
                        return Ok(keys);
                    }
                    state::Step::Join(flight) => flight,
                    state::Step::Fetch => self.start(&mut state),
                    state::Step::Refuse { retry_after } => {
                        return Err(self.unavailable(&state, retry_after));
                    }
                }
            };
            flight.landed().await;
        }
    }

    /// Fetches the keys if there are none, so that the first job need not wait for them.
    pub(super) async fn warm(&self) {
        let flight = {
            let mut state = self.state();
            if !state.begin_without_keys(Instant::now()) {
                return;
            }
            self.start(&mut state)
        };
        flight.landed().await;
    }

    /// Keeps the keys at hand for as long as it is polled: fetches them ahead of their time, and at
    /// growing intervals where that fails. A daemon that nobody asks for a day still knows them.
    pub(super) async fn keep(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let now = Instant::now();
            let (due, failed) = {
                let state = self.state();
                (state.due(now), state.failure().is_some())
            };
            if failed && due <= now {
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                pause = FIRST_PAUSE;
                sleep_until(due).await;
            }
            let flight = {
                let mut state = self.state();
                let begins = state.begin_unasked(Instant::now());
                begins.then(|| self.start(&mut state))
            };
            match flight {
                Some(flight) => flight.landed().await,
                // A job's fetch is under way, or there were too many.
                None => sleep(FIRST_PAUSE).await,
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let now = Instant::now();
        let state = self.state();
        let known = state.known(now);
        Status {
            issuer: self.0.issuer.clone(),
            keys: known.map_or(0, |known| known.keys.usable()),
            age: known.map(|known| now.duration_since(known.fetched_at)),
            left: known.map(|known| known.usable_until.duration_since(now)),
            failure: state.failure().cloned(),
        }
    }

    /// Starts the one fetch in a task of its own: whoever caused it may hang up, and the others
    /// still need it.
    fn start(&self, state: &mut State) -> Flight {
        let (done, flight) = watch::channel(());
        let flight = state.take_off(Flight(flight));
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            let outcome = load(&shared).await;
            lock(&shared.state).land(outcome, Instant::now());
            drop(done);
        });
        flight
    }

    fn unavailable(&self, state: &State, retry_after: Duration) -> Error {
        // Whole seconds, rounded up: what is said is what is worth waiting for.
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Error::KeysUnavailable {
            issuer: self.0.issuer.clone(),
            retry_after: Duration::from_secs(seconds.max(1)),
            source: state.failure().cloned(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }
}

/// A thread that panicked in here left a state that is no worse than before.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The keys as the issuer publishes them now, and what it says on how long they keep.
async fn load(shared: &Shared) -> Result<(KeySet, Option<String>), fetch::Error> {
    let (place, fetched) = match &shared.source {
        KeySource::File(path) => (path.display().to_string(), fetch::file(path).await?),
        KeySource::Url(url) => (url.to_string(), shared.fetch.get(url.clone()).await?),
        KeySource::Discovery(discovery) => {
            let document = shared.fetch.get(discovery.clone()).await?;
            let url = keys_url(&shared.issuer, discovery, &document)?;
            (url.to_string(), shared.fetch.get(url).await?)
        }
    };
    match KeySet::parse(&fetched.body) {
        Ok(keys) => Ok((keys, fetched.cache_control)),
        Err(problem) => Err(document(place, problem)),
    }
}

/// The address of the keys in a discovery document (OpenID Connect Discovery §4.3). It has to be
/// the issuer's own server: whoever can change one document must not be able to name another.
fn keys_url(issuer: &str, discovery: &Url, fetched: &Fetched) -> Result<Url, fetch::Error> {
    let fail = |problem: &str| document(discovery.to_string(), problem);
    let members = json::object(&fetched.body).map_err(|problem| fail(problem.sentence()))?;
    let text = |name: &str| members.get(name).and_then(Json::text);
    if text("issuer") != Some(issuer) {
        return Err(fail("names another issuer"));
    }
    let address = text("jwks_uri").ok_or_else(|| fail("names no jwks_uri"))?;
    let url = Url::parse(address).map_err(|_| fail("has a jwks_uri that is no URL"))?;
    if url.scheme() != "https" || url.origin() != discovery.origin() {
        return Err(fail(
            "has a jwks_uri on another server than the issuer's; if that is meant, set jwks_url",
        ));
    }
    Ok(url)
}

fn document(url: String, problem: &str) -> fetch::Error {
    fetch::Error::Document {
        url,
        problem: problem.to_owned(),
    }
}
