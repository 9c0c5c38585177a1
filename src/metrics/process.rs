//! What every program's metrics have of its process, under the names that Prometheus' own client
//! libraries give them, so that dashboards for any program show this one, too.

use std::{
    fs, io,
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus::{Counter, Error, Gauge, IntGauge, Opts, Registry};
use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};

use super::registered;

/// Numbers of the process.
#[derive(Debug)]
pub(super) struct Process {
    cpu: Counter,
    resident: IntGauge,
    virtual_memory: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
    most_files: IntGauge,
}

impl Process {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help));
        let started = Opts::new(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        registered(registry, Gauge::with_opts(started))?.set(now.unwrap_or_default().as_secs_f64());
        let cpu = Opts::new(
            "process_cpu_seconds_total",
            "Processor time that the process has used, in seconds.",
        );
        Ok(Self {
            cpu: registered(registry, Counter::with_opts(cpu))?,
            resident: gauge("process_resident_memory_bytes", "Memory that it occupies.")?,
            virtual_memory: gauge("process_virtual_memory_bytes", "Memory that it has mapped.")?,
            threads: gauge("process_threads", "Its threads.")?,
            open_files: gauge("process_open_fds", "File descriptors that it has open.")?,
            most_files: gauge("process_max_fds", "File descriptors that it may have open.")?,
        })
    }

    /// Takes over what is so now. What the system does not say stays as it was.
    pub(super) fn show(&self) {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        if let Ok(time) = std::time::Duration::try_from(time) {
            self.cpu
                .inc_by((time.as_secs_f64() - self.cpu.get()).max(0.0));
        }
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            let kibibytes = |key| field(&status, key).map(|number| number.saturating_mul(1024));
            show(&self.resident, kibibytes("VmRSS:"));
            show(&self.virtual_memory, kibibytes("VmSize:"));
            show(&self.threads, field(&status, "Threads:"));
        }
        show(&self.open_files, open_files().ok());
        let most = getrlimit(Resource::Nofile).current;
        show(&self.most_files, most.and_then(|most| most.try_into().ok()));
    }
}

/// The number after `key` in /proc/self/status.
fn field(status: &str, key: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

fn open_files() -> io::Result<i64> {
    let entries = fs::read_dir("/proc/self/fd")?.count();
    // One of them is the directory itself.
    Ok(i64::try_from(entries.saturating_sub(1)).unwrap_or(i64::MAX))
}

fn show(gauge: &IntGauge, number: Option<i64>) {
    if let Some(number) = number {
        gauge.set(number);
    }
}
