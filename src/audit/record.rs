//! A request's record: opened before anything else happens, and it always writes. What is known is
//! added as it becomes known, the intent is made durable before a secret is fetched, the outcome
//! before anything is released; a request that nobody closed is ABANDONED. The lines on a request
//! in the daemon's log come from here too, so that both say the same.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::HistogramTimer;
use runner_secrets_proto::Reason;
use tokio::time::Instant;

use super::{
    Audit,
    event::{Asked, Caller, Event, Job, Request, Secret},
};
use crate::{
    error::{Advice, Error, Reader},
    metrics::{ABANDONED, DELIVERED, Front, Step},
};

/// A request that is going on. Dropping it without [`close`](Self::close) leaves ABANDONED.
#[derive(Debug)]
#[must_use = "dropping it records that the caller hung up"]
pub struct Record {
    audit: Audit,
    front: Front,
    request: Shared,
    since: Instant,
    state: State,
}

/// An intent that is durable: the proof that a backend wants before it fetches a secret. What it
/// learns on the way goes on record through it, also if the request fails later.
#[derive(Debug)]
pub struct Intended(Shared);

/// What a read of one secret leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The version that was read, if one was.
    pub version_read: Option<String>,
    /// Key Vault's id of the read.
    pub key_vault_request_id: Option<String>,
    /// Our id of it.
    pub client_request_id: Option<String>,
    /// What the job is warned of.
    pub warnings: Vec<String>,
}

type Shared = Arc<Mutex<Request>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing says yet how it ends.
    Open,
    /// Its outcome is durable, and it is that everything was delivered.
    Delivered,
    Closed,
}

impl Record {
    pub(super) fn open(
        audit: &Audit,
        front: Front,
        call: &str,
        request_id: &str,
        caller: Caller,
    ) -> Self {
        audit.metrics().began();
        let request = Request {
            request_id: request_id.to_owned(),
            call: call.to_owned(),
            caller,
            ..Request::default()
        };
        Self {
            audit: audit.clone(),
            front,
            request: Arc::new(Mutex::new(request)),
            since: Instant::now(),
            state: State::Open,
        }
    }

    /// Refuses at once what could not be put on record.
    pub fn must_last(&self) -> Result<(), Error> {
        self.audit.ready()
    }

    /// A step of the request begins. It is counted when this is dropped, however it ends.
    pub fn step(&self, step: Step) -> HistogramTimer {
        self.audit.metrics().step(step)
    }

    /// Which secrets are asked for, and how they are to be delivered.
    pub fn asks(&self, secrets: Vec<Secret>, delivery: String) {
        let mut request = held(&self.request);
        request.secrets = secrets;
        request.delivery = Some(delivery);
    }

    /// What a token says that was not accepted. Only as long as no other one was.
    pub fn claimed(&self, says: BTreeMap<String, String>) {
        held(&self.request).unverified = Some(says);
    }

    /// Whose request it is, by a verified token.
    pub fn identified(&self, job: Job) {
        held(&self.request).job.get_or_insert(job);
    }

    /// How often its token was presented, this time included.
    pub fn presented(&self, times: u64) {
        held(&self.request).token_uses = Some(times);
    }

    /// Which policy is asked.
    pub fn judged_by(&self, policy: Asked) {
        held(&self.request).policy = Some(policy);
    }

    /// Where the secret for `variable` is, and the rule that grants it.
    pub fn granted(&self, variable: &str, vault: &str, rule: Option<&str>) {
        let mut request = held(&self.request);
        let mut secrets = request.secrets.iter_mut();
        if let Some(secret) = secrets.find(|secret| secret.variable == variable) {
            secret.vault = Some(vault.to_owned());
            secret.rule = rule.map(str::to_owned);
        }
    }

    /// A secret was read that has expired, or will soon.
    pub fn expires_soon(&self) {
        self.audit.metrics().expires_soon();
    }

    /// Which lease is concerned.
    pub fn leased(&self, lease_id: &str) {
        held(&self.request).lease_id = Some(lease_id.to_owned());
    }

    /// Makes durable what is about to be fetched, and for whom.
    pub async fn intend(&self, deadline: Instant) -> Result<Intended, Error> {
        self.commit(Event::Intent(self.so_far()), deadline).await?;
        Ok(Intended(self.request.clone()))
    }

