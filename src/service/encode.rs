//! From what was provided to the message, and from an [`Error`] to the one [`Status`] for it.

use std::{collections::HashMap, time::UNIX_EPOCH};

use prost_types::Timestamp;
use runner_secrets_proto::{
    DOCUMENTATION, ERROR_DOMAIN, REQUEST_ID_HEADER, VERSION_HEADER, metadata,
    v1::{self, ExplainResponse, ResolveResponse, Verdict},
};
use tonic::{
    Code, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    config::Delivery,
    error::{Error, Reader},
    policy::{Explanation, Granted},
    provide::{Content, Provided, Variable},
};

/// The answer, with the request's id in its headers either way.
pub(super) fn answer<T>(
    request_id: &str,
    outcome: Result<T, Error>,
) -> Result<Response<T>, Status> {
    let message = outcome.map_err(|error| status(request_id, &error))?;
    let mut response = Response::new(message);
    *response.metadata_mut() = headers(request_id);
    Ok(response)
}

/// What the documentation's row is about, for clients that show links.
const WHAT_TO_DO: &str = "what this means, and what to do about it";

/// The status for an error.
pub(super) fn status(request_id: &str, error: &Error) -> Status {
    let reason = error.reason();
    let advice = error.advice(Reader::Job);
    let known = [
        (metadata::REQUEST_ID, Some(request_id.to_owned())),
        (metadata::REFUSED_BY, Some(advice.by)),
        (metadata::FIX, Some(advice.fix)),
        (metadata::COMMAND, advice.command),
    ];
    let known = known.into_iter();
    let known = known.filter_map(|(key, value)| Some((key.to_owned(), value?)));
    let known: HashMap<String, String> = known.collect();
    let mut details = ErrorDetails::with_error_info(reason.name(), ERROR_DOMAIN, known);
    details.add_help_link(WHAT_TO_DO, format!("{DOCUMENTATION}#{}", advice.row));
    if let Some(pause) = error.retry_after() {
        details.set_retry_info(Some(pause));
    }
    if let Some((field, problem)) = error.violation() {
        details.add_bad_request_violation(field, problem);
    }
    let code = reason.row().code.unwrap_or(Code::Internal);
    let headers = headers(request_id);
    Status::with_error_details_and_metadata(code, error.to_string(), details, headers)
}

/// The answer, which nothing can keep from leaving now: the lease is the job's.
pub(super) fn response(provided: Provided, delivery: Delivery) -> ResolveResponse {
    let (lease_id, expire_time) = provided.lease.map_or((String::new(), None), |lease| {
        let since = lease.until.duration_since(UNIX_EPOCH).unwrap_or_default();
        let expire_time = Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: 0,
        };
        (lease.granted.keep(), Some(expire_time))
    });
    let variables = provided.variables.into_iter();
    ResolveResponse {
        lease_id,
        expire_time,
        variables: variables
            .map(|(name, value)| (name.to_string(), variable(value)))
            .collect(),
        disk_allowed: delivery == Delivery::Inline { disk_allowed: true },
    }
}

pub(super) fn explained(explanations: Vec<Explanation>) -> ExplainResponse {
    let verdict = |explanation: Explanation| {
        let rule = explanation.granted.as_ref().and_then(Granted::rule);
        let verdict = Verdict {
            granted: explanation.granted.is_some(),
            rule: rule.unwrap_or_default().to_owned(),
            sentence: explanation.sentence,
        };
        (explanation.variable.to_string(), verdict)
    };
    ExplainResponse {
        verdicts: explanations.into_iter().map(verdict).collect(),
    }
}

fn variable(variable: Variable) -> v1::Variable {
    let content = match variable.content {
        // Paths are ours: the operator's directory, a random name, the variable's name.
        Content::Path(path) => v1::variable::Content::Path(path.display().to_string()),
        Content::Value(value) => v1::variable::Content::Value(value.expose().to_vec()),
    };
    v1::Variable {
        file: variable.file,
        content: Some(content),
        version: variable.version,
        warnings: variable.warnings,
    }
}

fn headers(request_id: &str) -> MetadataMap {
    let mut headers = MetadataMap::new();
    if let Ok(value) = request_id.parse() {
        headers.insert(REQUEST_ID_HEADER, value);
    }
    let version = MetadataValue::from_static(env!("CARGO_PKG_VERSION"));
    headers.insert(VERSION_HEADER, version);
    headers
}
