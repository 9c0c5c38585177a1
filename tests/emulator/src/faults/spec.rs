//! What `POST /faults` takes: the kinds, the fields of each, and their checks.
//!
//! A fault that is not understood must not be ignored, or a test would pass for the wrong reason:
//! unknown kinds and fields, and fields that a kind does not use, are refused by name.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Challenge, Fault, Kind};
use crate::call::Route;
use crate::entra::refusal::codes;
use crate::error::Error;
use crate::key_vault::refusal::names;

/// Fields that every kind takes.
const COMMON: [&str; 8] = [
    "route",
    "kind",
    "count",
    "skip",
    "probability",
    "match",
    "host",
    "delay_ms",
];

/// Every kind with the fields of its own.
const KINDS: [(&str, &[&str]); 19] = [
    ("akv10046", &[]),
    (
        "challenge",
        &["resource", "authorization", "omit_resource", "claims"],
    ),
    ("delay", &[]),
    ("drip", &[]),
    ("empty", &[]),
    ("expires_in", &["value"]),
    ("hang", &[]),
    ("html", &[]),
    ("not_utf8", &[]),
    ("oversized", &["bytes"]),
    ("redirect", &["location"]),
    ("reset", &[]),
    ("status", &["status", "body", "headers"]),
    ("throttle", &["retry_after"]),
    ("token_error", &["code"]),
    ("truncated", &[]),
    ("vault_error", &["code"]),
    ("wrong_content_type", &[]),
    ("wrong_types", &[]),
];

/// Routes that faults can be set on.
const ROUTES: [Route; 7] = [
    Route::Token,
    Route::Secret,
    Route::Jwks,
    Route::Discovery,
    Route::Openid,
    Route::Instance,
    Route::Arm,
];

/// What `GET /faults/kinds` answers.
pub(crate) fn kinds() -> Value {
    let kinds: Map<String, Value> = KINDS
        .iter()
        .map(|(kind, fields)| ((*kind).to_owned(), json!(fields)))
        .collect();
    json!({
        "routes": ROUTES.map(Route::name),
        "fields": COMMON,
        "kinds": kinds,
        "token_errors": codes().collect::<Vec<_>>(),
        "vault_errors": names().collect::<Vec<_>>(),
    })
}

/// Reads a fault.
pub(crate) fn parse(wanted: &Value) -> Result<Fault, Error> {
    let fields = wanted
        .as_object()
        .ok_or_else(|| Error::Fault("a fault is a JSON object".into()))?;
    let fields = Fields(fields);
    let kind = fields.required_text("kind")?;
    let (_, own) = KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .ok_or_else(|| Error::Fault(format!("unknown kind {kind:?}")))?;
    for name in fields.0.keys() {
        if !COMMON.contains(&name.as_str()) && !own.contains(&name.as_str()) {
            return Err(Error::Fault(format!("kind {kind:?} has no field {name:?}")));
        }
    }
    let route = fields.required_text("route")?;
    let route = Route::named(&route)
        .filter(|route| ROUTES.contains(route))
        .ok_or_else(|| Error::Fault(format!("unknown route {route:?}")))?;
    // A signature key that is not found is seen now and then, not for long.
    let default_count = (kind == "akv10046").then_some(1);
    Ok(Fault {
        route,
        kind: fields.kind(&kind)?,
        count: fields.number("count")?.or(default_count),
        skip: fields.number("skip")?.unwrap_or(0),
        probability: fields.probability()?,
        matching: fields.text("match")?,
        host: fields.text("host")?,
        delay: Duration::from_millis(fields.number("delay_ms")?.unwrap_or(0)),
    })
}

