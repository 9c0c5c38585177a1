//! The checked configuration: what the TOML says, with every value converted and every mistake
//! reported at once. Holds paths of secrets at most, never a secret, so that it can be logged.

pub mod audit;
mod check;
mod effective;
pub mod gateway;
pub mod issuer;
pub mod listen;
pub(crate) mod raw;
pub mod rule;
mod tls;
mod value;

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use self::raw::Problems;
pub use self::{
    audit::Audit,
    listen::{Address, Listen},
    raw::Problem,
};
use self::{issuer::Issuer, rule::Rules};
use crate::{azure, policy};

/// Everything that an operator decides.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[[listen]]` with a socket
    pub listeners: Vec<Listen>,
    /// `[[listen]]` with an address
    pub addresses: Vec<Address>,
    /// `[files]`
    pub files: Files,
    /// `[azure]`, how to reach it
    pub azure: azure::Settings,
    /// `[azure]`, for jobs that name no vault, tenant or client
    pub defaults: policy::Defaults,
    /// `[[issuer]]`
    pub issuers: Vec<Issuer>,
    /// `[policy]` and `[[rule]]`
    pub rules: Rules,
    /// `[audit]`
    pub audit: Audit,
    /// `[admin] listen`: where `/metrics`, `/livez` and `/readyz` are
    pub admin: Option<SocketAddr>,
    /// `[[gateway]]`
    pub gateways: Vec<gateway::Gateway>,
    /// `[limits]`
    pub limits: Limits,
    /// `[log]`
    pub log: Log,
}

/// How secrets get to the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The daemon writes files; the job sees the same file system.
    Files,
    /// The answer holds the values; the client writes the files.
    Inline {
        /// Whether the client may write them to a disk when there is no memory-backed directory.
        disk_allowed: bool,
    },
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "files",
            Self::Inline {
                disk_allowed: false,
            } => "inline",
            Self::Inline { disk_allowed: true } => "inline, disk allowed",
        })
    }
}

/// Where and how files are written.
#[derive(Clone, Debug)]
pub struct Files {
    /// The directory below which each request gets its own.
    pub directory: PathBuf,
    /// Where the daemon keeps notes of them for the next daemon.
    pub state_directory: PathBuf,
    /// Whether to refuse anything but tmpfs and ramfs.
    pub require_memory_backed: bool,
    /// The mode of the files.
    pub mode: u32,
    /// The longest that files stay.
    pub max_ttl: Duration,
    /// How long files stay after the process that owns them ended.
    pub owner_grace: Duration,
    /// What becomes of them when the daemon stops.
    pub on_stop: OnStop,
}

/// What becomes of the files of jobs when the daemon stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnStop {
    /// They are deleted.
    Delete,
    /// They stay, and the next daemon takes them over.
    Keep,
}

impl fmt::Display for OnStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delete => "delete",
            Self::Keep => "keep",
        })
    }
}

/// Bounds and deadlines.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Secrets in a request.
    pub secrets: usize,
    /// Bytes of a request.
    pub request_bytes: usize,
    /// Requests worked on at a time.
    pub requests: usize,
    /// Requests that wait for their turn.
    pub queue: usize,
    /// Requests a second of one caller, in the long run: a user of the host, or an address.
    pub caller_rate: u32,
    /// Requests a second with one ID token, in the long run.
    pub token_rate: u32,
    /// Requests at a time to one vault, or to one tenant of Entra.
    pub upstream_requests: usize,
    /// Reads of one vault within any ten seconds.
    pub vault_reads: u32,
    /// Open connections.
    pub connections: usize,
    /// How long a connection may be unused.
    pub idle_timeout: Duration,
    /// The longest that a request takes, whatever the caller allows.
    pub request_timeout: Duration,
    /// The longest that requests may go on after the signal to stop.
    pub stop_timeout: Duration,
}

/// The daemon's log, on standard error.
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines of JSON, or text for people.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text.
    Text,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// The file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has mistakes.
    #[error("{} has mistakes", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

impl Error {
    /// Every mistake in the file.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Wrong { problems, .. } => problems,
            Self::Unreadable { .. } => &[],
        }
    }
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let path = path.to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|problems| Error::Wrong { path, problems }),
            Err(source) => Err(Error::Unreadable { path, source }),
        }
    }

    /// Checks `text`; every mistake in it is reported.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let problems = Problems::new(text);
        let config = raw::parse(&problems, check::config).flatten();
        let problems = problems.into_sorted();
        match config {
            Some(config) if problems.is_empty() => Ok(config),
            _ => Err(problems),
        }
    }
}

#[cfg(test)]
mod tests;
