//! The daemon's log: lines on standard error, JSON or text. `RUST_LOG` overrides the configured
//! level for somebody who is looking into something.

use std::io::IsTerminal as _;

use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Log, LogFormat};

/// Sends the process's log lines to standard error. A second call changes nothing.
pub fn start(log: &Log) {
    // At info the Azure crates are silent; at debug they name secrets, but never show one.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(&log.level));
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
}
