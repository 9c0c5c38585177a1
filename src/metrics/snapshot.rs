//! What is not counted as it happens but read when somebody asks: how many there are, how far the
//! trail is, how old the keys are.

use std::{net::SocketAddr, sync::Arc};

use prometheus::{Error, GaugeVec, IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use super::{gauge, registered};
use crate::{
    audit::{chain::Head, log::State},
    policy::Policy,
    readiness::{Dependency, Readiness},
    token,
};

/// The state of a daemon at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Leases whose files exist.
    pub leases: usize,
    /// Their files.
    pub files: usize,
    /// Credentials that ID tokens were exchanged for, kept for further requests of their jobs.
    pub access_tokens: usize,
    /// The trail.
    pub audit: State,
    /// Records that wait to be durable.
    pub audit_waiting: usize,
    /// Records that the other sinks do not have yet, by sink.
    pub audit_sinks: Vec<(&'static str, usize)>,
    /// The issuers' keys.
    pub issuers: Vec<token::Status>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// What can be done.
    pub readiness: Readiness,
    /// When the certificates of listeners and gateways end, in seconds since 1970, by address.
    pub certificates: Vec<(SocketAddr, i64)>,
}

/// The gauges that show a [`Snapshot`].
#[derive(Debug)]
pub(super) struct Gauges {
    ready: IntGaugeVec,
    leases: IntGauge,
    files: IntGauge,
    access_tokens: IntGauge,
    policy: IntGaugeVec,
    policy_rules: IntGauge,
    keys: IntGaugeVec,
    keys_age: GaugeVec,
    keys_left: GaugeVec,
    audit_head: IntGauge,
    audit_checkpoint: IntGaugeVec,
    audit_waiting: IntGauge,
    audit_sink_waiting: IntGaugeVec,
    audit_syncs: IntCounter,
    audit_lost: IntCounter,
    audit_missed: IntCounter,
    certificates: IntGaugeVec,
}

impl Gauges {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let one = |name, help| gauge(registry, name, help);
        let several = |name, help, labels: &[&str]| {
            let options = Opts::new(format!("runner_secrets_{name}"), help);
            registered(registry, IntGaugeVec::new(options, labels))
        };
        let counter = |name, help| {
            let name = format!("runner_secrets_{name}");
            registered(registry, IntCounter::new(name, help))
        };
        let time = |name, help| {
            let options = Opts::new(format!("runner_secrets_issuer_keys_{name}_seconds"), help);
            registered(registry, GaugeVec::new(options, &["issuer"]))
        };
        Ok(Self {
            ready: several("ready", READY, &["dependency"])?,
            leases: one("leases", "Leases whose files exist.")?,
            files: one("files", "Files of leases.")?,
            access_tokens: one(
                "access_tokens",
                "Access tokens kept for further requests of their jobs.",
            )?,
            policy: several(
                "policy_info",
                "1, labelled with the policy in force.",
                &["hash", "mode"],
            )?,
            policy_rules: one("policy_rules", "Rules of the policy in force.")?,
            keys: several(
                "issuer_keys",
                "Keys of an issuer that can be used.",
                &["issuer"],
            )?,
            keys_age: time("age", AGE)?,
            keys_left: time("left", LEFT)?,
            audit_head: one(
                "audit_head",
                "The number of the last record of the audit trail.",
            )?,
            audit_checkpoint: several("audit_checkpoint", CHECKPOINT, &["hash"])?,
            audit_waiting: one("audit_waiting", "Records that wait to be durable.")?,
            audit_sink_waiting: several("audit_sink_waiting", LAG, &["sink"])?,
            audit_syncs: counter("audit_syncs_total", "How often records were made durable.")?,
            audit_lost: counter("audit_lost_total", LOST)?,
            audit_missed: counter("audit_missed_total", MISSED)?,
            certificates: several(
                "certificate_expiry_timestamp_seconds",
                EXPIRY,
                &["listener"],
            )?,
        })
    }

    /// Takes over what is so now. For one caller at a time: some series are dropped and made anew.
    pub(super) fn show(&self, now: &Snapshot) {
        for dependency in Dependency::ALL {
            let ready = self.ready.with_label_values(&[dependency.name()]);
            ready.set(i64::from(now.readiness.has(dependency)));
        }
        self.leases.set(number(now.leases));
        self.files.set(number(now.files));
        self.access_tokens.set(number(now.access_tokens));
        self.policy.reset();
        let (hash, mode) = (now.policy.hash(), now.policy.mode().to_string());
        self.policy.with_label_values(&[hash, &mode]).set(1);
        self.policy_rules.set(number(now.policy.rules()));
        for issuer in &now.issuers {
            let name = [issuer.issuer.as_str()];
            self.keys.with_label_values(&name).set(number(issuer.keys));
            for (gauge, time) in [(&self.keys_age, issuer.age), (&self.keys_left, issuer.left)] {
                match time {
                    Some(time) => gauge.with_label_values(&name).set(time.as_secs_f64()),
                    // An error says that there is no such series, which is what is wanted.
                    None => drop(gauge.remove_label_values(&name)),
                }
            }
        }
        for (address, ends) in &now.certificates {
            let certificate = self.certificates.with_label_values(&[&address.to_string()]);
            certificate.set(*ends);
        }
        self.trail(now);
    }

    /// The state of the audit trail, and its last checkpoint: one series at a time.
    fn trail(&self, now: &Snapshot) {
        self.audit_head.set(number(now.audit.head.seq));
        if let Some(Head { seq, hash }) = now.audit.checkpoint {
            self.audit_checkpoint.reset();
            let hash = hash.to_string();
            let checkpoint = self.audit_checkpoint.with_label_values(&[&hash]);
            checkpoint.set(number(seq));
        }
        self.audit_waiting.set(number(now.audit_waiting));
        for (sink, waiting) in &now.audit_sinks {
            let lag = self.audit_sink_waiting.with_label_values(&[sink]);
            lag.set(number(*waiting));
        }
        raise(&self.audit_syncs, now.audit.syncs);
        raise(&self.audit_lost, now.audit.lost);
        raise(&self.audit_missed, now.audit.missed);
    }
}

const READY: &str = "1 if this can be relied on; 0: not, and the log says why.";
const CHECKPOINT: &str = "The number of the last checkpoint of the audit trail, with its hash: keep both, and verify with --head.";
const EXPIRY: &str = "When the certificate of a listener or gateway ends, or the first of those that come with it, in seconds since 1970.";
const AGE: &str = "How long ago an issuer's keys were fetched; nothing where there are none.";
const LEFT: &str = "How long an issuer's keys can be used if they are never fetched again; nothing where there are none.";
const LAG: &str = "Records that an audit sink, other than the one that counts, does not have yet.";
const LOST: &str =
    "Records that nobody waited for and that found no room while the trail could not be written.";
const MISSED: &str = "Records that an audit sink, other than the one that counts, had no room for.";

/// Brings a counter to what was counted elsewhere.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
