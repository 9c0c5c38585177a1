//! `POST jobs/request`: the one answer that the gateway reads. A job on its way to a runner is given
//! its secrets, or is failed; every other answer passes as it came. While the gateway could do
//! neither, no job is asked for: one that was never taken need not be failed.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, RETRY_AFTER},
    http::response,
};
use runner_secrets_proto::v1::ResolveRequest;
use serde_json::Value;
use tokio::time::{Instant, interval_at, sleep};

use super::{
    Gateway,
    ask::{self, Ask},
    encoding, forward,
    gitlab::{Body, Broken, empty, full},
    job::{Job, Taken},
    payload::{Given, Payload, without_tokens},
    report::{self, Ended, Failure},
    said,
    trace::Cause,
};
use crate::{
    caller::Remote,
    error::Error,
    provide::{Content, Provided},
    service::Arrival,
    vault::Vault,
};

/// A runner says of itself what has two kilobytes, and may add a certificate.
const LARGEST_POLL: usize = 1024 * 1024;
/// Payloads have some ten kilobytes; they grow with the variables of groups and projects.
const LARGEST_JOB: usize = 64 * 1024 * 1024;

/// Answers a runner that asks for a job.
pub(super) async fn poll<V: Vault>(
    gateway: &Arc<Gateway<V>>,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Err(problem) = gateway.ready() {
        tracing::warn!(problem, "not ready: no job is asked for");
        return not_now();
    }
    let (mut parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, LARGEST_POLL).collect().await else {
        return said(StatusCode::PAYLOAD_TOO_LARGE, "no request for a job\n");
    };
    let body = body.to_bytes();
    let info = info(&body);
    forward::outward(&mut parts, &gateway.gitlab, peer);
    // What cannot be read cannot be given secrets.
    let plain = HeaderValue::from_static("identity");
    parts.headers.insert(ACCEPT_ENCODING, plain);
    let sending = gateway.gitlab.send(Request::from_parts(parts, full(body)));
    let response = tokio::select! {
        sent = sending => match sent {
            Ok(response) => response,
            Err(error) => return super::unreachable(&error),
        },
        () = patience(gateway) => return not_now(),
    };
    if response.status() != StatusCode::CREATED {
        return forward::passed(response);
    }
    // From here on there is a job, whatever the runner does: it is read in a task of its own.
    let reading = gateway.tasks.spawn(read(gateway.clone(), response));
    match reading.await {
        Ok(Ok(read)) => answer(gateway, peer, read, info).await,
        Ok(Err(error)) => super::unreachable(&error),
        Err(_) => said(StatusCode::BAD_GATEWAY, "the gateway has a defect\n"),
    }
}

/// What a runner says about itself when it asks for a job.
fn info(poll: &Bytes) -> Option<Value> {
    let mut poll: Value = serde_json::from_slice(poll).ok()?;
    poll.get_mut("info").map(Value::take)
}

/// How long a poll that GitLab holds may go on: for ever, but not when the daemon stops. Half of
/// the time for stopping is left for a job that comes at the last moment.
async fn patience<V: Vault>(gateway: &Gateway<V>) {
    gateway.leaving.cancelled().await;
    sleep(gateway.front.limits.stop_timeout / 2).await;
}

/// What GitLab handed out.
struct Read {
    head: response::Parts,
    body: Bytes,
    taken: Taken,
}

async fn read<V: Vault>(
    gateway: Arc<Gateway<V>>,
    response: Response<Incoming>,
) -> Result<Read, Broken> {
    let (mut head, body) = response.into_parts();
    forward::inward(&mut head);
    let body = Limited::new(body, LARGEST_JOB).collect().await?.to_bytes();
    let body = encoding::decoded(head.headers.get(CONTENT_ENCODING), body, LARGEST_JOB)?;
    head.headers.remove(CONTENT_ENCODING);
    head.headers.remove(CONTENT_LENGTH);
    let text = String::from_utf8_lossy(&body);
    let payload = Payload::read(&text);
    let job = payload.and_then(|payload| Some(Job::new(payload.id()?, payload.token()?)));
    let taken = Taken::new(job, &gateway.gitlab, &gateway.tasks);
    Ok(Read { head, body, taken })
}

