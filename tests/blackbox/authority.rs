//! A certificate authority, such as an operator or a company has, and what it signs.

use std::{fs, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, date_time_ymd,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::daemon::Place;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(crate) struct Leaf {
    pub(crate) certificate: rcgen::Certificate,
    pub(crate) key: KeyPair,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost`.
    pub(crate) fn leaf(&self) -> Leaf {
        self.leaf_of("localhost")
    }

    /// A certificate for a host.
    pub(crate) fn leaf_of(&self, name: &str) -> Leaf {
        self.sign(CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// The same, which ended long ago.
    pub(crate) fn ended(&self) -> Leaf {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (date_time_ymd(2000, 1, 1), date_time_ymd(2001, 1, 1));
        self.sign(params)
    }

    /// A client's certificate.
    pub(crate) fn client(&self, name: &str, ends: i32) -> Leaf {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_after = date_time_ymd(ends, 1, 1);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf { certificate, key }
    }

    /// What a client is set up with that trusts this authority, and has a certificate or none.
    pub(crate) fn trusted(&self, own: Option<&Leaf>, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let chain = vec![leaf.certificate.der().clone()];
                builder
                    .with_client_auth_cert(chain, leaf.private())
                    .unwrap()
            }
        };
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        config.alpn_protocols = protocols.collect();
        Arc::new(config)
    }
}

impl Leaf {
    pub(crate) fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()))
    }

    /// Writes both to where [`keys`] says.
    pub(crate) fn write(&self, place: &Place) {
        write(place, "cert.pem", &self.certificate.pem());
        write(place, "key.pem", &self.key.serialize_pem());
    }
}

/// The keys of a configuration for a certificate in `place`.
pub(crate) fn keys(place: &Place) -> String {
    let path = |name| place.path(name).display().to_string();
    let (chain, key) = (path("cert.pem"), path("key.pem"));
    format!("tls_cert = {chain:?}\ntls_key = {key:?}\n")
}

/// Writes a file, and gives its path.
pub(crate) fn write(place: &Place, name: &str, text: &str) -> String {
    let path = place.path(name);
    fs::write(&path, text).unwrap();
    path.display().to_string()
}
