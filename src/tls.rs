//! TLS towards whoever connects: a certificate, its key and the authorities of clients, from files
//! that are read anew when they change. Where what is read cannot be used, what was in use stays.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::digest;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::CryptoProvider,
    server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be used.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// Certificate and key do not fit, or no certificate can be trusted.
    #[error("{0}")]
    Unusable(#[from] rustls::Error),
    /// What is in the file for authorities is none.
    #[error("{}: {source}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: VerifierBuilderError,
    },
}

impl Error {
    /// Whether it is about the file at `path`.
    pub(crate) fn is_about(&self, wanted: &Path) -> bool {
        match self {
            Self::File { path, .. } | Self::Authority { path, .. } => path == wanted,
            Self::Unusable(_) => false,
        }
    }
}

/// Where the files are, and what is spoken inside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The certificate, and those that lead from it to an authority, in PEM.
    pub chain: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// The authorities, in PEM, of which clients have to have a certificate; without, nobody is asked
    /// for one.
    pub client_ca: Option<PathBuf>,
    /// The protocol's name in ALPN.
    pub protocol: &'static str,
}

/// How often the files are looked at. Certificates are renewed days before they end; whoever renews
/// one in a container has no way to send a signal.
const LOOK: Duration = Duration::from_secs(60);

/// The server's side of TLS.
#[derive(Debug)]
pub(crate) struct Server {
    settings: Settings,
    current: RwLock<Current>,
    /// Of what was read last, good or bad; `None` where it could not be read.
    seen: Mutex<Option<Hash>>,
}

/// What is in use.
#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// When the first certificate of the chain ends, in seconds since 1970.
    ends: Option<i64>,
}

type Hash = [u8; digest::SHA256_OUTPUT_LEN];

impl Server {
    /// Reads the files.
    pub(crate) fn new(settings: Settings) -> Result<Self, Error> {
        let files = Files::read(&settings)?;
        let current = files.current(&settings)?;
        Ok(Self {
            current: RwLock::new(current),
            seen: Mutex::new(Some(files.hash())),
            settings,
        })
    }

    /// For one connection, with what is in use now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// When the certificate in use ends, or the first of those that lead from it to an authority, in
    /// seconds since 1970.
    pub(crate) fn ends(&self) -> Option<i64> {
        self.current().ends
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files anew, for the connections that come. What cannot be used is logged and changes
    /// nothing.
    pub(crate) fn read_anew(&self) {
        self.read(true);
    }

    /// The same, if they have changed.
    fn look(&self) {
        self.read(false);
    }

    fn read(&self, asked: bool) {
        let read = Files::read(&self.settings);
        let hash = read.as_ref().ok().map(Files::hash);
        {
            let mut seen = self.seen();
            // Nor is it said again that they are bad, or gone.
            if *seen == hash && !asked {
                return;
            }
            *seen = hash;
        }
        let certificate = self.settings.chain.display();
        match read.and_then(|files| files.current(&self.settings)) {
            Ok(new) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = new;
                tracing::info!(%certificate, "the certificate was read anew");
            }
            Err(error) => {
                tracing::error!(%certificate, %error, "the certificate was not read anew, the old one stays in use");
            }
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Hash>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A server's side, and the address that it is shown at.
pub(crate) type Certificate = (SocketAddr, Arc<Server>);

/// When they end, in seconds since 1970.
pub(crate) fn ends(certificates: &[Certificate]) -> Vec<(SocketAddr, i64)> {
    let ends = certificates.iter();
    ends.filter_map(|(address, server)| Some((*address, server.ends()?)))
        .collect()
}

/// Looks at the files of all once a minute, for as long as it is polled.
pub(crate) async fn watch(certificates: Arc<[Certificate]>) {
    let mut minutes = interval(LOOK);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is now, when they were just read.
    minutes.tick().await;
    loop {
        minutes.tick().await;
        certificates.iter().for_each(|(_, server)| server.look());
    }
}

/// What was in the files.
struct Files {
    chain: Vec<u8>,
    key: SecretSlice<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Files {
    fn read(settings: &Settings) -> Result<Self, Error> {
        let client_ca = settings.client_ca.as_deref();
        Ok(Self {
            chain: read(&settings.chain)?,
            key: read(&settings.key)?.into(),
            client_ca: client_ca.map(read).transpose()?,
        })
    }

    fn hash(&self) -> Hash {
        let mut context = digest::Context::new(&digest::SHA256);
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        for part in [&self.chain, self.key.expose_secret(), client_ca] {
            context.update(digest::digest(&digest::SHA256, part).as_ref());
        }
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    fn current(&self, settings: &Settings) -> Result<Current, Error> {
        let chain = certificates(&settings.chain, &self.chain)?;
        // One that cannot be read is refused below, or by whoever connects.
        let ends = chain.iter().filter_map(end).min();
        let config = Arc::new(self.config(settings, chain)?);
        Ok(Current { config, ends })
    }

    fn config(
        &self,
        settings: &Settings,
        chain: Vec<CertificateDer<'static>>,
    ) -> Result<ServerConfig, Error> {
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret());
        let key = key.map_err(|source| unusable(&settings.key, source))?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?;
        let builder = match (&settings.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let mut authorities = RootCertStore::empty();
                for authority in certificates(path, pem)? {
                    authorities.add(authority)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), provider());
                let path = path.clone();
                let verifier = verifier.build();
                builder.with_client_cert_verifier(
                    verifier.map_err(|source| Error::Authority { path, source })?,
                )
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        config.alpn_protocols = vec![settings.protocol.into()];
        if settings.client_ca.is_some() {
            // A session that goes on later would not be asked for its certificate again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

/// The one implementation of cryptography that there is.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| unusable(path, pem::Error::Io(error)))
}

/// All of them; none is a mistake.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(unusable(path, pem::Error::NoItemsFound)),
        found => found.map_err(|source| unusable(path, source)),
    }
}

fn end(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

fn unusable(path: &Path, source: pem::Error) -> Error {
    let path = path.to_owned();
    Error::File { path, source }
}

#[cfg(test)]
mod tests;