    /// Makes durable that everything was delivered. Only then may anything leave.
    pub async fn delivered(&mut self, deadline: Instant) -> Result<(), Error> {
        let outcome = self.outcome(DELIVERED, None);
        self.commit(outcome, deadline).await?;
        self.state = State::Delivered;
        Ok(())
    }

    /// How it ended.
    pub fn close(mut self, outcome: Result<(), &Error>) {
        let milliseconds = self.milliseconds();
        match outcome {
            Ok(()) => {
                tracing::info!(milliseconds, "done");
                self.count(DELIVERED);
                if self.state == State::Open {
                    self.audit.write(self.outcome(DELIVERED, None));
                }
            }
            Err(error) => {
                let reason = error.reason().name();
                refused(milliseconds, reason, error);
                // Sentences are short; what a job sent is cut where it is quoted.
                let message = error.to_string().chars().take(LONGEST_MESSAGE).collect();
                self.failed(reason, Some(message));
            }
        }
        self.state = State::Closed;
    }

    /// Whoever was identified gets a record; the others too, as long as they are few.
    fn failed(&self, reason: &str, message: Option<String>) {
        self.count(reason);
        let (identified, caller) = {
            let request = held(&self.request);
            (request.job.is_some(), request.caller.clone())
        };
        if !identified && reason == Reason::AuditFailed.name() {
            self.audit.turned_away();
        } else if identified || self.audit.refusals().admit(&caller, reason, Instant::now()) {
            self.audit.write(self.outcome(reason, message));
        }
    }

    fn count(&self, reason: &str) {
        let call = held(&self.request).call.clone();
        let took = self.since.elapsed();
        self.audit.metrics().ended(self.front, &call, reason, took);
    }

    fn outcome(&self, reason: &str, message: Option<String>) -> Event {
        Event::Outcome(Request {
            reason: Some(reason.to_owned()),
            message,
            ..self.so_far()
        })
    }

    fn so_far(&self) -> Request {
        Request {
            duration_ms: self.milliseconds(),
            ..held(&self.request).clone()
        }
    }

    async fn commit(&self, event: Event, deadline: Instant) -> Result<(), Error> {
        let waiting = "waiting for the audit trail";
        let _timer = self.step(Step::Audit);
        tokio::time::timeout_at(deadline, self.audit.commit(event))
            .await
            .map_err(|_| Error::DeadlineExceeded { waiting })?
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// For the operator: what the services said, and the same advice as the job's with everything in it.
fn refused(milliseconds: u64, reason: &str, error: &Error) {
    let Advice {
        by,
        fix,
        command,
        row,
    } = error.advice(Reader::Operator);
    tracing::warn!(
        milliseconds,
        reason,
        %error,
        detail = error.detail(),
        refused_by = by,
        fix,
        command = command.map(tracing::field::display),
        row,
        "refused"
    );
}

impl Drop for Record {
    fn drop(&mut self) {
        if self.state == State::Closed {
            return;
        }
        let milliseconds = self.milliseconds();
        tracing::warn!(milliseconds, "abandoned: the caller hung up");
        self.failed(ABANDONED, None);
    }
}

impl Intended {
    /// Puts what reading a secret left behind on record.
    pub fn read(&self, vault: &str, name: &str, version: Option<&str>, trace: &Trace) {
        let mut request = held(&self.0);
        let same = |secret: &&mut Secret| {
            secret.vault.as_deref() == Some(vault)
                && secret.name == name
                && secret.version.as_deref() == version
        };
        for secret in request.secrets.iter_mut().filter(same) {
            let trace = trace.clone();
            secret.version_read = trace.version_read;
            secret.key_vault_request_id = trace.key_vault_request_id;
            secret.client_request_id = trace.client_request_id;
            secret.warnings = trace.warnings;
        }
    }
}

/// A refusal of a hundred secrets names them all.
const LONGEST_MESSAGE: usize = 4000;

fn held(request: &Mutex<Request>) -> MutexGuard<'_, Request> {
    request.lock().unwrap_or_else(PoisonError::into_inner)
}
