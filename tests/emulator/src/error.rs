//! Why the emulator could not start or do what a test asked of it.
//!
//! What the emulated services refuse is no `Error`: those refusals are answers, and live with the
//! service that gives them.

use std::path::PathBuf;

/// What went wrong, in words for the person who wrote the test.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A socket could not be bound or the CA file not be written.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The state file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    StateFile {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The state is not JSON of the documented shape.
    #[error("the state is not understood: {0}")]
    StateSyntax(serde_json::Error),
    /// The state contradicts itself.
    #[error("the state does not fit together: {0}")]
    State(String),
    /// A fault names something that does not exist.
    #[error("{0}")]
    Fault(String),
    /// A body of the control API has the wrong shape.
    #[error("{0}")]
    Body(serde_json::Error),
    /// There is no such vault or secret.
    #[error("there is no {0}")]
    Missing(String),
    /// Keys or certificates could not be made or used.
    #[error("cryptography failed: {0}")]
    Crypto(&'static str),
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] tokio_rustls::rustls::Error),
}

impl Error {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
