//! Where records go: the file, syslog, standard output. A sink takes the lines that it is given
//! and says whether it has them; it knows nothing of what they say.

pub(crate) mod copy;
pub(crate) mod current;
pub mod file;
pub(crate) mod follower;
pub(crate) mod retention;
pub(crate) mod siblings;
pub(crate) mod syslog;
pub(crate) mod tail;

use std::io;

/// Why a sink does not have what it was given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be used.
    #[error("audit.path: {0}")]
    File(#[from] file::Error),
    /// The server cannot be reached, or does not take it.
    #[error("audit.syslog: {server}: {source}")]
    Syslog {
        /// Which.
        server: String,
        /// What the system or TLS said.
        source: io::Error,
    },
}
