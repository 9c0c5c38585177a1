//! TLS towards GitLab, as a client. HTTP/1.1 only, which is what runners speak.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use crate::tls::{Error, provider};

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
