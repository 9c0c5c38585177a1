//! What the daemon counts, for `/metrics`. Every label has a small, closed set of values: a front, a
//! call, a reason, a step, a service, or what the operator's own configuration names (issuers, the
//! policy by its hash). Never a project, a vault or a secret: names of others are nobody's label,
//! and a job could make as many series as it likes.

mod process;
mod snapshot;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus::{
    Encoder as _, Error, HistogramOpts, HistogramTimer, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use runner_secrets_proto::reason::TABLE;

pub use self::snapshot::Snapshot;
use self::{process::Process, snapshot::Gauges};
use crate::{azure::Traffic, gateway::metrics::Jobs};

/// The numbers of a daemon.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    gateway: Jobs,
    upstream: Traffic,
    requests: IntCounterVec,
    durations: HistogramVec,
    steps: HistogramVec,
    in_flight: IntGauge,
    waiting: IntGauge,
    connections: IntGaugeVec,
    expiring: IntCounter,
    reloaded: IntGauge,
    /// What is read when somebody asks; for one at a time.
    read: Arc<Mutex<(Gauges, Process)>>,
}

/// Besides the reasons: how a request can end.
pub const DELIVERED: &str = "DELIVERED";
/// The caller hung up.
pub const ABANDONED: &str = "ABANDONED";

/// Where requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Between a runner and GitLab.
    Gateway,
    /// gRPC over a unix socket.
    Socket,
    /// gRPC over TLS.
    Tls,
}

impl Front {
    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Socket => "socket",
            Self::Tls => "tls",
        }
    }

    /// The calls that are told apart; `connect` is a caller that was turned away before it could
    /// call.
    const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Gateway => &["resolve"],
            Self::Socket | Self::Tls => &["connect", "explain", "release", "resolve"],
        }
    }
}

/// The parts of a request that take time, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An ID token's signature and claims, with the fetch of the issuer's keys where one is needed.
    Verify,
    /// The policy.
    Authorise,
    /// ID tokens for access tokens.
    Exchange,
    /// All reads of a vault.
    Fetch,
    /// The files.
    Materialise,
    /// One record that a request waits for: its intent and, where secrets leave, its outcome.
    Audit,
}

impl Step {
    const ALL: [Self; 6] = [
        Self::Verify,
        Self::Authorise,
        Self::Exchange,
        Self::Fetch,
        Self::Materialise,
        Self::Audit,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Authorise => "authorise",
            Self::Exchange => "exchange",
            Self::Fetch => "fetch",
            Self::Materialise => "materialise",
            Self::Audit => "audit",
        }
    }
}

/// From a decision alone to the default limit of a request, in seconds.
pub(crate) const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// One of those that a gauge counts, for as long as it is not dropped.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct Counted(IntGauge);

impl Counted {
    /// One more.
    pub(crate) fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// All of them, at 0.
    pub fn new() -> Result<Self, Error> {
        let made = Registry::new();
        let metrics = Self {
            requests: requests(&made)?,
            durations: durations(&made)?,
            steps: steps(&made)?,
            in_flight: gauge(&made, "requests_in_flight", "Requests that are worked on.")?,
            waiting: gauge(
                &made,
                "requests_waiting",
                "Requests that wait for their turn.",
            )?,
            connections: connections(&made)?,
            expiring: expiring(&made)?,
            reloaded: gauge(
                &made,
                "last_reload_successful",
                "1 if the configuration could be read the last time; 0: what was in force before still is.",
            )?,
            read: Arc::new(Mutex::new((Gauges::new(&made)?, Process::new(&made)?))),
            gateway: Jobs::new(&made)?,
            upstream: Traffic::new(&made)?,
            registry: made,
        };
        let help = "1, labelled with the version.";
        let build = Opts::new("runner_secrets_build_info", help);
        let build = build.const_label("version", env!("CARGO_PKG_VERSION"));
        registered(&metrics.registry, IntGauge::with_opts(build))?.set(1);
        metrics.reloaded(true);
        for step in Step::ALL {
            metrics.steps.with_label_values(&[step.name()]);
        }
        Ok(metrics)
    }