/// Gives the job what it asks for, and the runner the job.
async fn answer<V: Vault>(
    gateway: &Arc<Gateway<V>>,
    peer: IpAddr,
    read: Read,
    info: Option<Value>,
) -> Response<Body> {
    let Read { head, body, taken } = read;
    let text = String::from_utf8_lossy(&body).into_owned();
    let Some(payload) = Payload::read(&text) else {
        tracing::warn!("GitLab handed out what is no job");
        return Response::from_parts(head, full(body));
    };
    let ask = Ask::of(&payload);
    let Some(request) = ask.request else {
        gateway.metrics.passed();
        let stripped = gateway.stripped(&text, &[]);
        // What is not changed is passed as it came, down to the encoding.
        let changed = stripped != text;
        return handed_over(head, taken, if changed { stripped.into() } else { body });
    };
    let Some(job_id) = taken.job().map(|job| job.id) else {
        tracing::error!("GitLab handed out a job with secrets, but without an id or a token");
        return said(StatusCode::BAD_GATEWAY, "a job without an id or a token\n");
    };
    let used = tokens(&request);
    let provided = resolve(gateway, peer, &taken, request).await;
    match provided.map(|provided| given(&payload, &provided?)) {
        Some(Ok(document)) => {
            gateway.metrics.resolved();
            tracing::info!(job_id, secrets = ask.names.len(), "a job has its secrets");
            handed_over(head, taken, gateway.stripped(&document, &used).into())
        }
        Some(Err(cause)) => {
            let cause = cause.with(ask.paste);
            gateway.metrics.failed();
            let failure = Failure {
                reason: cause.failure_reason(&payload.failure_reasons()),
                trace: cause.text(&ask.names),
                info,
            };
            let Some(taken) = fail(gateway, taken, failure).await else {
                return nothing();
            };
            let document = payload.failing(&cause.lines());
            handed_over(head, taken, gateway.stripped(&document, &used).into())
        }
        None => {
            drop(taken.end());
            tracing::info!(job_id, "the job was cancelled while it was prepared");
            nothing()
        }
    }
}

/// Has the request provided, and GitLab told in between that somebody works on it. `None`: the job
/// is not ours any more.
async fn resolve<V: Vault>(
    gateway: &Gateway<V>,
    peer: IpAddr,
    taken: &Taken,
    request: Result<ResolveRequest, Error>,
) -> Option<Result<Provided, Box<Cause>>> {
    let job = taken.job()?;
    let timeout = gateway.front.limits.request_timeout;
    let arrival = match Arrival::from_gitlab(Remote::at(peer), timeout) {
        Ok(arrival) => arrival,
        Err(error) => {
            return Some(Err(Cause::of(error, String::new())));
        }
    };
    let id = job.id.to_string();
    let providing = gateway
        .front
        .resolve_job(&arrival, &gateway.admission, id, || request);
    let every = gateway.keep_alive;
    let minding = async {
        let mut beat = interval_at(Instant::now() + every, every);
        beat.tick().await;
        while report::still_there(&gateway.gitlab, job).await {
            beat.tick().await;
        }
    };
    tokio::select! {
        provided = providing => {
            let request_id = arrival.request_id.clone();
            Some(provided.map_err(|error| Cause::of(error, request_id)))
        }
        () = minding => None,
    }
}

/// The payload with what was provided.
fn given(payload: &Payload<'_>, provided: &Provided) -> Result<String, Box<Cause>> {
    let mut given = Vec::with_capacity(provided.variables.len());
    for (key, variable) in &provided.variables {
        let Content::Value(value) = &variable.content else {
            return Err(defect("a file for a runner"));
        };
        // Key Vault's values are JSON strings themselves.
        let Ok(value) = std::str::from_utf8(value.expose()) else {
            return Err(defect("a value that is no text"));
        };
        given.push(Given {
            key,
            value,
            file: variable.file,
        });
    }
    Ok(payload.rewritten(ask::is_spec, &given))
}

fn defect(what: &'static str) -> Box<Cause> {
    Cause::of(Error::Bug { what }, String::new())
}

/// Fails the job, in a task that goes on when the runner hangs up. `Some`: GitLab does not take it.
async fn fail<V: Vault>(gateway: &Gateway<V>, taken: Taken, failure: Failure) -> Option<Taken> {
    let (gitlab, tasks) = (gateway.gitlab.clone(), gateway.tasks.clone());
    let failing = gateway.tasks.spawn(async move {
        let job = taken.end()?;
        match report::fail(&gitlab, &job, &failure).await {
            Ended::Failed | Ended::Gone => None,
            // The runner will have to.
            Ended::Refused => Some(Taken::new(Some(job), &gitlab, &tasks)),
        }
    });
    failing.await.ok().flatten()
}

/// The tokens of a request, which are to be gone from the payload.
fn tokens(request: &Result<ResolveRequest, Error>) -> Vec<String> {
    let secrets = request.iter().flat_map(|request| request.secrets.values());
    secrets.map(|secret| secret.id_token.clone()).collect()
}

impl<V: Vault> Gateway<V> {
    /// The payload without the tokens that are for us.
    fn stripped(&self, document: &str, used: &[String]) -> String {
        if !self.strip_id_tokens {
            return document.to_owned();
        }
        without_tokens(document, &self.audiences, used.iter().map(String::as_str))
    }
}

fn handed_over(head: response::Parts, taken: Taken, payload: Bytes) -> Response<Body> {
    Response::from_parts(head, taken.hand_over(payload).boxed_unsync())
}

/// What a runner is told that gets no job.
fn nothing() -> Response<Body> {
    let mut nothing = Response::new(empty());
    *nothing.status_mut() = StatusCode::NO_CONTENT;
    nothing
}

/// Healthy, but without jobs: a runner that reads this asks again, and goes on asking.
fn not_now() -> Response<Body> {
    const SOON: Duration = Duration::from_secs(5);
    let mut answer = said(
        StatusCode::SERVICE_UNAVAILABLE,
        "runner-secrets is not ready\n",
    );
    let soon = HeaderValue::from(SOON.as_secs());
    answer.headers_mut().insert(RETRY_AFTER, soon);
    answer
}
