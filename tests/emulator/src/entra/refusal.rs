//! Entra's refusals: every AADSTS code a federated token can meet, with its published text.
//!
//! The table is data. A check that fails names the code; the text is filled with what the request
//! said ([`Facts`]), so a refusal by configuration and one by fault read alike.

use serde_json::json;
use time::OffsetDateTime;

use crate::clock;
use crate::reply::Reply;
use crate::template;

mod facts;
mod table;

pub(crate) use facts::Facts;
pub(crate) use table::codes;

/// One row of the table.
struct Row {
    code: u32,
    error: &'static str,
    status: u16,
    /// Whether recordings of this error carry an `error_uri`.
    uri: bool,
    text: &'static str,
}

impl Row {
    const fn new(code: u32, error: &'static str, status: u16, text: &'static str) -> Self {
        Self {
            code,
            error,
            status,
            uri: true,
            text,
        }
    }

    const fn without_uri(self) -> Self {
        Self { uri: false, ..self }
    }
}

/// A refusal to issue a token.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    code: u32,
    error: Option<&'static str>,
    status: Option<u16>,
    /// What the text calls `{parameter}`.
    parameter: Option<String>,
}

impl Refusal {
    /// `code` is one of [`codes`]; another one has no text.
    pub(crate) fn new(code: u32) -> Self {
        Self {
            code,
            error: None,
            status: None,
            parameter: None,
        }
    }

    /// About one parameter or claim.
    pub(super) fn about(code: u32, parameter: &str) -> Self {
        Self {
            parameter: Some(parameter.to_owned()),
            ..Self::new(code)
        }
    }

    /// The same code under another `error`, as its documents have it.
    pub(super) fn with_error(self, error: &'static str) -> Self {
        Self {
            error: Some(error),
            ..self
        }
    }

    /// The same code under another status, as throttling has it.
    pub(crate) fn with_status(self, status: u16) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// The answer of the token endpoint.
    pub(crate) fn reply(&self, facts: &Facts) -> Reply {
        let row = table::row(self.code);
        let text = template::fill(row.text, |name| match (name, &self.parameter) {
            ("parameter", Some(parameter)) => parameter.clone(),
            _ => facts.value(name),
        });
        let now = facts.now.unwrap_or_else(OffsetDateTime::now_utc);
        let timestamp = clock::entra_timestamp(now);
        let trace_id = uuid::Uuid::new_v4().to_string();
        let fresh = || uuid::Uuid::new_v4().to_string();
        let correlation_id = facts.correlation_id.clone().unwrap_or_else(fresh);
        let mut body = json!({
            "error": self.error.unwrap_or(row.error),
            "error_description": format!(
                "AADSTS{}: {text} Trace ID: {trace_id} Correlation ID: {correlation_id} \
                 Timestamp: {timestamp}",
                self.code
            ),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
        });
        if row.uri {
            let uri = format!("https://login.microsoftonline.com/error?code={}", self.code);
            body["error_uri"] = uri.into();
        }
        let reply = Reply::json(self.status.unwrap_or(row.status), &body);
        let reply = reply.with("x-ms-request-id", &trace_id);
        if self.code == 50196 {
            return reply.with("retry-after", "60");
        }
        reply
    }
}
