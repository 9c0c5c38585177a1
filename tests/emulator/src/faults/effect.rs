//! What a fault does to an answer: instead of it (`before`), or to it (`after`).

use std::time::Duration;

use hyper::body::Bytes;
use serde_json::{Value, json};

use super::{Challenge, Kind};
use crate::call::{Call, Route};
use crate::entra;
use crate::key_vault;
use crate::reply::{Ending, Reply};
use crate::world::World;

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answer(Reply),
    /// The connection goes down.
    Reset,
    /// Nothing, ever.
    Silence,
}

/// The outcome that replaces the service's answer, if the fault is of that sort.
pub(crate) fn before(world: &World, call: &Call, kind: &Kind) -> Option<Outcome> {
    let reply = match kind {
        Kind::Reset => return Some(Outcome::Reset),
        Kind::Hang => return Some(Outcome::Silence),
        Kind::Status {
            status,
            body,
            headers,
        } => status_reply(*status, body.as_ref(), headers),
        Kind::Throttle { retry_after } => throttled(world, call, retry_after.as_deref()),
        Kind::Html => Reply::new(
            502,
            "text/html",
            "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
             <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n",
        ),
        Kind::Empty => Reply::empty(200),
        Kind::Redirect { location } => Reply::empty(307).with("location", location),
        Kind::Challenge(wanted) => {
            let refusal = key_vault::refusal::Refusal::new("AKV10000");
            let header = challenge(world, call, wanted);
            key_vault::refuse_as(world, call, &refusal).with("www-authenticate", &header)
        }
        Kind::TokenError { code } => {
            entra::refuse_as(world, call, &entra::refusal::Refusal::new(*code))
        }
        Kind::VaultError { name } => {
            let refusal = key_vault::refusal::Refusal::new(name);
            let reply = key_vault::refuse_as(world, call, &refusal);
            key_vault::with_common_headers(world, call, reply)
        }
        Kind::Delay
        | Kind::Truncated
        | Kind::Drip
        | Kind::WrongContentType
        | Kind::Oversized { .. }
        | Kind::NotUtf8
        | Kind::WrongTypes
        | Kind::ExpiresIn { .. } => return None,
    };
    Some(Outcome::Answer(reply))
}

fn status_reply(status: u16, body: Option<&Value>, headers: &[(String, String)]) -> Reply {
    let reply = match body {
        None => Reply::empty(status),
        Some(Value::String(text)) => Reply::new(status, "text/plain", text.clone()),
        Some(json) => Reply::json(status, json),
    };
    headers
        .iter()
        .fold(reply, |reply, (name, value)| reply.with(name, value))
}

/// 429 as each service words it.
fn throttled(world: &World, call: &Call, retry_after: Option<&str>) -> Reply {
    let reply = match call.route {
        Route::Secret => {
            let refusal = key_vault::refusal::Refusal::new("Throttled");
            let reply = key_vault::refuse_as(world, call, &refusal);
            key_vault::with_common_headers(world, call, reply)
        }
        Route::Token | Route::Openid | Route::Instance => {
            let refusal = entra::refusal::Refusal::new(90055).with_status(429);
            entra::refuse_as(world, call, &refusal)
        }
        Route::Arm => Reply::json(
            429,
            &json!({"error": {
                "code": "TooManyRequests",
                "message": "Number of requests exceeded the limit. Please retry later.",
            }}),
        ),
        // What Rack::Attack, GitLab's limiter, says.
        _ => Reply::new(429, "text/plain", "Retry later\n"),
    };
    match retry_after {
        Some(value) => reply.with("retry-after", value),
        None => reply,
    }
}

/// A challenge as wanted; what was not given is as the vault would have it.
fn challenge(world: &World, call: &Call, wanted: &Challenge) -> String {
    let own = key_vault::Target::of(world, call)
        .map(|target| key_vault::challenge(world, &target))
        .unwrap_or_default();
    let part = |name: &str, given: &Option<String>| {
        let own = || {
            let (_, rest) = own.split_once(&format!(r#"{name}=""#))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        given.clone().or_else(own).unwrap_or_default()
    };
    let authorization = part("authorization", &wanted.authorization);
    let mut header = format!(r#"Bearer authorization="{authorization}""#);
    if !wanted.omit_resource {
        let resource = part("resource", &wanted.resource);
        header = format!(r#"{header}, resource="{resource}""#);
    }
    match &wanted.claims {
        Some(claims) => format!(r#"{header}, error="insufficient_claims", claims="{claims}""#),
        None => header,
    }
}

/// What the fault makes of the service's answer.
pub(crate) fn after(reply: Reply, kind: &Kind, pace: Duration) -> Reply {
    match kind {
        Kind::Truncated => Reply {
            ending: Ending::Truncated,
            ..reply
        },
        Kind::Drip => Reply {
            ending: Ending::Drip(pace),
            ..reply
        },
        Kind::WrongContentType => reply.with("content-type", "text/html; charset=utf-8"),
        Kind::Oversized { bytes } => Reply {
            body: padded(&reply.body, *bytes),
            ..reply
        },
        Kind::NotUtf8 => Reply {
            body: not_utf8(&reply.body),
            ..reply
        },
        Kind::WrongTypes => changed(reply, wrong_types),
        Kind::ExpiresIn { value } => changed(reply, |body| {
            if let Value::Object(members) = body {
                if value.is_null() {
                    members.remove("expires_in");
                } else {
                    members.insert("expires_in".into(), value.clone());
                }
            }
        }),
        _ => reply,
    }
}

/// White space after JSON is still JSON: only a limit on size notices.
fn padded(body: &Bytes, bytes: usize) -> Bytes {
    let mut padded = body.to_vec();
    padded.resize(bytes.max(body.len()), b' ');
    padded.into()
}

/// Puts two bytes that no UTF-8 text has into the first string value.
fn not_utf8(body: &Bytes) -> Bytes {
    let bytes = body.to_vec();
    let at = bytes.windows(2).position(|pair| pair == b":\"");
    let (head, tail) = bytes.split_at(at.map_or(0, |at| at + 2));
    [head, b"\xff\xfe", tail].concat().into()
}

fn changed(reply: Reply, change: impl FnOnce(&mut Value)) -> Reply {
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else {
        return reply;
    };
    change(&mut body);
    Reply {
        body: body.to_string().into(),
        ..reply
    }
}

/// Each member keeps its name and loses its type.
fn wrong_types(body: &mut Value) {
    let Value::Object(members) = body else {
        return;
    };
    for value in members.values_mut() {
        *value = match value {
            Value::String(_) => json!(7),
            Value::Number(_) | Value::Bool(_) | Value::Null => json!(["seven"]),
            Value::Array(_) | Value::Object(_) => json!("seven"),
        };
    }
}
