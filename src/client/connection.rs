//! The way to the daemon: HTTP/2 over its unix socket, without the machinery for pools and TLS
//! that a local socket has no use for. Before anything is sent, the kernel says who listens at the
//! other end: a job can name any socket in `RUNNER_SECRETS_SOCKET`, and so can whoever gets at the
//! variables of a pipeline, but a token goes only to root or to a uid that the caller trusts. The
//! program trusts the owner of its own file, because whoever can replace that file needs no socket.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runner_secrets_proto::{
    ERROR_DOMAIN, REQUEST_ID_HEADER, Reason, VERSION_HEADER, metadata,
    v1::{ReleaseRequest, secrets_provider_client::SecretsProviderClient},
};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep, timeout},
};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codegen::{Service, StdError, http, http::Uri},
    metadata::MetadataMap,
};
use tonic_types::StatusExt as _;

use super::{
    answer::Answer,
    error::{Advice, Error, Refusal, reason_of},
    spec::Spec,
    verdict::Verdicts,
};
use crate::{screen::Plain, secret::IdToken};

/// Where the daemon listens unless `RUNNER_SECRETS_SOCKET` says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/runner-secrets/api/api.sock";

/// A local daemon accepts at once; one that is starting again needs a moment.
const CONNECT: Duration = Duration::from_secs(5);

/// What Entra and Key Vault need when they are slow, with the daemon's retries.
const RESOLVE: Duration = Duration::from_secs(60);

/// Deleting a few files; if it takes longer, the lease ends by itself.
const RELEASE: Duration = Duration::from_secs(10);

/// A thousand secrets of 25 KiB, Key Vault's largest: ten times the daemon's own limit.
const LARGEST_ANSWER: usize = 32 * 1024 * 1024;

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    rpc: SecretsProviderClient<Channel>,
    socket: PathBuf,
    server_pid: Option<i32>,
}

impl Client {
    /// Connects to the daemon's socket, and makes sure that root or one of `trusted` listens there.
    pub async fn connect(socket: &Path, trusted: &[u32]) -> Result<Self, Error> {
        let unreachable = |problem: String| Error::Unreachable {
            socket: socket.to_owned(),
            problem,
        };
        let stream = dial(socket).await;
        let stream = stream.map_err(|error| unreachable(error.to_string()))?;
        let peer = stream.peer_cred();
        let peer = peer.map_err(|error| unreachable(error.to_string()))?;
        if peer.uid() != 0 && !trusted.contains(&peer.uid()) {
            return Err(Error::Impostor {
                socket: socket.to_owned(),
                uid: peer.uid(),
            });
        }
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        // Ends with the sender; what breaks it shows in the call that it breaks.
        drop(tokio::spawn(connection));
        let rpc = SecretsProviderClient::with_origin(Channel(sender), ORIGIN.clone());
        Ok(Self {
            rpc: rpc.max_decoding_message_size(LARGEST_ANSWER),
            socket: socket.to_owned(),
            // 0 stands for a process that this one cannot see.
            server_pid: peer.pid().filter(|pid| *pid > 0),
        })
    }

    /// Asks for all secrets of a spec and checks that the answer is one to it. `owner` is the
    /// process whose end ends the lease.
    pub async fn resolve(&mut self, spec: &Spec, owner: Option<i32>) -> Result<Answer, Error> {
        let mut request = Request::new(spec.request(owner));
        request.set_timeout(RESOLVE);
        let answer = timeout(RESOLVE, self.rpc.resolve(request)).await;
        let answer = self.within(RESOLVE, answer)?;
        let request_id = request_id(answer.metadata());
        Answer::check(spec, answer.into_inner(), request_id)
    }

    /// Asks what the policy would say to a spec. Nothing is read, and nothing has to be released.
    pub async fn explain(&mut self, spec: &Spec) -> Result<Verdicts, Error> {
        let mut request = Request::new(spec.request(None));
        request.set_timeout(RESOLVE);
        let answer = timeout(RESOLVE, self.rpc.explain(request)).await;
        if let Ok(Err(status)) = &answer
            && status.code() == Code::Unimplemented
        {
            return Err(Error::CannotExplain {
                socket: self.socket.clone(),
            });
        }
        let answer = self.within(RESOLVE, answer)?;
        let request_id = request_id(answer.metadata());
        let version = header(answer.metadata(), VERSION_HEADER);
        Verdicts::check(spec, answer.into_inner(), request_id, version)
    }

