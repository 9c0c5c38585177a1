//! What a gateway counts: the jobs that went through it, by what became of them.

use prometheus::{IntCounterVec, Opts, Registry};

/// Jobs, by what became of them.
#[derive(Clone, Debug)]
pub(crate) struct Jobs(IntCounterVec);

const PASSED: &str = "passed";
const RESOLVED: &str = "resolved";
const FAILED: &str = "failed";

impl Jobs {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help =
            "Jobs that went through a gateway: without secrets of ours, with them, or failed.";
        let options = Opts::new("runner_secrets_gateway_jobs_total", help);
        let jobs = IntCounterVec::new(options, &["outcome"])?;
        registry.register(Box::new(jobs.clone()))?;
        for outcome in [PASSED, RESOLVED, FAILED] {
            jobs.with_label_values(&[outcome]);
        }
        Ok(Self(jobs))
    }

    /// One asked for nothing.
    pub(crate) fn passed(&self) {
        self.0.with_label_values(&[PASSED]).inc();
    }

    /// One has its secrets.
    pub(crate) fn resolved(&self) {
        self.0.with_label_values(&[RESOLVED]).inc();
    }

    /// One could not have them.
    pub(crate) fn failed(&self) {
        self.0.with_label_values(&[FAILED]).inc();
    }
}
