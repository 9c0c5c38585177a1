//! One GET over HTTP or HTTPS, for the documents of an issuer elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};

use crate::tls;

/// Entra gives up on an issuer rather soon; a test should not wait longer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Discovery documents and key sets are a few kilobytes.
const LIMIT: usize = 256 * 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The certificate authorities to trust: the file's, or else the emulator's own.
pub(super) fn roots(own: &str, file: Option<&Path>) -> Option<RootCertStore> {
    let pem = match file {
        Some(path) => std::fs::read(path).ok()?,
        None => own.as_bytes().to_vec(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.ok()?).ok()?;
    }
    Some(roots)
}

/// Fetches a JSON document. Redirects are not followed.
pub(super) async fn json(roots: &RootCertStore, url: &str) -> Result<Value, Failure> {
    tokio::time::timeout(PATIENCE, fetch(roots, url)).await?
}

async fn fetch(roots: &RootCertStore, url: &str) -> Result<Value, Failure> {
    let uri: Uri = url.parse()?;
    let host = uri.host().ok_or("no host")?.to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await?;
    let body = if tls {
        let config = tls::client_config(roots.clone())?;
        let name = ServerName::try_from(host)?;
        let connector = TlsConnector::from(Arc::new(config));
        get(connector.connect(name, stream).await?, &uri).await?
    } else {
        get(stream, &uri).await?
    };
    Ok(serde_json::from_slice(&body)?)
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
) -> Result<Bytes, Failure> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header("host", authority)
        .header("accept", "application/json")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        if response.status() != 200 {
            return Err(Failure::from("the issuer did not answer 200"));
        }
        Ok(Limited::new(response.into_body(), LIMIT)
            .collect()
            .await?
            .to_bytes())
    };
    tokio::pin!(exchange);
    tokio::select! {
        body = &mut exchange => body,
        ended = connection => {
            ended?;
            exchange.await
        }
    }
}
