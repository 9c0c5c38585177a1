//! The least that it takes: the same HTTP requests by hand, on connections that are there already,
//! with nothing around them.

use std::{sync::Arc, time::Duration};

use azure_emulator::Ready;
use futures_util::future::join_all;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Method, Request,
    body::{Bytes, Incoming},
    client::conn::{http1, http2},
    header,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Mutex, Semaphore},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};

use super::{
    azure::secret_name,
    load,
    part::{Answers, Part},
};

const LOGIN: &str = "login.microsoftonline.com";
const VAULT: &str = "demo.vault.azure.net";

/// What the floor is asked to do.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Connect {
        ready: Ready,
        http2: bool,
        lines: usize,
    },
    Closed {
        tokens: Vec<String>,
        secrets: u64,
        concurrent: usize,
    },
    Open {
        tokens: Vec<String>,
        secrets: u64,
        per_second: f64,
    },
}

/// What came of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) times: Vec<Duration>,
    pub(crate) wall: Duration,
}

/// The floor's side of the pipe.
#[derive(Default)]
pub(crate) struct Floor(Option<Site>);

#[async_trait::async_trait]
impl Answers for Floor {
    async fn answer(&mut self, command: Value) -> Value {
        let site = self.0.clone();
        let done = match serde_json::from_value(command).unwrap() {
            Command::Connect {
                ready,
                http2,
                lines,
            } => {
                self.0 = Some(Site::connect(&ready, http2, lines).await);
                return json!(null);
            }
            Command::Closed {
                tokens,
                secrets,
                concurrent,
            } => {
                let site = site.unwrap();
                load::closed(tokens, concurrent, move |token| {
                    site.clone().job(token, secrets)
                })
                .await
            }
            Command::Open {
                tokens,
                secrets,
                per_second,
            } => {
                let site = site.unwrap();
                load::open(tokens, per_second, |token| site.clone().job(token, secrets)).await
            }
        };
        json!(Told {
            times: done.times,
            wall: done.wall,
        })
    }
}

/// A floor in a process of its own.
pub(crate) async fn start(ready: &Ready, http2: bool, lines: usize) -> Part {
    let mut part = Part::start("floor");
    let command = Command::Connect {
        ready: ready.clone(),
        http2,
        lines,
    };
    part.tell(&command).await;
    part
}

/// Entra and the vault, connected.
#[derive(Clone)]
pub(crate) struct Site {
    ready: Ready,
    login: Arc<Lines>,
    vault: Arc<Lines>,
}

impl Site {
    /// With `lines` connections to the vault and to Entra; one each where they speak HTTP/2.
    pub(crate) async fn connect(ready: &Ready, http2: bool, lines: usize) -> Self {
        Self {
            ready: ready.clone(),
            login: Arc::new(Lines::connect(ready, LOGIN, http2, lines).await),
            vault: Arc::new(Lines::connect(ready, VAULT, http2, lines).await),
        }
    }

    /// The exchange and then all reads.
    pub(crate) async fn job(self, token: String, secrets: u64) {
        let access = self.exchange(&token).await;
        let access = format!("Bearer {access}");
        let reads = (0..secrets).map(|index| {
            let path = format!("/secrets/{}?api-version=2025-07-01", secret_name(index));
            self.vault.send(Method::GET, path, &access, Bytes::new())
        });
        for answer in join_all(reads).await {
            assert!(answer.windows(7).any(|part| part == b"\"value\""));
        }
    }

    async fn exchange(&self, token: &str) -> String {
        let Ready {
            tenant_id,
            client_id,
            ..
        } = &self.ready;
        let form = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("client_id", client_id)
            .append_pair("scope", "https://vault.azure.net/.default")
            .append_pair(
                "client_assertion_type",
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            )
            .append_pair("client_assertion", token)
            .append_pair("grant_type", "client_credentials")
            .finish();
        let path = format!("/{tenant_id}/oauth2/v2.0/token");
        let answer = self.login.send(Method::POST, path, "", form.into()).await;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }
}

/// The connections to one host.
struct Lines {
    host: &'static str,
    kind: Kind,
}

enum Kind {
    Http1 {
        free: Mutex<Vec<http1::SendRequest<Full<Bytes>>>>,
        count: Semaphore,
    },
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Lines {
    async fn connect(ready: &Ready, host: &'static str, http2: bool, lines: usize) -> Self {
        let kind = if http2 {
            let io = TokioIo::new(tls(ready, host, b"h2").await);
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
            drop(tokio::spawn(connection));
            Kind::Http2(sender)
        } else {
            let mut free = Vec::new();
            for _ in 0..lines {
                let io = TokioIo::new(tls(ready, host, b"http/1.1").await);
                let (sender, connection) = http1::handshake(io).await.unwrap();
                drop(tokio::spawn(connection));
                free.push(sender);
            }
            let count = Semaphore::new(free.len());
            Kind::Http1 {
                free: Mutex::new(free),
                count,
            }
        };
        Self { host, kind }
    }

    async fn send(&self, method: Method, path: String, authorization: &str, body: Bytes) -> Bytes {
        let base = match self.kind {
            Kind::Http1 { .. } => String::new(),
            Kind::Http2(_) => format!("https://{}", self.host),
        };
        let mut request = Request::builder().method(method).uri(base + &path);
        if authorization.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        } else {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(body);
        match &self.kind {
            Kind::Http1 { free, count } => {
                let request = request.header(header::HOST, self.host).body(body).unwrap();
                let _count = count.acquire().await.unwrap();
                let mut sender = free.lock().await.pop().unwrap();
                sender.ready().await.unwrap();
                let answer = read(sender.send_request(request).await.unwrap()).await;
                free.lock().await.push(sender);
                answer
            }
            Kind::Http2(sender) => {
                let request = request.body(body).unwrap();
                read(sender.clone().send_request(request).await.unwrap()).await
            }
        }
    }
}

async fn read(answer: hyper::Response<Incoming>) -> Bytes {
    assert_eq!(answer.status(), 200);
    answer.into_body().collect().await.unwrap().to_bytes()
}

/// Through the emulator's proxy, as everybody goes.
async fn tls(ready: &Ready, host: &'static str, alpn: &[u8]) -> TlsStream<TcpStream> {
    let proxy = ready.proxy_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let connect = format!("CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let mut roots = RootCertStore::empty();
    let pem = CertificateDer::from_pem_file(&ready.ca_file).unwrap();
    roots.add(pem).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let name = ServerName::try_from(host).unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, stream).await.unwrap()
}
