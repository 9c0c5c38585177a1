//! An answer of `audit query` as a row for people, a record for spreadsheets and a line for
//! programs. All of it is text that somebody else chose: it is made harmless where it is written.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::{
    event::{Asked, Caller, Job, Request, Secret},
    query::Answer,
};

/// The columns for people: the longest one last.
pub(super) const COLUMNS: [&str; 9] = [
    "TIME", "REASON", "SECRET", "VERSION", "PROJECT", "REF", "USER", "JOB", "REQUEST",
];

pub(super) fn cells(answer: &Answer<'_>) -> [String; COLUMNS.len()] {
    let job = answer.request.job.as_ref();
    let secret = answer.secret;
    let or_dash = |text: Option<&str>| {
        text.filter(|text| !text.is_empty())
            .unwrap_or("-")
            .to_owned()
    };
    let version = secret.and_then(|secret| secret.version_read.as_deref());
    [
        seconds(answer.time),
        answer.reason.to_owned(),
        secret.map_or_else(|| "-".to_owned(), whole_name),
        or_dash(version.map(|version| version.get(..8).unwrap_or(version))),
        project(answer.request),
        job.map_or_else(|| "-".to_owned(), git_ref),
        or_dash(job.and_then(|job| job.user.as_deref())),
        or_dash(job.map(|job| job.job_id.as_str())),
        answer.request.request_id.clone(),
    ]
}

/// Without the part of a second.
fn seconds(time: &str) -> String {
    time.split_once('.')
        .map_or_else(|| time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// The vault's host and the name.
fn whole_name(secret: &Secret) -> String {
    let vault = secret.vault.as_deref().unwrap_or("-");
    let host = vault.strip_prefix("https://").unwrap_or(vault);
    format!("{}/{}", host.trim_end_matches('/'), secret.name)
}

/// The project that GitLab vouches for, or what an unverified token says, with that word.
fn project(request: &Request) -> String {
    if let Some(job) = &request.job {
        return job.project_path.as_ref().unwrap_or(&job.project_id).clone();
    }
    let unverified = request.unverified.as_ref();
    let project = unverified.and_then(|claims| claims.get("project_path"));
    project.map_or_else(|| "-".to_owned(), |path| format!("{path} (unverified)"))
}

fn git_ref(job: &Job) -> String {
    let git_ref = job.git_ref.as_deref().unwrap_or("-");
    match job.ref_protected {
        Some(true) => format!("{git_ref} (protected)"),
        _ => git_ref.to_owned(),
    }
}

/// The fields for spreadsheets.
pub(super) const FIELDS: [&str; 31] = [
    "time",
    "reason",
    "request_id",
    "variable",
    "vault",
    "secret",
    "version",
    "version_read",
    "rule",
    "issuer",
    "project_id",
    "project_path",
    "ref",
    "ref_type",
    "ref_protected",
    "environment",
    "pipeline_id",
    "pipeline_source",
    "job_id",
    "user",
    "runner_id",
    "caller_uid",
    "token_uses",
    "policy_mode",
    "policy_hash",
    "would_deny",
    "delivery",
    "lease_id",
    "key_vault_request_id",
    "client_request_id",
    "message",
];

pub(super) fn fields(answer: &Answer<'_>) -> [String; FIELDS.len()] {
    let request = answer.request;
    let secret = |field: fn(&Secret) -> Option<&str>| text(answer.secret.and_then(field));
    let job = |field: fn(&Job) -> Option<&str>| text(request.job.as_ref().and_then(field));
    let policy = |field: fn(&Asked) -> Option<&str>| text(request.policy.as_ref().and_then(field));
    let protected = request.job.as_ref().and_then(|job| job.ref_protected);
    let uses = request.token_uses;
    let caller = request.caller.uid();
    let runner = request.job.as_ref().and_then(|job| job.runner_id);
    [
        answer.time.to_owned(),
        answer.reason.to_owned(),
        request.request_id.clone(),
        secret(|secret| Some(&secret.variable)),
        secret(|secret| secret.vault.as_deref()),
        secret(|secret| Some(&secret.name)),
        secret(|secret| secret.version.as_deref()),
        secret(|secret| secret.version_read.as_deref()),
        secret(|secret| secret.rule.as_deref()),
        job(|job| Some(&job.issuer)),
        job(|job| Some(&job.project_id)),
        job(|job| job.project_path.as_deref()),
        job(|job| job.git_ref.as_deref()),
        job(|job| job.ref_type.as_deref()),
        protected.map(|is| is.to_string()).unwrap_or_default(),
        job(|job| job.environment.as_deref()),
        job(|job| job.pipeline_id.as_deref()),
        job(|job| job.pipeline_source.as_deref()),
        job(|job| Some(&job.job_id)),
        job(|job| job.user.as_deref()),
        runner.map(|id| id.to_string()).unwrap_or_default(),
        caller.map(|uid| uid.to_string()).unwrap_or_default(),
        uses.map(|uses| uses.to_string()).unwrap_or_default(),
        policy(|policy| Some(&policy.mode)),
        policy(|policy| Some(&policy.hash)),
        policy(|policy| policy.would_deny.as_deref()),
        text(request.delivery.as_deref()),
        text(request.lease_id.as_deref()),
        secret(|secret| secret.key_vault_request_id.as_deref()),
        secret(|secret| secret.client_request_id.as_deref()),
        text(request.message.as_deref()),
    ]
}

fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

/// The line for programs: the names are those of the record.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    time: &'a str,
    reason: &'a str,
    request_id: &'a str,
    message: Option<&'a str>,
    caller: &'a Caller,
    job: Option<&'a Job>,
    unverified: Option<&'a BTreeMap<String, String>>,
    token_uses: Option<u64>,
    policy: Option<&'a Asked>,
    delivery: Option<&'a str>,
    lease_id: Option<&'a str>,
    secret: Option<&'a Secret>,
}

impl<'a> Line<'a> {
    pub(super) fn of(answer: &Answer<'a>) -> Self {
        let request = answer.request;
        Self {
            time: answer.time,
            reason: answer.reason,
            request_id: &request.request_id,
            message: request.message.as_deref(),
            caller: &request.caller,
            job: request.job.as_ref(),
            unverified: request.unverified.as_ref(),
            token_uses: request.token_uses,
            policy: request.policy.as_ref(),
            delivery: request.delivery.as_deref(),
            lease_id: request.lease_id.as_deref(),
            secret: answer.secret,
        }
    }
}
