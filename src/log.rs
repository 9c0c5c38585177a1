//! The daemon's log: lines on standard error, JSON or text. `RUST_LOG` overrides the configured
//! level for somebody who is looking into something. The level can change while the daemon runs.

use std::{env, io::IsTerminal as _};

use tracing_subscriber::{
    EnvFilter, Registry, layer::SubscriberExt as _, reload, util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// The level of the process's log lines, which can be changed.
#[derive(Clone, Debug)]
pub struct Level {
    filter: reload::Handle<EnvFilter, Registry>,
    /// Whether `RUST_LOG` decides, and not the configuration.
    overridden: bool,
}

/// Sends the process's log lines to standard error, and gives what changes their level. A second
/// call changes nothing.
pub fn start(log: &Log) -> Level {
    // At info the Azure crates are silent; at debug they name secrets, but never show one.
    let from_environment = EnvFilter::try_from_default_env();
    let overridden = from_environment.is_ok() && env::var_os(EnvFilter::DEFAULT_ENV).is_some();
    let filter = from_environment.unwrap_or_else(|_| EnvFilter::new(&log.level));
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
        if let Err(error) = self.filter.reload(EnvFilter::new(level)) {
            tracing::error!(%error, level, "the level of the log cannot be changed");
        }
    }
}
