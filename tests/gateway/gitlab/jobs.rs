//! What a runner says of a job that it has: states, and the trace by ranges.

use std::collections::BTreeMap;

use hyper::{
    Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, RANGE},
};
use serde_json::Value;

use super::{Asked, Body, Job, State, WINDOW, World, said};

/// Whether a request comes from the job, or what it is told otherwise.
fn checked<'j>(
    jobs: &'j mut BTreeMap<i64, Job>,
    id: &str,
    token: Option<&str>,
) -> Result<&'j mut Job, Box<Response<Body>>> {
    let job = id.parse().ok().and_then(|id: i64| jobs.get_mut(&id));
    let Some(job) = job else {
        return Err(Box::new(said(StatusCode::NOT_FOUND, "404 Not Found")));
    };
    if token != Some(job.token.as_str()) {
        return Err(Box::new(said(StatusCode::FORBIDDEN, "403 Forbidden")));
    }
    Ok(job)
}

pub(super) fn update(world: &World, id: &str, asked: &Asked) -> Response<Body> {
    let stumbles = world.manners.lock().unwrap().stumbles.pop_front();
    if let Some(status) = stumbles.or(world.manners().refuses) {
        return said(status, "not now");
    }
    let now = world.now();
    let two_phase = world.manners().two_phase;
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let mut jobs = world.jobs();
    let header = asked
        .headers
        .get("JOB-TOKEN")
        .and_then(|token| token.to_str().ok());
    let token = body["token"].as_str();
    // Older runners have it in the body only.
    if header.is_some() && header != token {
        return said(StatusCode::FORBIDDEN, "403 Forbidden");
    }
    let job = match checked(&mut jobs, id, token) {
        Ok(job) => job,
        Err(answer) => return *answer,
    };
    let is_json = asked
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|is| is == "application/json");
    if !is_json {
        return said(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no JSON");
    }
    match (&job.state, body["state"].as_str()) {
        (State::Waiting, _) if job.until < now => said(StatusCode::FORBIDDEN, "it was too late"),
        (State::Waiting, Some("pending")) => {
            job.until = now + WINDOW;
            said(StatusCode::OK, "200")
        }
        (State::Waiting, Some("running")) => {
            job.state = State::Running;
            said(StatusCode::OK, "200")
        }
        (State::Running, Some("pending")) if two_phase => said(StatusCode::CONFLICT, "assigned"),
        (State::Running, Some("running")) => said(StatusCode::OK, "200"),
        (State::Running, Some("success" | "failed")) => finish(world, job, &body),
        (State::Success | State::Failed(_), _) => over(),
        // Also what is to fail before it was acknowledged.
        _ => said(StatusCode::BAD_REQUEST, "400 Bad request"),
    }
}

fn over() -> Response<Body> {
    let mut over = said(StatusCode::FORBIDDEN, "403 Forbidden - Job is not running");
    over.headers_mut()
        .insert("Job-Status", "failed".parse().unwrap());
    over
}

fn finish(world: &World, job: &mut Job, body: &Value) -> Response<Body> {
    const REASONS: [&str; 8] = [
        "script_failure",
        "runner_system_failure",
        "job_execution_timeout",
        "image_pull_failure",
        "unknown_failure",
        "runner_configuration_error",
        "runner_external_dependency_failure",
        "runner_interrupted",
    ];
    let checksum = format!("crc32:{:08x}", crc32fast::hash(&job.trace));
    if body["output"]["checksum"] != checksum || body["output"]["bytesize"] != job.trace.len() {
        return said(StatusCode::PRECONDITION_FAILED, "send the trace again");
    }
    let accepted = &mut world.manners.lock().unwrap().accepted;
    if *accepted > 0 {
        *accepted -= 1;
        let mut again = said(StatusCode::ACCEPTED, "202");
        let soon = "0".parse().unwrap();
        again
            .headers_mut()
            .insert("X-GitLab-Trace-Update-Interval", soon);
        return again;
    }
    job.state = match body["failure_reason"].as_str() {
        _ if body["state"] == "success" => State::Success,
        Some(reason) if REASONS.contains(&reason) => State::Failed(reason.to_owned()),
        other => return said(StatusCode::BAD_REQUEST, &format!("no reason: {other:?}")),
    };
    said(StatusCode::OK, "200")
}

pub(super) fn append(world: &World, id: &str, asked: &Asked) -> Response<Body> {
    let mut jobs = world.jobs();
    let token = asked
        .headers
        .get("JOB-TOKEN")
        .and_then(|token| token.to_str().ok());
    let job = match checked(&mut jobs, id, token) {
        Ok(job) => job,
        Err(answer) => return *answer,
    };
    if job.state != State::Running {
        return over();
    }
    let range = asked
        .headers
        .get(CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    let range = range.and_then(|range| range.split_once('-'));
    let range = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    let Some((from, to)): Option<(usize, usize)> = range else {
        return said(StatusCode::BAD_REQUEST, "no range");
    };
    if to + 1 - from != asked.body.len() || asked.body.len() > 1024 * 1024 {
        return said(StatusCode::BAD_REQUEST, "another range");
    }
    let status = if from == job.trace.len() {
        let keeps = world.manners.lock().unwrap().keeps.take();
        let kept = keeps.unwrap_or(asked.body.len());
        job.trace.extend_from_slice(&asked.body[..kept]);
        StatusCode::ACCEPTED
    } else {
        StatusCode::RANGE_NOT_SATISFIABLE
    };
    let mut answer = said(status, "");
    let range = format!("0-{}", job.trace.len());
    let headers = answer.headers_mut();
    headers.insert(RANGE, range.parse().unwrap());
    headers.insert("Job-Status", "running".parse().unwrap());
    answer
}
