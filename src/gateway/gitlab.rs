//! The way to GitLab: a client that keeps connections for a while, for what runners send and for
//! what the gateway itself has to say about a job. Knows no runner's token, and a job's own only
//! as long as it speaks about that job.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    header::{HOST, HeaderValue},
    http::uri::{Authority, PathAndQuery, Scheme},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use super::{Error, tls};
use crate::config::gateway::Gateway as Settings;

/// A body that goes either way.
pub(super) type Body = UnsyncBoxBody<Bytes, Broken>;
/// Why a body ended before its end.
pub(super) type Broken = Box<dyn std::error::Error + Send + Sync>;

/// GitLab, as the gateway reaches it.
#[derive(Clone, Debug)]
pub(super) struct GitLab {
    client: Client<HttpsConnector<HttpConnector>, Body>,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// What every path of the API begins with.
    api: String,
}

/// Longer than a handshake takes round the world.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than nginx keeps an idle connection (75 s by default, 65 s in Omnibus), so that it is
/// hardly ever closed under a request.
const IDLE: Duration = Duration::from_secs(30);

impl GitLab {
    pub(super) fn new(settings: &Settings) -> Result<Self, Error> {
        let ca = settings.ca.as_ref().map(|ca| ca.pem.as_slice());
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls::outbound(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_preserve_header_case(true)
            .build(connector);
        let url = &settings.gitlab_url;
        let host = authority(url);
        let named = || Error::Url(url.to_string());
        let path = url.path().trim_end_matches('/');
        Ok(Self {
            client,
            scheme: url.scheme().parse().map_err(|_| named())?,
            authority: host.parse().map_err(|_| named())?,
            host: host.parse().map_err(|_| named())?,
            api: format!("{path}/api/v4/"),
        })
    }

    /// The path in the API, if `path` is in it.
    pub(super) fn in_api<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.api)
    }

    /// The host, with the port if it is not the usual one.
    pub(super) fn host(&self) -> &HeaderValue {
        &self.host
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// Whether a CONNECT is for this GitLab.
    pub(super) fn is_at(&self, authority: &Authority) -> bool {
        let port = |authority: &Authority| authority.port_u16().unwrap_or(443);
        authority.host().eq_ignore_ascii_case(self.authority.host())
            && port(authority) == port(&self.authority)
    }

    /// Sends a request to where its path is in GitLab; the answer's body is yet to come.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Broken> {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::builder()
            .scheme(self.scheme.clone())
            .authority(self.authority.clone())
            .path_and_query(path)
            .build()?;
        request.headers_mut().insert(HOST, self.host.clone());
        Ok(self.client.request(request).await?)
    }

    /// The address of something in the API, as [`send`](Self::send) takes it.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.api)
    }
}

/// `host` or `host:port`, as a URL has it.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

pub(super) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    let full = Full::new(bytes.into());
    full.map_err(|never| match never {}).boxed_unsync()
}

pub(super) fn streaming(body: Incoming) -> Body {
    body.map_err(Broken::from).boxed_unsync()
}