    /// Has the daemon delete a lease's files now.
    pub async fn release(&mut self, lease: &str, token: &IdToken) -> Result<(), Error> {
        let mut request = Request::new(ReleaseRequest {
            lease_id: lease.to_owned(),
            id_token: token.expose().to_owned(),
        });
        request.set_timeout(RELEASE);
        let answer = timeout(RELEASE, self.rpc.release(request)).await;
        self.within(RELEASE, answer)?;
        Ok(())
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The daemon's process id, if this process can see it.
    #[must_use]
    pub fn server_pid(&self) -> Option<i32> {
        self.server_pid
    }

    fn within<Message, Late>(
        &self,
        waited: Duration,
        answer: Result<Result<Response<Message>, Status>, Late>,
    ) -> Result<Response<Message>, Error> {
        match answer {
            Ok(answer) => answer.map_err(|status| self.failure(&status)),
            Err(_) => Err(Error::Deadline {
                socket: self.socket.clone(),
                waited,
            }),
        }
    }

    /// Tells what the daemon refused from a connection that broke.
    fn failure(&self, status: &Status) -> Error {
        let info = status.get_details_error_info();
        let info = info.filter(|info| info.domain == ERROR_DOMAIN);
        if info.is_none() && std::error::Error::source(status).is_some() {
            return Error::Unreachable {
                socket: self.socket.clone(),
                problem: format!("the connection broke: {}", status.message()),
            };
        }
        let code = status.code();
        let name = match &info {
            Some(info) => Plain(&info.reason).to_string(),
            None => format!("gRPC status {}", i32::from(code)),
        };
        let reason = Reason::named(&name).unwrap_or_else(|| reason_of(code));
        let told = info
            .as_ref()
            .and_then(|info| info.metadata.get(metadata::REQUEST_ID));
        let request_id = match told {
            Some(id) => Plain(id).to_string(),
            None => request_id(status.metadata()),
        };
        let retry = status.get_details_retry_info();
        let known = info.map(|info| info.metadata).unwrap_or_default();
        Error::Refused(Box::new(Refusal {
            reason,
            name,
            message: status.message().to_owned(),
            request_id,
            retry_after: retry.and_then(|retry| retry.retry_delay),
            advice: advice(known, status),
            version: header(status.metadata(), VERSION_HEADER),
        }))
    }
}

/// The daemon's advice, if it has any: an older one has none.
fn advice(mut known: HashMap<String, String>, status: &Status) -> Advice {
    let mut take = |key| known.remove(key).unwrap_or_default();
    let help = status.get_details_help();
    let link = help.and_then(|help| help.links.into_iter().next());
    Advice {
        by: take(metadata::REFUSED_BY),
        fix: take(metadata::FIX),
        command: take(metadata::COMMAND),
        lines: String::new(),
        see: link.map(|link| link.url).unwrap_or_default(),
    }
}

/// Connects, and tries again while the daemon has more callers waiting than the kernel queues.
async fn dial(socket: &Path) -> io::Result<UnixStream> {
    // Short beside a resolve; the queue moves when the daemon accepts, and nothing tells us.
    const PAUSE: Duration = Duration::from_millis(20);
    let until = Instant::now() + CONNECT;
    loop {
        match UnixStream::connect(socket).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < until => {
                sleep(PAUSE).await;
            }
            done => return done,
        }
    }
}

fn request_id(metadata: &MetadataMap) -> String {
    header(metadata, REQUEST_ID_HEADER)
}

/// A header's text, safe to print; empty where there is none.
fn header(metadata: &MetadataMap, name: &str) -> String {
    let value = metadata.get(name).and_then(|value| value.to_str().ok());
    Plain(value.unwrap_or_default()).to_string()
}

/// What HTTP/2 wants as the authority; a socket has none.
static ORIGIN: std::sync::LazyLock<Uri> =
    std::sync::LazyLock::new(|| Uri::from_static("http://localhost"));

/// The connection as the service that the generated client calls.
#[derive(Clone, Debug)]
struct Channel(http2::SendRequest<Body>);

impl Service<http::Request<Body>> for Channel {
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

#[cfg(test)]
mod tests;
