//! TLS on both sides of the gateway: with its own certificate towards runners, as a client towards
//! GitLab. HTTP/1.1 only, which is what runners speak.

use std::{path::PathBuf, sync::Arc};

use rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject as _};

use crate::config::gateway::Certificate;

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
}

/// For runners.
pub(crate) fn inbound(certificate: &Certificate) -> Result<Arc<ServerConfig>, Error> {
    let Certificate { chain, key } = certificate;
    let failed = |path: &PathBuf| {
        let path = path.clone();
        |source| Error::File { path, source }
    };
    let certificates = CertificateDer::pem_file_iter(chain).map_err(failed(chain))?;
    let certificates = certificates.collect::<Result<_, _>>();
    let certificates = certificates.map_err(failed(chain))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(failed(key))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// For GitLab: `ca`, in PEM, is trusted besides the system's authorities.
pub(crate) fn outbound(ca: Option<&[u8]>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let own = ca.into_iter().flat_map(CertificateDer::pem_slice_iter);
    roots.add_parsable_certificates(own.flatten());
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
