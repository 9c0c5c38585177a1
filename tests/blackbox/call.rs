//! A job's side of the socket: requests, the connection they take, and refusals taken apart.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    body::{Bytes, Frame, Incoming},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runner_secrets_proto::{
    ERROR_DOMAIN, REQUEST_ID_HEADER, Reason,
    v1::{
        AzureKeyVaultSecret, AzureKeyVaultServer, ReleaseRequest, ResolveRequest, ResolveResponse,
        Secret, Verdict, secret::Source, secrets_provider_client::SecretsProviderClient,
        variable::Content,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UnixStream,
    time::timeout,
};
use tonic::{
    Code, Request, Status,
    body::Body,
    codegen::{
        Service, StdError,
        http::{self, Uri},
    },
    metadata::MetadataMap,
};
use tonic_types::StatusExt as _;

use crate::daemon::PATIENCE;

/// A request, as it is put together.
#[derive(Clone)]
pub(crate) struct Ask(pub(crate) ResolveRequest);

pub(crate) fn ask(token: &str) -> Ask {
    Ask(ResolveRequest {
        id_token: token.to_owned(),
        ..ResolveRequest::default()
    })
}

impl Ask {
    pub(crate) fn with(mut self, variable: &str, secret: Secret) -> Self {
        self.0.secrets.insert(variable.to_owned(), secret);
        self
    }

    /// As a file.
    pub(crate) fn file(self, variable: &str, name: &str) -> Self {
        self.with(variable, secret(name))
    }

    /// As the variable's own value.
    pub(crate) fn value(self, variable: &str, name: &str) -> Self {
        let file = Some(false);
        self.with(
            variable,
            Secret {
                file,
                ..secret(name)
            },
        )
    }

    /// As the variable's own value, in that version.
    pub(crate) fn pinned(self, variable: &str, name: &str, version: &str) -> Self {
        let mut pinned = secret(name);
        pinned.file = Some(false);
        version.clone_into(&mut azure(&mut pinned).version);
        self.with(variable, pinned)
    }

    /// Changes one secret of the request.
    pub(crate) fn but(mut self, variable: &str, change: impl FnOnce(&mut Secret)) -> Self {
        change(self.0.secrets.get_mut(variable).unwrap());
        self
    }

    /// Names a vault, a tenant and a client for one secret; empty: the daemon's.
    pub(crate) fn server(self, variable: &str, url: &str, tenant: &str, client: &str) -> Self {
        self.but(variable, |secret| {
            azure(secret).server = Some(AzureKeyVaultServer {
                url: url.to_owned(),
                tenant_id: tenant.to_owned(),
                client_id: client.to_owned(),
            });
        })
    }
}

/// The secret of that name, where the daemon's defaults say.
pub(crate) fn secret(name: &str) -> Secret {
    Secret {
        source: Some(Source::AzureKeyVault(AzureKeyVaultSecret {
            name: name.to_owned(),
            ..AzureKeyVaultSecret::default()
        })),
        ..Secret::default()
    }
}

pub(crate) fn azure(secret: &mut Secret) -> &mut AzureKeyVaultSecret {
    let Some(Source::AzureKeyVault(azure)) = &mut secret.source else {
        panic!("it is no secret of Key Vault");
    };
    azure
}

/// A connection to a daemon.
#[derive(Clone)]
pub(crate) struct Caller {
    connection: Connection,
}

