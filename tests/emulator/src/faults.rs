//! Faults: how services fail on request of a test.
//!
//! A fault waits for requests of its route and changes what happens to them. Delays add up; of
//! everything else, the first fault that fits a request applies. [`spec`] reads what a test asked
//! for, [`effect`] turns a kind into an answer.

use std::time::Duration;

use aws_lc_rs::rand;
use serde_json::Value;

use crate::call::{Call, Route};
use crate::error::Error;
use crate::shared::Shared;

mod effect;
mod spec;

pub(crate) use effect::{Outcome, after, before};
pub(crate) use spec::{kinds, parse};

/// A fault that is switched on.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    route: Route,
    kind: Kind,
    /// How many requests it still applies to; `None`: all.
    count: Option<u64>,
    /// How many requests it lets pass first.
    skip: u64,
    probability: Option<f64>,
    /// Part of the URL or the body.
    matching: Option<String>,
    host: Option<String>,
    delay: Duration,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    Delay,
    Status {
        status: u16,
        body: Option<Value>,
        headers: Vec<(String, String)>,
    },
    Throttle {
        retry_after: Option<String>,
    },
    Html,
    Empty,
    Truncated,
    Drip,
    Reset,
    Redirect {
        location: String,
    },
    WrongContentType,
    Oversized {
        bytes: usize,
    },
    NotUtf8,
    WrongTypes,
    Hang,
    Challenge(Challenge),
    ExpiresIn {
        value: Value,
    },
    TokenError {
        code: u32,
    },
    VaultError {
        name: &'static str,
    },
}

/// A challenge that differs from the vault's own.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Challenge {
    resource: Option<String>,
    authorization: Option<String>,
    /// What continuous access evaluation wants in the next token request, in base64.
    claims: Option<String>,
    omit_resource: bool,
}

/// What is to happen to one request.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<(Kind, Duration)>,
}

/// All faults, in the order they were added.
#[derive(Debug, Default)]
pub(crate) struct Faults(Shared<Vec<Fault>>);

impl Faults {
    /// Adds what a test asked for.
    pub(crate) fn add(&self, wanted: &Value) -> Result<(), Error> {
        let fault = parse(wanted)?;
        self.0.lock().push(fault);
        Ok(())
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }

    /// Decides about a request, and counts it.
    pub(crate) fn take(&self, call: &Call) -> Verdict {
        let mut verdict = Verdict::default();
        let mut faults = self.0.lock();
        for fault in faults.iter_mut() {
            let taken = verdict.fault.is_some() && fault.kind != Kind::Delay;
            if taken || !fault.fits(call) || !fault.applies_now() {
                continue;
            }
            match &fault.kind {
                Kind::Delay => verdict.delay += fault.delay,
                // Here the delay is the pace, not a wait before it.
                Kind::Drip => verdict.fault = Some((Kind::Drip, fault.delay)),
                kind => {
                    verdict.delay += fault.delay;
                    verdict.fault = Some((kind.clone(), Duration::ZERO));
                }
            }
        }
        faults.retain(|fault| fault.count != Some(0));
        verdict
    }
}

impl Fault {
    fn fits(&self, call: &Call) -> bool {
        let host = |wanted: &String| call.host() == wanted.to_lowercase();
        let part = |wanted: &String| {
            let url = format!("https://{}{}", call.authority, call.target);
            let body = String::from_utf8_lossy(&call.body);
            url.contains(wanted) || body.contains(wanted)
        };
        self.route == call.route
            && self.host.as_ref().is_none_or(host)
            && self.matching.as_ref().is_none_or(part)
    }

    fn applies_now(&mut self) -> bool {
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        if self.probability.is_some_and(|wanted| throw() >= wanted) {
            return false;
        }
        match &mut self.count {
            Some(0) => false,
            Some(count) => {
                *count -= 1;
                true
            }
            None => true,
        }
    }
}

/// A random number from 0 up to, but not, 1.
fn throw() -> f64 {
    let mut bytes = [0; 4];
    // Without randomness every fault applies, which is what a test would notice first.
    if rand::fill(&mut bytes).is_err() {
        return 0.0;
    }
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}
