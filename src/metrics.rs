//! What the daemon counts, for `/metrics`. Every label has a small, closed set of values: a call, a
//! reason. Never a project, a vault or a secret: names of others are nobody's label, and a job could
//! make as many series as it likes.

use std::time::Duration;

use prometheus::{
    Encoder as _, Error, Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder, core::Collector,
};
use runner_secrets_proto::reason::TABLE;

use crate::{
    audit::{chain::Head, log::State},
    gateway::metrics::Jobs,
};

/// The numbers of a daemon.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    gateway: Jobs,
    requests: IntCounterVec,
    durations: HistogramVec,
    in_flight: IntGauge,
    leases: IntGauge,
    expiring: IntCounter,
    audit_ready: IntGauge,
    audit_head: IntGauge,
    audit_checkpoint: IntGaugeVec,
}

/// Besides the reasons: how a request can end.
pub const DELIVERED: &str = "DELIVERED";
/// The caller hung up.
pub const ABANDONED: &str = "ABANDONED";

/// The calls that are told apart; `connect` is a caller that was turned away before it could call.
const CALLS: [&str; 4] = ["connect", "explain", "release", "resolve"];

/// From a decision alone to the default limit of a request, in seconds.
const BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

impl Metrics {
    /// All of them, at 0.
    pub fn new() -> Result<Self, Error> {
        let made = Registry::new();
        let metrics = Self {
            requests: requests(&made)?,
            durations: durations(&made)?,
            in_flight: gauge(&made, "requests_in_flight", "Requests that are worked on.")?,
            leases: gauge(&made, "leases", "Leases whose files exist.")?,
            expiring: expiring(&made)?,
            audit_ready: gauge(
                &made,
                "audit_ready",
                "1 if the audit trail can be written; 0: no secret is handed out.",
            )?,
            audit_head: gauge(
                &made,
                "audit_head",
                "The number of the last record of the audit trail.",
            )?,
            audit_checkpoint: checkpoint(&made)?,
            gateway: Jobs::new(&made)?,
            registry: made,
        };
        metrics.describe_itself()?;
        metrics.begin_at_zero();
        Ok(metrics)
    }

    /// A request came.
    pub fn began(&self) {
        self.in_flight.inc();
    }

    /// A request ended for `reason`, which is the name of one, [`DELIVERED`] or [`ABANDONED`].
    pub fn ended(&self, call: &str, reason: &str, took: Duration) {
        self.in_flight.dec();
        self.requests.with_label_values(&[call, reason]).inc();
        self.durations
            .with_label_values(&[call])
            .observe(took.as_secs_f64());
    }

    /// A secret was read that has expired, or will within 30 days.
    pub fn expires_soon(&self) {
        self.expiring.inc();
    }

    /// What gateways count.
    pub(crate) fn gateway(&self) -> Jobs {
        self.gateway.clone()
    }

    /// How many leases there are.
    pub fn leases(&self, count: usize) {
        self.leases.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The state of the audit trail, and its last checkpoint: one series at a time.
    pub fn audit(&self, state: &State) {
        let number = |seq| i64::try_from(seq).unwrap_or(i64::MAX);
        self.audit_ready.set(i64::from(state.failing.is_none()));
        self.audit_head.set(number(state.head.seq));
        if let Some(Head { seq, hash }) = state.checkpoint {
            self.audit_checkpoint.reset();
            let hash = hash.to_string();
            let checkpoint = self.audit_checkpoint.with_label_values(&[&hash]);
            checkpoint.set(number(seq));
        }
    }

    /// The text that Prometheus reads (exposition format 0.0.4).
    pub fn text(&self) -> Result<String, Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| Error::Msg(error.to_string()))
    }

    /// What runs, and since when.
    fn describe_itself(&self) -> Result<(), Error> {
        let build = Opts::new("runner_secrets_build_info", "1, labelled with the version.")
            .const_label("version", env!("CARGO_PKG_VERSION"));
        registered(&self.registry, IntGauge::with_opts(build))?.set(1);
        let started = Opts::new(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        );
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        registered(&self.registry, Gauge::with_opts(started))?
            .set(now.unwrap_or_default().as_secs_f64());
        Ok(())
    }

    /// A series that appears only with the first failure cannot be alerted on: its increase is
    /// never seen.
    fn begin_at_zero(&self) {
        for call in CALLS {
            self.durations.with_label_values(&[call]);
            let reasons = TABLE.iter().filter(|row| row.code.is_some());
            let reasons = reasons.map(|row| row.name).chain([DELIVERED, ABANDONED]);
            for reason in reasons {
                self.requests.with_label_values(&[call, reason]);
            }
        }
    }
}

