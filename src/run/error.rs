//! Why the daemon does not start, or did not stop in order.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{addresses, gateways, keys, place, trail};
use crate::{
    audit::{self, user},
    azure, files, socket,
};

/// Why the daemon does not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address for monitoring cannot be had.
    #[error("admin.listen: {address}: {source}")]
    Admin {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address for callers on the network cannot be had.
    #[error(transparent)]
    Address(#[from] addresses::Error),
    /// The audit trail cannot be written.
    #[error("audit: {0}")]
    Audit(#[from] audit::log::Error),
    /// Azure cannot be reached as configured.
    #[error(transparent)]
    Azure(#[from] azure::SetUpError),
    /// Files cannot be delivered.
    #[error(transparent)]
    Place(#[from] place::Error),
    /// What an earlier daemon left cannot be looked at.
    #[error("files: {0}")]
    Left(files::Error),
    /// Leases would not end in time.
    #[error("cannot set an alarm: {0}")]
    Alarm(std::io::Error),
    /// A gateway cannot be set up.
    #[error(transparent)]
    Gateway(#[from] gateways::Error),
    /// There is no way to an issuer's keys.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The policy's text cannot be kept.
    #[error(transparent)]
    Policy(#[from] trail::Unkept),
    /// Nothing can be counted.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The service cannot describe itself.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The audit trail was not closed in time.
    #[error(transparent)]
    Unclosed(audit::log::Unclosed),
    /// People cannot be named as configured.
    #[error(transparent)]
    User(#[from] user::Error),
    /// Requests were cut off.
    #[error("requests were still running {} s after the signal to stop, and were cut off", .0.as_secs())]
    Slow(Duration),
    /// A socket cannot be had.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// A socket that is there cannot be served.
    #[error("{}: {source}", socket.display())]
    Serving {
        /// Which.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