impl Caller {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.unwrap_or_else(|error| panic!("{}: {error}", socket.display()));
        Self::of(stream).await
    }

    /// Over a connection that somebody else made.
    pub(crate) async fn over(stream: std::os::unix::net::UnixStream) -> Self {
        stream.set_nonblocking(true).unwrap();
        Self::of(UnixStream::from_std(stream).unwrap()).await
    }

    /// Over any connection.
    pub(crate) async fn of(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        drop(tokio::spawn(connection));
        Self {
            connection: Connection(sender),
        }
    }

    /// For the clients of other services.
    pub(crate) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    pub(crate) async fn resolve(&self, ask: Ask) -> Result<ResolveResponse, Refusal> {
        self.send(Request::new(ask.0)).await
    }

    /// The variables and what they hold: the bytes of a value, or those in the file.
    pub(crate) async fn bytes(&self, ask: Ask) -> BTreeMap<String, Vec<u8>> {
        let answer = self.resolve(ask).await.unwrap();
        let variables = answer.variables.into_iter();
        let bytes = |content| match content {
            Some(Content::Path(path)) => std::fs::read(path).unwrap(),
            Some(Content::Value(value)) => value,
            None => panic!("an answer without content"),
        };
        variables
            .map(|(name, variable)| (name, bytes(variable.content)))
            .collect()
    }

    /// What the request is refused with.
    pub(crate) async fn refused(&self, ask: Ask) -> Refusal {
        match self.resolve(ask).await {
            Ok(answer) => panic!("it is not refused: {answer:?}"),
            Err(refusal) => refusal,
        }
    }

    /// Sends a request with headers of its own.
    pub(crate) async fn send(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<ResolveResponse, Refusal> {
        match self.try_send(request).await {
            Ok(answer) => Ok(answer),
            Err(status) => Err(Refusal::of(&status)),
        }
    }

    pub(crate) async fn try_send(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<ResolveResponse, Status> {
        let mut client = self.client();
        let answer = within(client.resolve(request)).await?;
        assert_request_id(&header(answer.metadata()));
        Ok(answer.into_inner())
    }

    /// What policy would say, by variable.
    pub(crate) async fn explain(&self, ask: Ask) -> Result<BTreeMap<String, Verdict>, Refusal> {
        let mut client = self.client();
        match within(client.explain(ask.0)).await {
            Ok(answer) => {
                assert_request_id(&header(answer.metadata()));
                Ok(answer.into_inner().verdicts.into_iter().collect())
            }
            Err(status) => Err(Refusal::of(&status)),
        }
    }

    pub(crate) async fn release(&self, lease: &str, token: &str) -> Result<(), Refusal> {
        let mut client = self.client();
        let request = ReleaseRequest {
            lease_id: lease.to_owned(),
            id_token: token.to_owned(),
        };
        match within(client.release(request)).await {
            Ok(answer) => {
                assert_request_id(&header(answer.metadata()));
                Ok(())
            }
            Err(status) => Err(Refusal::of(&status)),
        }
    }

    /// Sends the head of a request whose message never comes, and gives the refusal that there is
    /// all the same.
    pub(crate) async fn never_ends(&self, method: &str) -> Refusal {
        let request = http::Request::post(format!(
            "http://localhost/runner_secrets.v1.SecretsProvider/{method}"
        ));
        let request = request.header("content-type", "application/grpc");
        let request = request.body(Body::new(Never)).unwrap();
        let answer = within(self.connection().call(request)).await.unwrap();
        Refusal::of(&Status::from_header_map(answer.headers()).unwrap())
    }

    /// Whether the daemon has closed the connection.
    pub(crate) fn is_closed(&self) -> bool {
        self.connection.0.is_closed()
    }

    fn client(&self) -> SecretsProviderClient<Connection> {
        const ROOM: usize = 64 * 1024 * 1024;
        let client = SecretsProviderClient::with_origin(self.connection(), origin());
        client.max_decoding_message_size(ROOM)
    }
}

/// A request's message that is never sent.
struct Never;

impl hyper::body::Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

/// What HTTP/2 wants as the authority.
pub(crate) fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

/// Waits for an answer, but not for ever.
async fn within<T>(answer: impl Future<Output = T>) -> T {
    let answer = timeout(PATIENCE, answer).await;
    answer.expect("no answer in time")
}

/// A refusal, taken apart. Making one checks what every refusal owes.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) message: String,
    pub(crate) request_id: String,
    /// The fields that are wrong, and what is wrong with them.
    pub(crate) violations: Vec<(String, String)>,
    /// When to try again, where that makes sense.
    pub(crate) retry: Option<Duration>,
    /// All of it, as it came over the wire.
    pub(crate) raw: Vec<u8>,
}

impl Refusal {
    pub(crate) fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let Some(info) = details.error_info() else {
            panic!("a refusal without a reason: {status:?}");
        };
        assert_eq!(info.domain, ERROR_DOMAIN);
        let reason = Reason::named(&info.reason).unwrap_or_else(|| panic!("{info:?}"));
        assert_eq!(Some(status.code()), reason.row().code, "{status:?}");
        let request_id = info.metadata.get("request_id").cloned().unwrap_or_default();
        assert_request_id(&request_id);
        assert_eq!(request_id, header(status.metadata()));
        assert!(status.details().len() < 4096, "details of more than 4 KB");
        assert!(!status.message().contains('\n'), "{}", status.message());
        let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
        let retries = matches!(
            status.code(),
            Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
        );
        let retry = details.retry_info().and_then(|retry| retry.retry_delay);
        assert_eq!(retry.is_some(), retries, "{status:?}");
        let mut raw = format!("{:?} ", status.metadata()).into_bytes();
        raw.extend_from_slice(status.message().as_bytes());
        raw.extend_from_slice(status.details());
        Self {
            reason,
            message: status.message().to_owned(),
            request_id,
            violations: violations
                .unwrap_or_default()
                .iter()
                .map(|violation| (violation.field.clone(), violation.description.clone()))
                .collect(),
            retry,
            raw,
        }
    }
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

fn header(metadata: &MetadataMap) -> String {
    let header = metadata.get(REQUEST_ID_HEADER);
    let header = header.and_then(|id| id.to_str().ok()).unwrap_or_default();
    header.to_owned()
}

fn assert_request_id(id: &str) {
    let hexadecimal = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(hexadecimal, "no request id: {id:?}");
}

/// The connection as the service that generated clients call. It adds no deadline of its own, so
/// that what ends a request is the daemon.
#[derive(Clone)]
pub(crate) struct Connection(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Connection {
    type Response = http::Response<Incoming>;
    type Error = StdError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, StdError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), StdError>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        Box::pin(async { answer.await.map_err(Into::into) })
    }
}
