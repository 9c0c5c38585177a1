//! Jobs that ask the daemon, each over a connection of its own as real ones do.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runner_secrets_proto::v1::{
    AzureKeyVaultSecret, ReleaseRequest, ResolveRequest, ResolveResponse, Secret, secret::Source,
    secrets_provider_client::SecretsProviderClient,
};
use tokio::net::UnixStream;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, StdError, http},
};

use super::azure::secret_name;

/// A job's connection.
#[derive(Clone)]
pub(crate) struct Caller(SecretsProviderClient<Connection>);

impl Caller {
    pub(crate) async fn connect(socket: &Path) -> Self {
        Self::try_connect(socket).await.unwrap()
    }

    pub(crate) async fn try_connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(io::Error::other)?;
        drop(tokio::spawn(connection));
        let origin = http::Uri::from_static("http://localhost");
        let client = SecretsProviderClient::with_origin(Connection(sender), origin);
        Ok(Self(client))
    }

    /// Reads `secrets` secrets.
    pub(crate) async fn resolve(
        &mut self,
        token: &str,
        secrets: u64,
    ) -> Result<ResolveResponse, Status> {
        let answer = self.0.resolve(request(token, secrets)).await?.into_inner();
        assert_eq!(u64::try_from(answer.variables.len()).unwrap(), secrets);
        Ok(answer)
    }

    pub(crate) async fn release(&mut self, lease: String, token: String) {
        let request = ReleaseRequest {
            lease_id: lease,
            id_token: token,
        };
        self.0.release(request).await.unwrap();
    }
}

fn request(token: &str, secrets: u64) -> ResolveRequest {
    let secret = |index| {
        let name = secret_name(index);
        let source = Source::AzureKeyVault(AzureKeyVaultSecret {
            name,
            ..AzureKeyVaultSecret::default()
        });
        let secret = Secret {
            source: Some(source),
            ..Secret::default()
        };
        (format!("V{index}"), secret)
    };
    ResolveRequest {
        id_token: token.to_owned(),
        secrets: (0..secrets).map(secret).collect(),
        ..ResolveRequest::default()
    }
}

/// One whole job: connects, asks, and leaves. Gives what to release afterwards.
pub(crate) async fn job(socket: PathBuf, token: String, secrets: u64) -> (String, String) {
    let mut caller = Caller::connect(&socket).await;
    let answer = caller.resolve(&token, secrets).await.unwrap();
    (answer.lease_id, token)
}

/// One whole job, which releases what it was given before it leaves.
pub(crate) async fn to_its_end(socket: PathBuf, token: String, secrets: u64) {
    let mut caller = Caller::connect(&socket).await;
    let answer = caller.resolve(&token, secrets).await.unwrap();
    caller.release(answer.lease_id, token).await;
}

/// Releases what jobs left.
pub(crate) async fn release(socket: &Path, leases: Vec<(String, String)>) {
    let mut caller = Caller::connect(socket).await;
    for (lease, token) in leases {
        if !lease.is_empty() {
            caller.release(lease, token).await;
        }
    }
}

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
