//! What is counted of the requests to Entra and Key Vault: what came of them, how long they took,
//! how often a service wanted a pause, and how many wait for their turn.

use std::time::Instant;

use prometheus::{Error, HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::{
    error::Service,
    metrics::{BUCKETS, Counted, registered},
};

/// The numbers of both services.
#[derive(Clone, Debug)]
pub struct Traffic {
    requests: IntCounterVec,
    durations: HistogramVec,
    pauses: IntCounterVec,
    waiting: IntGaugeVec,
}

/// How a request to a service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With what was asked for.
    Answered,
    /// With a refusal that would be the same the next time.
    Refused,
    /// It was one too many.
    Throttled,
    /// The service could not be reached, or failed.
    Failed,
    /// The time for our own request was over first.
    Late,
}

impl Outcome {
    const ALL: [Self; 5] = [
        Self::Answered,
        Self::Refused,
        Self::Throttled,
        Self::Failed,
        Self::Late,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
            Self::Late => "late",
        }
    }
}

impl Traffic {
    /// All of them, at 0.
    pub(crate) fn new(registry: &Registry) -> Result<Self, Error> {
        let requests = Opts::new(
            "runner_secrets_upstream_requests_total",
            "Requests to a service of Azure, by what came of them.",
        );
        let durations = HistogramOpts::new(
            "runner_secrets_upstream_request_duration_seconds",
            "How long requests to a service of Azure took, once it was their turn.",
        );
        let pauses = Opts::new(
            "runner_secrets_upstream_pauses_total",
            "How often a service of Azure wanted to be left alone for a while.",
        );
        let waiting = Opts::new(
            "runner_secrets_upstream_waiting",
            "Requests to a service of Azure that wait for their turn.",
        );
        let durations = durations.buckets(BUCKETS.to_vec());
        let service = ["service"];
        let traffic = Self {
            requests: registered(
                registry,
                IntCounterVec::new(requests, &["service", "outcome"]),
            )?,
            durations: registered(registry, HistogramVec::new(durations, &service))?,
            pauses: registered(registry, IntCounterVec::new(pauses, &service))?,
            waiting: registered(registry, IntGaugeVec::new(waiting, &service))?,
        };
        for service in [Service::Entra, Service::KeyVault].map(name) {
            for outcome in Outcome::ALL {
                let labels = [service, outcome.name()];
                traffic.requests.with_label_values(&labels);
            }
            traffic.durations.with_label_values(&[service]);
            traffic.pauses.with_label_values(&[service]);
            traffic.waiting.with_label_values(&[service]);
        }
        Ok(traffic)
    }

    /// A request that was sent at `since` has ended.
    pub(super) fn ended(&self, service: Service, outcome: Outcome, since: Instant) {
        let labels = [name(service), outcome.name()];
        self.requests.with_label_values(&labels).inc();
        self.durations
            .with_label_values(&labels[..1])
            .observe(since.elapsed().as_secs_f64());
    }

    /// The service wants a pause.
    pub(super) fn paused(&self, service: Service) {
        self.pauses.with_label_values(&[name(service)]).inc();
    }

    /// A request waits for its turn.
    pub(super) fn waits(&self, service: Service) -> Counted {
        Counted::new(self.waiting.with_label_values(&[name(service)]))
    }

    /// Numbers that nobody reads.
    #[cfg(test)]
    pub(super) fn unread() -> Self {
        Self::new(&Registry::new()).unwrap()
    }
}

fn name(service: Service) -> &'static str {
    match service {
        Service::Entra => "entra",
        Service::KeyVault => "key_vault",
    }
}