    /// There is such a front. A series that appears only with the first failure cannot be alerted
    /// on: its increase is never seen.
    pub fn opens(&self, front: Front) {
        self.connections.with_label_values(&[front.name()]);
        for call in front.calls() {
            self.durations.with_label_values(&[front.name(), call]);
            let reasons = TABLE.iter().filter(|row| row.code.is_some());
            let reasons = reasons.map(|row| row.name).chain([DELIVERED, ABANDONED]);
            for reason in reasons {
                self.requests
                    .with_label_values(&[front.name(), call, reason]);
            }
        }
    }

    /// A request came.
    pub fn began(&self) {
        self.in_flight.inc();
    }

    /// A request ended for `reason`, which is the name of one, [`DELIVERED`] or [`ABANDONED`].
    pub fn ended(&self, front: Front, call: &str, reason: &str, took: Duration) {
        self.in_flight.dec();
        let front = front.name();
        self.requests
            .with_label_values(&[front, call, reason])
            .inc();
        self.durations
            .with_label_values(&[front, call])
            .observe(took.as_secs_f64());
    }

    /// A step of a request begins. It ends, and is counted, when this is dropped.
    pub fn step(&self, step: Step) -> HistogramTimer {
        self.steps.with_label_values(&[step.name()]).start_timer()
    }

    /// A request waits for its turn.
    pub fn waits(&self) -> Counted {
        Counted::new(self.waiting.clone())
    }

    /// Somebody has a connection.
    pub fn connects(&self, front: Front) -> Counted {
        Counted::new(self.connections.with_label_values(&[front.name()]))
    }

    /// A secret was read that has expired, or will within 30 days.
    pub fn expires_soon(&self) {
        self.expiring.inc();
    }

    /// The configuration was read again, or could not be.
    pub fn reloaded(&self, successfully: bool) {
        self.reloaded.set(i64::from(successfully));
    }

    /// What gateways count.
    pub(crate) fn gateway(&self) -> Jobs {
        self.gateway.clone()
    }

    /// What is counted of the requests to Azure.
    pub(crate) fn upstream(&self) -> Traffic {
        self.upstream.clone()
    }

    /// The text that Prometheus reads (exposition format 0.0.4), with what is so now.
    pub fn text(&self, now: &Snapshot) -> Result<String, Error> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (gauges, process) = &*read;
        gauges.show(now);
        process.show();
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| Error::Msg(error.to_string()))
    }
}

fn requests(registry: &Registry) -> Result<IntCounterVec, Error> {
    let help = "Requests that ended, by front, call and reason.";
    let options = Opts::new("runner_secrets_requests_total", help);
    let labels = ["front", "call", "reason"];
    registered(registry, IntCounterVec::new(options, &labels))
}

fn durations(registry: &Registry) -> Result<HistogramVec, Error> {
    let help = "How long requests took.";
    let options = HistogramOpts::new("runner_secrets_request_duration_seconds", help);
    let options = options.buckets(BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, &["front", "call"]))
}

fn steps(registry: &Registry) -> Result<HistogramVec, Error> {
    let help = "How long the steps of requests took, however they ended.";
    let options = HistogramOpts::new("runner_secrets_step_duration_seconds", help);
    let options = options.buckets(BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, &["step"]))
}

fn connections(registry: &Registry) -> Result<IntGaugeVec, Error> {
    let options = Opts::new("runner_secrets_connections", "Open connections.");
    registered(registry, IntGaugeVec::new(options, &["front"]))
}

fn expiring(registry: &Registry) -> Result<IntCounter, Error> {
    let name = "runner_secrets_expiring_reads_total";
    let help = "Reads of secrets that have expired or will within 30 days.";
    registered(registry, IntCounter::new(name, help))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    let name = format!("runner_secrets_{name}");
    registered(registry, IntGauge::new(name, help))
}

/// A metric that is in `registry` from now on.
pub(crate) fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, Error>,
) -> Result<M, Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests;
