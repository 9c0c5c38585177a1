//! GitLab's ID tokens. For now only their shape is looked at: nobody's signature is checked, and
//! what a token says is called unverified.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::secret::IdToken;

/// GitLab's tokens are 1 to 3 KiB; proxies limit headers to 16 KiB.
const LONGEST: usize = 16 * 1024;

/// Why a token was refused, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than any of GitLab's.
    #[error("is longer than 16 KiB, which no ID token of GitLab is")]
    TooLong,
    /// Not three parts of base64url with JSON in them.
    #[error(
        "is no JWT; is it an ID token from the job's `id_tokens`, and was its variable expanded?"
    )]
    NoJwt,
    /// A claim is missing or has the wrong type.
    #[error("has no usable claim {0}; is it an ID token of a GitLab job?")]
    Claim(&'static str),
}

/// What a token says of itself. Nobody has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// `iss`
    pub issuer: String,
    /// `project_id`
    pub project_id: String,
    /// `job_id`
    pub job_id: String,
    /// `exp`
    pub expires_at: SystemTime,
}

/// Reads what `token` says of itself.
pub fn peek(token: &IdToken) -> Result<Unverified, Error> {
    let token = token.expose();
    if token.len() > LONGEST {
        return Err(Error::TooLong);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Error::NoJwt);
    };
    let header = decode(header)?;
    let payload = decode(payload)?;
    decode(signature)?;
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&header)
        .map_err(|_| Error::NoJwt)?;
    let said: Said = serde_json::from_slice(&payload).map_err(|_| Error::NoJwt)?;
    let expires = said.exp.as_u64().ok_or(Error::Claim("exp"))?;
    Ok(Unverified {
        issuer: text(said.iss).ok_or(Error::Claim("iss"))?,
        project_id: text(said.project_id).ok_or(Error::Claim("project_id"))?,
        job_id: text(said.job_id).ok_or(Error::Claim("job_id"))?,
        expires_at: UNIX_EPOCH
            .checked_add(Duration::from_secs(expires))
            .ok_or(Error::Claim("exp"))?,
    })
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Said {
    iss: serde_json::Value,
    project_id: serde_json::Value,
    job_id: serde_json::Value,
    exp: serde_json::Value,
}

fn decode(part: &str) -> Result<Vec<u8>, Error> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::NoJwt)
}

/// GitLab sends ids as strings; numbers are taken as well.
fn text(claim: serde_json::Value) -> Option<String> {
    match claim {
        serde_json::Value::String(text) if !text.is_empty() => Some(text),
        serde_json::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