fn requests(registry: &Registry) -> Result<IntCounterVec, Error> {
    let help = "Requests that ended, by call and by reason.";
    let options = Opts::new("runner_secrets_requests_total", help);
    registered(registry, IntCounterVec::new(options, &["call", "reason"]))
}

fn durations(registry: &Registry) -> Result<HistogramVec, Error> {
    let help = "How long requests took.";
    let options = HistogramOpts::new("runner_secrets_request_duration_seconds", help);
    let options = options.buckets(BUCKETS.to_vec());
    registered(registry, HistogramVec::new(options, &["call"]))
}

fn expiring(registry: &Registry) -> Result<IntCounter, Error> {
    let name = "runner_secrets_expiring_reads_total";
    let help = "Reads of secrets that have expired or will within 30 days.";
    registered(registry, IntCounter::new(name, help))
}

fn checkpoint(registry: &Registry) -> Result<IntGaugeVec, Error> {
    let help = "The number of the last checkpoint of the audit trail, with its hash: keep both, and verify with --head.";
    let options = Opts::new("runner_secrets_audit_checkpoint", help);
    registered(registry, IntGaugeVec::new(options, &["hash"]))
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, Error> {
    let name = format!("runner_secrets_{name}");
    registered(registry, IntGauge::new(name, help))
}

fn registered<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: Result<M, Error>,
) -> Result<M, Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{DELIVERED, Metrics};
    use crate::audit::{
        chain::{Digest, Head},
        log::State,
    };

    #[test]
    fn everything_is_there_from_the_start_and_nothing_is_added_later() {
        let metrics = Metrics::new().unwrap();
        let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
        let before = metrics.text().unwrap();
        assert!(
            before.contains(
                "runner_secrets_requests_total{call=\"resolve\",reason=\"AUDIT_FAILED\"} 0"
            )
        );
        metrics.began();
        metrics.ended("resolve", DELIVERED, Duration::from_millis(7));
        metrics.audit(&State::default());
        let after = metrics.text().unwrap();
        assert_eq!(series(&before), series(&after));
        for line in [
            "runner_secrets_requests_total{call=\"resolve\",reason=\"DELIVERED\"} 1",
            "runner_secrets_request_duration_seconds_bucket{call=\"resolve\",le=\"0.01\"} 1",
            "runner_secrets_request_duration_seconds_bucket{call=\"resolve\",le=\"0.005\"} 0",
            "runner_secrets_requests_in_flight 0",
            "runner_secrets_audit_head 0",
            "runner_secrets_audit_ready 1",
        ] {
            assert!(after.contains(line), "{line}\n{after}");
        }
    }

    #[test]
    fn there_is_one_checkpoint_at_a_time() {
        let metrics = Metrics::new().unwrap();
        for seq in [1, 7] {
            let hash = Digest::of(&[seq]);
            let checkpoint = Some(Head {
                seq: seq.into(),
                hash,
            });
            metrics.audit(&State {
                checkpoint,
                ..State::default()
            });
        }
        let text = metrics.text().unwrap();
        let last = format!(
            "runner_secrets_audit_checkpoint{{hash=\"{}\"}} 7",
            Digest::of(&[7])
        );
        assert!(text.contains(&last), "{text}");
        assert_eq!(text.matches("checkpoint{").count(), 1);
    }
}
