//! The way to each issuer's signing keys: an HTTP client of its own, with the certificates that the
//! operator trusts for it.

use std::path::{Path, PathBuf};

use crate::{
    config::issuer::Issuer,
    token::{Fetch, Verifier},
};

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An issuer's `ca_file` cannot be used.
    #[error("issuer.ca_file: {} cannot be read, or holds no PEM certificate", .0.display())]
    Ca(PathBuf),
    /// There is no way to an issuer's keys.
    #[error(
        "issuer {issuer}: cannot set up TLS ({error}); install the system's CA certificates, or set ca_file"
    )]
    Tls {
        /// Which.
        issuer: String,
        /// Why.
        error: reqwest::Error,
    },
}

/// Verifies tokens of the configured issuers, each with its own way to the issuer's keys.
pub(super) fn verifier(issuers: &[Issuer]) -> Result<Verifier, Error> {
    let with_fetch = |issuer: &Issuer| Ok((issuer.clone(), fetch(issuer)?));
    let issuers = issuers.iter().map(with_fetch);
    Ok(Verifier::new(issuers.collect::<Result<_, Error>>()?))
}

/// The way to one issuer's keys.
pub(crate) fn fetch(issuer: &Issuer) -> Result<Fetch, Error> {
    let roots = match &issuer.ca_file {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    Fetch::https(roots).map_err(|error| {
        let issuer = issuer.url.clone();
        Error::Tls { issuer, error }
    })
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let pem = std::fs::read(path).ok();
    let read = pem.and_then(|pem| reqwest::Certificate::from_pem_bundle(&pem).ok());
    let read = read.filter(|certificates| !certificates.is_empty());
    read.ok_or_else(|| Error::Ca(path.to_owned()))
}
