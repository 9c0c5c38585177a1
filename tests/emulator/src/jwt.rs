//! JSON Web Tokens: taking them apart and putting them together.
//!
//! Parsing is strict about the shape (three base64url parts, two JSON objects) and says nothing
//! about who signed: each service checks that with its own keys and in its own order.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::keys::{self, SigningKey};

/// A token taken apart, its signature not yet checked.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) header: Map<String, Value>,
    pub(crate) claims: Map<String, Value>,
    /// What the signature covers.
    pub(crate) signed: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

impl Token {
    /// `None`: this is not a JWT.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (header, claims, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self {
            header: object(header)?,
            claims: object(claims)?,
            signed: format!("{header}.{claims}").into_bytes(),
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
        })
    }

    /// A member of the header, if it is a string.
    pub(crate) fn header_text(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    /// A claim, if it is a string.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// A claim, if it is a number of seconds.
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        let value = self.claims.get(name)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a fraction of a second decides nothing, and the cast saturates"
        )]
        value
            .as_i64()
            .or_else(|| value.as_f64().map(|seconds| seconds as i64))
    }
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Signs as the header's `alg` says: none, HS256 (keyed with the public key) and ES256 (by a key
/// nobody knows) are there to be refused; anything else is signed with RS256 whatever it claims.
pub(crate) fn sign(
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    key: &SigningKey,
) -> Result<String, Error> {
    let signed = format!("{}.{}", encode(header), encode(claims));
    let message = signed.as_bytes();
    let signature = match header.get("alg").and_then(Value::as_str) {
        Some("none") => Vec::new(),
        Some("HS256") => key.sign_with_public_key_as_secret(message)?,
        Some("ES256") => keys::sign_es256_once(message)?,
        _ => key.sign(message)?,
    };
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn encode(object: &Map<String, Value>) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(object).unwrap_or_default())
}
