//! The daemon's log: lines on standard error, JSON or text. `RUST_LOG` overrides the configured
//! level for somebody who is looking into something. The level can change while the daemon runs.

use std::{env, io::IsTerminal as _};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// The level of the process's log lines, which can be changed.
#[derive(Clone, Debug)]
pub struct Level {
    filter: reload::Handle<Targets, Registry>,
    /// Whether `RUST_LOG` decides, and not the configuration.
    overridden: bool,
}

/// Sends the process's log lines to standard error, and gives what changes their level. A second
/// call changes nothing.
pub fn start(log: &Log) -> Level {
    // At debug the Azure crates name secrets, but never show one.
    let from_environment = env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let overridden = from_environment.is_some();
    let filter = from_environment.unwrap_or_else(|| at(&log.level));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(lines).try_init(),
    };
    // An error means that a logger is there already, as when a test runs the daemon twice.
    drop(started);
    Level {
        filter: handle,
        overridden,
    }
}

impl Level {
    /// From now on lines of this level and worse are written: `error`, `warn`, `info`, `debug` or
    /// `trace`. Where `RUST_LOG` is set it goes on deciding, which is said.
    pub fn set(&self, level: &str) {
        if self.overridden {
            tracing::warn!(level, "RUST_LOG is set, so log.level has no effect");
            return;
        }
        if let Err(error) = self.filter.reload(at(level)) {
            tracing::error!(%error, level, "the level of the log cannot be changed");
        }
    }
}

/// Lines of this level and worse. The configuration has no other levels.
fn at(level: &str) -> Targets {
    let level = level.parse().unwrap_or(LevelFilter::INFO);
    // The SDK logs each answer that failed, with its address; the daemon says better what it means.
    let sdk = if level == LevelFilter::INFO {
        LevelFilter::WARN
    } else {
        level
    };
    Targets::new()
        .with_default(level)
        .with_target("typespec_client_core", sdk)
}
