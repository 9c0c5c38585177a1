//! What the gateway itself tells GitLab about a job, with the job's own token: that it is still
//! being prepared, that it failed and why, that its runner is gone. In the order in which GitLab
//! takes it: with two-phase commit a job has to run before it can fail.

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::Bytes,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE, RETRY_AFTER},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{
    gitlab::{Broken, GitLab, full},
    job::Job,
};

/// What became of a job that was to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// GitLab has it as failed.
    Failed,
    /// It was not there any more: cancelled, or somebody else's.
    Gone,
    /// GitLab does not take it from us.
    Refused,
}

/// How a job fails.
pub(super) struct Failure {
    /// GitLab's name for it.
    pub(super) reason: &'static str,
    /// The job's whole log.
    pub(super) trace: String,
    /// What the runner said about itself, if it did.
    pub(super) info: Option<Value>,
}

/// GitLab waits for two minutes in all; requests of jobs have 30 s by default.
const TO_END: Duration = Duration::from_secs(45);
/// A GitLab that takes longer for one of these has other troubles.
const ONE_CALL: Duration = Duration::from_secs(10);
/// What GitLab asks runners to wait between two tries, where it does not say.
const PAUSE: Duration = Duration::from_secs(1);

/// Says that the job is being prepared; whether it is still ours.
pub(super) async fn still_there(gitlab: &GitLab, job: &Job) -> bool {
    match update(
        gitlab,
        job,
        json!({"token": job.token(), "state": "pending"}),
    )
    .await
    {
        Ok(answer) => !answer.is_gone(),
        // It says nothing about the job that GitLab does not answer.
        Err(_) => true,
    }
}

/// Fails a job, with its log.
pub(super) async fn fail(gitlab: &GitLab, job: &Job, failure: &Failure) -> Ended {
    let ending = in_order(gitlab, job, failure);
    let ended = timeout(TO_END, ending).await.unwrap_or(Ended::Refused);
    tracing::info!(
        job_id = job.id,
        reason = failure.reason,
        ?ended,
        "failed a job"
    );
    ended
}

/// For a job whose runner went away before it had it.
pub(super) async fn give_back(gitlab: &GitLab, job: &Job) {
    let pending = json!({"token": job.token(), "state": "pending"});
    match update(gitlab, job, pending).await {
        // It waits to be acknowledged; since nobody will, GitLab gives it to another runner.
        Ok(answer) if answer.status.is_success() => {
            tracing::warn!(
                job_id = job.id,
                "the runner went away; GitLab gives the job to another"
            );
        }
        // It runs already, as far as GitLab knows, and nobody runs it.
        Ok(answer) if answer.status == StatusCode::BAD_REQUEST => {
            let trace = "runner-secrets: the runner went away before it had the job\n";
            let failure = Failure {
                reason: "runner_system_failure",
                trace: trace.to_owned(),
                info: None,
            };
            fail(gitlab, job, &failure).await;
        }
        Ok(answer) => {
            let status = answer.status.as_u16();
            tracing::warn!(
                job_id = job.id,
                status,
                "the runner went away; the job is another's"
            );
        }
        Err(error) => {
            tracing::error!(
                job_id = job.id,
                error,
                "the runner went away, and GitLab cannot be told"
            );
        }
    }
}

async fn in_order(gitlab: &GitLab, job: &Job, failure: &Failure) -> Ended {
    let mut running = json!({"token": job.token(), "state": "running"});
    if let Some(info) = &failure.info {
        running["info"] = info.clone();
    }
    match update(gitlab, job, running).await {
        Ok(answer) if answer.is_gone() => return Ended::Gone,
        Ok(answer) if answer.status.is_success() => {}
        _ => return Ended::Refused,
    }
    let trace = failure.trace.as_bytes();
    let checksum = format!("crc32:{:08x}", crc32fast::hash(trace));
    let failed = json!({
        "token": job.token(),
        "state": "failed",
        "failure_reason": failure.reason,
        "checksum": checksum,
        "output": {"checksum": checksum, "bytesize": trace.len()},
    });
    send_trace(gitlab, job, trace).await;
    loop {
        match update(gitlab, job, failed.clone()).await {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => sleep(answer.pause()).await,
            Ok(answer) if answer.status == StatusCode::PRECONDITION_FAILED => {
                send_trace(gitlab, job, trace).await;
                sleep(answer.pause()).await;
            }
            Ok(answer) if answer.status.is_success() => return Ended::Failed,
            Ok(answer) if answer.is_gone() => return Ended::Gone,
            _ => return Ended::Refused,
        }
    }
}

