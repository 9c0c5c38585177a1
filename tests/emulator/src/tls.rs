//! The emulator's certificate authority, and a certificate for any name a client asks for.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, ServerConfig};

use crate::error::Error;
use crate::shared::Shared;

/// Longer than any test, shorter than what some clients refuse.
const VALID_FOR: Duration = Duration::days(90);

/// What the TLS listener needs, and the authority's certificate for clients.
pub(crate) struct Tls {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) ca_pem: String,
}

impl Tls {
    /// Makes a new authority.
    pub(crate) fn new() -> Result<Self, Error> {
        let ca_key = KeyPair::generate()?;
        let mut params = params("azure-emulator authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&ca_key)?.pem();
        let leaf_key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let names = Names {
            authority: Issuer::new(params, ca_key),
            signing_key: aws_lc_rs::default_provider()
                .key_provider
                .load_private_key(der)?,
            leaf_key,
            minted: Shared::default(),
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(names));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            ca_pem,
        })
    }
}

/// For the emulator as a client of other issuers.
pub(crate) fn client_config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(provider());
    let config = config.with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::days(1);
    params.not_after = now + VALID_FOR;
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// Certificates by name, each made when it is first asked for.
struct Names {
    authority: Issuer<'static, KeyPair>,
    leaf_key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    minted: Shared<HashMap<String, Arc<CertifiedKey>>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // A client that connects to an address sends no name.
        let name = hello.server_name().unwrap_or("localhost").to_lowercase();
        if let Some(known) = self.minted.lock().get(&name) {
            return Some(Arc::clone(known));
        }
        let minted = Arc::new(self.mint(&name).ok()?);
        self.minted.lock().insert(name, Arc::clone(&minted));
        Some(minted)
    }
}

impl Names {
    fn mint(&self, name: &str) -> Result<CertifiedKey, Error> {
        let mut params = params(name);
        params.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
        if name == "localhost" {
            let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
            params.subject_alt_names.push(SanType::IpAddress(loopback));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.leaf_key, &self.authority)?;
        let chain = vec![certificate.der().clone()];
        Ok(CertifiedKey::new(chain, Arc::clone(&self.signing_key)))
    }
}
