//! Payloads that come compressed although nobody asked for that.

use std::io::Read as _;

use flate2::read::GzDecoder;
use hyper::{body::Bytes, header::HeaderValue};

use super::gitlab::Broken;

/// The body itself, of at most `largest` bytes.
pub(super) fn decoded(
    encoding: Option<&HeaderValue>,
    body: Bytes,
    largest: usize,
) -> Result<Bytes, Broken> {
    match encoding.map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(body),
        Some(b"gzip" | b"x-gzip") => {
            let mut plain = Vec::new();
            let longest = u64::try_from(largest).unwrap_or(u64::MAX);
            let mut decoder = GzDecoder::new(body.as_ref()).take(longest + 1);
            decoder.read_to_end(&mut plain)?;
            if plain.len() > largest {
                return Err("a payload that is too large".into());
            }
            Ok(Bytes::from(plain))
        }
        Some(_) => Err("a payload in an encoding that nobody asked for".into()),
    }
}