/// Writes the job's log, from where GitLab has it. A job fails with half a log, too.
async fn send_trace(gitlab: &GitLab, job: &Job, trace: &[u8]) {
    // What one request may hold, as runners see it.
    const MOST: usize = 1024 * 1024;
    let mut from = 0;
    while let Some(rest) = trace.get(from..).filter(|rest| !rest.is_empty()) {
        let part = rest.get(..MOST).unwrap_or(rest);
        let range = format!("{from}-{}", from + part.len() - 1);
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(gitlab.path(&format!("jobs/{}/trace?debug_trace=false", job.id)))
            .header(JOB_TOKEN, job.token())
            .header(CONTENT_TYPE, "text/plain")
            .header(CONTENT_RANGE, range)
            .body(Bytes::copy_from_slice(part));
        let answer = match request {
            Ok(request) => insist(gitlab, &request).await,
            Err(error) => Err(error.into()),
        };
        let next = match answer {
            Ok(answer) if answer.status == StatusCode::ACCEPTED => Some(from + part.len()),
            Ok(answer) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE => answer.has(),
            _ => None,
        };
        match next {
            // GitLab that has more than there is, or wants the same again, is not waited for.
            Some(next) if next != from => from = next,
            _ => return,
        }
    }
}

const JOB_TOKEN: &str = "JOB-TOKEN";

async fn update(gitlab: &GitLab, job: &Job, body: Value) -> Result<Answer, Broken> {
    let request = Request::builder()
        .method(Method::PUT)
        .uri(gitlab.path(&format!("jobs/{}", job.id)))
        .header(JOB_TOKEN, job.token())
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from(body.to_string()))?;
    insist(gitlab, &request).await
}

/// Sends until there is an answer that is about the job, and not about GitLab's health.
async fn insist(gitlab: &GitLab, request: &Request<Bytes>) -> Result<Answer, Broken> {
    // With the pauses in between, as long as a restart of GitLab's web server takes.
    const TRIES: u32 = 5;
    let mut tries = 1;
    let until = Instant::now() + TO_END;
    loop {
        let answer = once(gitlab, request).await;
        let pause = match &answer {
            Ok(answer) if !answer.is_passing() => return Ok(answer.clone()),
            Ok(answer) => answer.retry_after().unwrap_or(PAUSE * tries),
            Err(_) => PAUSE * tries,
        };
        if tries == TRIES || timeout_at(until, sleep(pause)).await.is_err() {
            return answer;
        }
        tries += 1;
    }
}

async fn once(gitlab: &GitLab, request: &Request<Bytes>) -> Result<Answer, Broken> {
    // Answers here are empty or a sentence.
    const LARGEST: usize = 64 * 1024;
    let mut sent = Request::new(full(request.body().clone()));
    *sent.method_mut() = request.method().clone();
    *sent.uri_mut() = request.uri().clone();
    *sent.headers_mut() = request.headers().clone();
    let answering = async {
        let response = gitlab.send(sent).await?;
        let (parts, body) = response.into_parts();
        // Read so that the connection can be used again; what it says is for people.
        drop(Limited::new(body, LARGEST).collect().await);
        let (status, headers) = (parts.status, parts.headers);
        Ok(Answer { status, headers })
    };
    timeout(ONE_CALL, answering).await?
}

/// An answer of GitLab's about a job.
#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
}

impl Answer {
    fn header(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether the job is not ours any more.
    fn is_gone(&self) -> bool {
        let gone = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND];
        let over = ["failed", "canceled"];
        gone.contains(&self.status) || over.contains(&self.header("Job-Status").unwrap_or_default())
    }

    /// Whether the same request may have another answer soon.
    fn is_passing(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header(RETRY_AFTER)?.parse().ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// How long GitLab wants to be left alone.
    fn pause(&self) -> Duration {
        let seconds = self.header("X-GitLab-Trace-Update-Interval");
        let seconds = seconds.and_then(|seconds| seconds.parse().ok());
        seconds.map_or(PAUSE, Duration::from_secs)
    }

    /// How many bytes of the log it has.
    fn has(&self) -> Option<usize> {
        let (_, end) = self.header(RANGE)?.split_once('-')?;
        end.parse().ok()
    }
}
