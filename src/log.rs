//! The daemon's log: lines on standard error, JSON or text. `RUST_LOG` overrides the configured
//! level for somebody who is looking into something. The level can change while the daemon runs.
//! Much of what is said comes from jobs and services: a line stays one line, and steers no screen.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    reload,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Log, LogFormat},
    screen::{escaped, json_escaped},
};

/// The level of the process's log lines, which can be changed.
#[derive(Clone, Debug)]
pub struct Level {
    filter: reload::Handle<Targets, Registry>,
    /// Whether `RUST_LOG` decides, and not the configuration.
    overridden: bool,
}

/// Sends the process's log lines to standard error, and gives what changes their level. A second
/// call changes nothing.
#[must_use]
pub fn start(log: &Log) -> Level {
    // At debug the Azure crates name secrets, but never show one.
    let from_environment = env::var("RUST_LOG").ok().and_then(|text| text.parse().ok());
    let overridden = from_environment.is_some();
    let filter = from_environment.unwrap_or_else(|| at(&log.level));
    let (filter, handle) = reload::Layer::new(filter);
    let registry = tracing_subscriber::registry().with(filter);
    let colours = io::stderr().is_terminal();
    let made = match log.format {
        LogFormat::Json => json_escaped,
        LogFormat::Text if colours => escaped_but_colours,
        LogFormat::Text => escaped,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colours)
        .with_writer(move || Lines {
            made,
            to: io::stderr(),
        });
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

/// Writes what it is given at a time, which is a line, as `made` makes it.
struct Lines<W> {
    made: fn(&str) -> String,
    to: W,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        let mut made = (self.made)(text.strip_suffix('\n').unwrap_or(&text));
        made.push('\n');
        // At once, so that the lines of two threads do not mix.
        self.to.write_all(made.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// The logger's own colours stay; it escapes those of others.
fn escaped_but_colours(line: &str) -> String {
    let parts: Vec<String> = line.split('\u{1b}').map(escaped).collect();
    parts.join("\u{1b}")
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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Lines, escaped, escaped_but_colours, json_escaped};

    #[test]
    fn a_line_stays_one_and_steers_no_screen() {
        let line = "a\nb\u{202e}\u{1b}[32mc\r\n";
        for (made, expected) in [
            (
                escaped as fn(&str) -> String,
                "a\\u{a}b\\u{202e}\\u{1b}[32mc\\u{d}\n",
            ),
            (escaped_but_colours, "a\\u{a}b\\u{202e}\u{1b}[32mc\\u{d}\n"),
            (json_escaped, "a\\u000ab\\u202e\\u001b[32mc\\u000d\n"),
        ] {
            let mut lines = Lines {
                made,
                to: Vec::new(),
            };
            lines.write_all(line.as_bytes()).unwrap();
            lines.write_all(b"next\n").unwrap();
            assert_eq!(lines.to, format!("{expected}next\n").as_bytes());
        }
    }
}
