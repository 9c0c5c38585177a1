//! From what was provided to the message, and from an [`Error`] to the one [`Status`] for it.

use std::{collections::HashMap, time::UNIX_EPOCH};

use prost_types::Timestamp;
use runner_secrets_proto::{
    ERROR_DOMAIN, REQUEST_ID_HEADER,
    v1::{self, ExplainResponse, ResolveResponse, Verdict},
};
use tonic::{Code, Response, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    config::Delivery,
    error::Error,
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

/// The status for an error.
pub(super) fn status(request_id: &str, error: &Error) -> Status {
    let reason = error.reason();
    let metadata = HashMap::from([("request_id".to_owned(), request_id.to_owned())]);
    let mut details = ErrorDetails::with_error_info(reason.name(), ERROR_DOMAIN, metadata);
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
    headers
}
