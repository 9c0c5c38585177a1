//! The compact form of a signed token (RFC 7515), taken apart: sizes, base64url, the header's
//! rules. Nothing here has been verified; what the header says on where to find the key (`jku`,
//! `x5u`, `jwk`, `x5c`) is never looked at.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    Error,
    json::{self, Object},
    key::Algorithm,
};
use crate::secret::IdToken;

// GitLab's tokens have 1.5 to 3 KB; `groups_direct` with its 200 groups can make it 12. Reading
// costs time before anything is known of the caller, so not more than that.
const LIMIT: usize = 16 * 1024;

// GitLab's are 43 characters; it is compared and quoted in messages.
const LONGEST_KEY_ID: usize = 255;

/// A token's parts.
#[derive(Debug)]
pub(super) struct Compact<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    pub(super) payload: Object,
    /// The text that the signature is over.
    pub(super) signed: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> Compact<'a> {
    pub(super) fn read(token: &'a IdToken) -> Result<Self, Error> {
        let token = token.expose();
        if token.len() >= LIMIT {
            return Err(Error::TooLong {
                length: token.len(),
                limit: LIMIT,
            });
        }
        let (signed, header, payload, signature) = split(token)?;
        let header = object("header", header)?;
        let (algorithm, key_id) = check_header(&header)?;
        Ok(Self {
            algorithm,
            key_id,
            payload: object("payload", payload)?,
            signed,
            signature: decode(signature)?,
        })
    }
}

/// The text under the signature, header, payload and signature.
fn split(token: &str) -> Result<(&str, &str, &str, &str), Error> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let problem = "it has not three parts with dots in between";
        return Err(Error::Shape { problem });
    };
    let signed = token.get(..header.len() + 1 + payload.len());
    Ok((signed.unwrap_or_default(), header, payload, signature))
}

fn decode(part: &str) -> Result<Vec<u8>, Error> {
    // This engine refuses padding, white space and bits left over, so that a token has one form.
    BASE64_URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Error::Shape {
            problem: "a part of it is not base64url without padding",
        })
}

fn object(part: &'static str, text: &str) -> Result<Object, Error> {
    json::object(&decode(text)?).map_err(|problem| Error::text(part, problem))
}

fn check_header(header: &Object) -> Result<(Algorithm, String), Error> {
    let algorithm = text(header, "alg", "has no text in alg")?;
    let Some(algorithm) = algorithm else {
        let problem = "names no algorithm";
        return Err(Error::Header { problem });
    };
    let accepted = Algorithm::named(algorithm).ok_or_else(|| Error::Algorithm {
        found: algorithm.to_owned(),
    })?;
    // A critical extension is one that must be understood; none is (RFC 7515 §4.1.11).
    if header.contains_key("crit") {
        let problem = "has a critical extension (crit)";
        return Err(Error::Header { problem });
    }
    // An access token (`at+jwt`) says something else with the same claims.
    if text(header, "typ", "has no text in typ")?
        .is_some_and(|typ| !typ.eq_ignore_ascii_case("JWT"))
    {
        let problem = "has another typ than JWT";
        return Err(Error::Header { problem });
    }
    match text(header, "kid", "has no text in kid")? {
        Some(key_id) if !key_id.is_empty() && key_id.len() <= LONGEST_KEY_ID => {
            Ok((accepted, key_id.to_owned()))
        }
        Some(_) => Err(Error::Header {
            problem: "names a key (kid) of no or more than 255 characters",
        }),
        None => Err(Error::Header {
            problem: "names no key (kid)",
        }),
    }
}

/// A member that has to be text if it is there at all.
fn text<'a>(
    header: &'a Object,
    name: &str,
    problem: &'static str,
) -> Result<Option<&'a str>, Error> {
    match header.get(name) {
        None => Ok(None),
        Some(value) => value.text().map(Some).ok_or(Error::Header { problem }),
    }
}