/// The members of a fault, each checked as it is read.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn kind(&self, kind: &str) -> Result<Kind, Error> {
        Ok(match kind {
            "akv10046" => Kind::VaultError { name: "AKV10046" },
            "challenge" => Kind::Challenge(Challenge {
                resource: self.text("resource")?,
                authorization: self.text("authorization")?,
                claims: self.text("claims")?,
                omit_resource: self.flag("omit_resource")?,
            }),
            "drip" => Kind::Drip,
            "empty" => Kind::Empty,
            "expires_in" => Kind::ExpiresIn {
                value: self.present("value")?.clone(),
            },
            "hang" => Kind::Hang,
            "html" => Kind::Html,
            "not_utf8" => Kind::NotUtf8,
            "oversized" => Kind::Oversized {
                bytes: usize::try_from(self.required_number("bytes")?)
                    .map_err(|_| wrong("bytes", "a number of bytes"))?,
            },
            "redirect" => Kind::Redirect {
                location: self.required_text("location")?,
            },
            "reset" => Kind::Reset,
            "status" => self.status()?,
            "throttle" => Kind::Throttle {
                retry_after: self.text_or_number("retry_after")?,
            },
            "token_error" => self.token_error()?,
            "truncated" => Kind::Truncated,
            "vault_error" => self.vault_error()?,
            "wrong_content_type" => Kind::WrongContentType,
            "wrong_types" => Kind::WrongTypes,
            _ => Kind::Delay,
        })
    }

    fn status(&self) -> Result<Kind, Error> {
        let status = self.required_number("status")?;
        let status = u16::try_from(status)
            .ok()
            .filter(|s| (200..=599).contains(s));
        let headers = match self.0.get("headers") {
            None => Vec::new(),
            Some(Value::Object(headers)) => headers
                .iter()
                .map(|(name, value)| {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    (name.clone(), value)
                })
                .collect(),
            Some(_) => return Err(wrong("headers", "an object")),
        };
        Ok(Kind::Status {
            status: status.ok_or_else(|| wrong("status", "a status from 200 to 599"))?,
            body: self.0.get("body").cloned(),
            headers,
        })
    }

    fn token_error(&self) -> Result<Kind, Error> {
        let code = self.required_number("code")?;
        let known = codes().find(|known| u64::from(*known) == code);
        known
            .map(|code| Kind::TokenError { code })
            .ok_or_else(|| Error::Fault(format!("unknown token error {code}")))
    }

    fn vault_error(&self) -> Result<Kind, Error> {
        let code = self.required_text("code")?;
        let known = names().find(|known| *known == code);
        known
            .map(|name| Kind::VaultError { name })
            .ok_or_else(|| Error::Fault(format!("unknown vault error {code:?}")))
    }

    fn probability(&self) -> Result<Option<f64>, Error> {
        let Some(value) = self.0.get("probability") else {
            return Ok(None);
        };
        let probability = value.as_f64().filter(|p| (0.0..=1.0).contains(p));
        let probability = probability.ok_or_else(|| wrong("probability", "from 0 to 1"))?;
        Ok(Some(probability))
    }

    fn present(&self, name: &str) -> Result<&Value, Error> {
        let value = self.0.get(name);
        value.ok_or_else(|| Error::Fault(format!("the field {name:?} is missing")))
    }

    fn text(&self, name: &str) -> Result<Option<String>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(name, "a string")),
        }
    }

    fn required_text(&self, name: &str) -> Result<String, Error> {
        self.present(name)?;
        Ok(self.text(name)?.unwrap_or_default())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => value
                .as_u64()
                .map(Some)
                .ok_or_else(|| wrong(name, "a whole number")),
        }
    }

    fn required_number(&self, name: &str) -> Result<u64, Error> {
        self.present(name)?;
        Ok(self.number(name)?.unwrap_or_default())
    }

    fn text_or_number(&self, name: &str) -> Result<Option<String>, Error> {
        match self.0.get(name) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text(name),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.0.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| wrong(name, "true or false")),
        }
    }
}

fn wrong(name: &str, expected: &str) -> Error {
    Error::Fault(format!("the field {name:?} must be {expected}"))
}
