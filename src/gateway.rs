//! The gateway: a reverse proxy between runners and GitLab. Everything passes through unchanged but
//! the answer to `jobs/request` with a job in it: the job's secrets of Azure Key Vault are resolved
//! here, by the same pipeline as any other request, and become variables of the job, which the
//! runner masks and writes to files as it does with those that it resolves itself. Where a secret
//! cannot be had, the job fails; it never falls back to the runner's own resolver.
//!
//! `payload` is the job as bytes, `ask` what it wants, `poll` the one request that matters,
//! `report` and `trace` what GitLab and the job's author are told, `forward` everything else.

mod ask;
mod encoding;
mod forward;
mod gitlab;
mod job;
mod listen;
pub(crate) mod metrics;
mod payload;
mod poll;
mod report;
mod tls;
mod trace;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use hyper::{
    Method, Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, http::HeaderValue,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    gitlab::{Body, Broken, GitLab, full},
    metrics::Jobs,
};
use crate::{
    config::gateway::Gateway as Settings,
    limits::Admission,
    service::Front,
    tls::{self as server, Server},
    vault::Vault,
};

/// Why there is no gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificate, or those that it is to trust.
    #[error("gateway: {0}")]
    Tls(#[from] server::Error),
    /// GitLab's address.
    #[error("gateway.gitlab_url: {0:?} is no address")]
    Url(String),
}

/// One gateway.
pub(crate) struct Gateway<V> {
    front: Front<V>,
    admission: Arc<Admission>,
    gitlab: GitLab,
    tls: Option<Arc<Server>>,
    connect: bool,
    strip_id_tokens: bool,
    keep_alive: Duration,
    connections: usize,
    /// Whose tokens are ours.
    audiences: Vec<String>,
    metrics: Jobs,
    /// Connections.
    open: TaskTracker,
    /// What goes on when a runner hangs up.
    tasks: TaskTracker,
    /// The daemon stops.
    leaving: CancellationToken,
}

impl<V> fmt::Debug for Gateway<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("gitlab", &self.gitlab)
            .finish_non_exhaustive()
    }
}

impl<V: Vault> Gateway<V> {
    /// Sets one up; nothing is accepted or sent yet.
    pub(crate) fn new(
        settings: &Settings,
        front: Front<V>,
        admission: Arc<Admission>,
        audiences: Vec<String>,
        metrics: Jobs,
    ) -> Result<Arc<Self>, Error> {
        let tls = settings.certificate.clone().map(Server::new).transpose()?;
        Ok(Arc::new(Self {
            front,
            admission,
            gitlab: GitLab::new(settings)?,
            tls: tls.map(Arc::new),
            connect: settings.connect,
            strip_id_tokens: settings.strip_id_tokens,
            keep_alive: settings.keep_alive,
            connections: settings.connections,
            audiences,
            metrics,
            open: TaskTracker::new(),
            tasks: TaskTracker::new(),
            leaving: CancellationToken::new(),
        }))
    }

    /// Its certificate, where it has one.
    pub(crate) fn tls(&self) -> Option<&Arc<Server>> {
        self.tls.as_ref()
    }

    /// Whether a job that needs secrets could have them, or what is in the way.
    fn ready(&self) -> Result<(), &'static str> {
        if self.front.audit.ready().is_err() {
            return Err("the audit trail cannot be written");
        }
        let issuers = self.front.provider.verifier.status();
        if issuers.iter().all(|issuer| issuer.keys == 0) {
            return Err("no issuer's keys are known");
        }
        if self.admission.is_full() {
            return Err("as many requests wait as limits.queue allows");
        }
        Ok(())
    }

    async fn answer(self: Arc<Self>, peer: IpAddr, request: Request<Incoming>) -> Response<Body> {
        match (request.method(), self.gitlab.in_api(request.uri().path())) {
            (&Method::POST, Some("jobs/request")) => poll::poll(&self, peer, request).await,
            // A runner that found the job router would get its jobs past the gateway.
            (_, Some("runners/router/discovery")) => said(
                StatusCode::NOT_IMPLEMENTED,
                "the job router is not used behind runner-secrets\n",
            ),
            (&Method::CONNECT, _) => said(
                StatusCode::METHOD_NOT_ALLOWED,
                "this gateway is no proxy for CONNECT\n",
            ),
            _ => match forward::forward(&self.gitlab, peer, request, &self.leaving).await {
                Ok(response) => response,
                Err(error) => unreachable(&error),
            },
        }
    }
}

/// How GitLab answers a poll for a job that has no token, or why it does not.
pub(crate) async fn ask_without_token(settings: &Settings) -> Result<StatusCode, String> {
    let gitlab = GitLab::new(settings).map_err(|error| error.to_string())?;
    let poll = Request::post(gitlab.path("jobs/request")).header(CONTENT_TYPE, "application/json");
    let poll = poll.body(full("{}")).map_err(|error| error.to_string())?;
    match gitlab.send(poll).await {
        Ok(answer) => Ok(answer.status()),
        Err(error) => Err(format!("{error}: {}", causes(&error))),
    }
}

/// GitLab did not answer; the runner tries again.
fn unreachable(error: &Broken) -> Response<Body> {
    tracing::warn!(%error, causes = causes(error), "GitLab does not answer");
    said(
        StatusCode::BAD_GATEWAY,
        "GitLab does not answer runner-secrets\n",
    )
}

fn causes(error: &Broken) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}

/// An answer of the gateway's own.
fn said(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut answer = Response::new(full(text));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}
