//! The token that an operator holds against the policy: verified as the daemon would, with the keys
//! that the daemon would fetch. One that fails is still good for the question what the policy would
//! say to such a job, as long as everybody sees that nobody vouches for it.

use std::{fs::File, io::Read as _, path::Path, time::SystemTime};

use runner_secrets_proto::Reason;
use secrecy::zeroize::Zeroizing;

use super::Error;
use crate::{
    config::issuer::{Issuer, KeySource},
    run::keys,
    secret::IdToken,
    token::{self, Claims, Fetch, Verifier, fetch},
};

/// A token's claims, and what they are worth.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) claims: Claims,
    /// Why nobody vouches for them, if so.
    pub(super) problem: Option<Problem>,
}

/// Why a token does not verify.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) reason: Reason,
    /// The end of a sentence that begins with the token.
    pub(super) says: String,
}

/// Reads the file with a token, with or without an end of line.
pub(super) fn read(path: &Path) -> Result<IdToken, Error> {
    // Far more than any token has; what is longer is refused as too long.
    const MOST: u64 = 1024 * 1024;
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    match read {
        // What is no text is no token either, and is refused as such.
        Ok(_) => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(IdToken::new(text.trim().to_owned()))
        }
        Err(source) => Err(Error::Unreadable {
            path: path.to_owned(),
            source,
        }),
    }
}

/// The claims of `token`, which `path` holds: verified, or with the reason why not.
pub(super) async fn of(
    token: &IdToken,
    path: &Path,
    issuers: &[Issuer],
) -> Result<Presented, Error> {
    let assumed = token::assume(token).map_err(|error| Error::NoToken {
        path: path.to_owned(),
        error,
    })?;
    let problem = match verifier(issuers, &assumed.issuer) {
        Err(says) => Problem {
            reason: Reason::KeysUnavailable,
            says,
        },
        Ok(verifier) => match verifier.verify(token, SystemTime::now()).await {
            Ok(claims) => {
                let problem = None;
                return Ok(Presented { claims, problem });
            }
            Err(error) => Problem {
                reason: error.reason(),
                says: with_causes(&error),
            },
        },
    };
    Ok(Presented {
        claims: assumed,
        problem: Some(problem),
    })
}

/// With a way to the keys of `issuer` only: the others' are of no use to its token. A file needs
/// none, so that a machine without certificates can verify with one.
fn verifier(issuers: &[Issuer], issuer: &str) -> Result<Verifier, String> {
    let with_fetch = |one: &Issuer| {
        let from_file = matches!(one.keys, KeySource::File(_));
        let fetch = if from_file || one.url != issuer {
            Fetch::new(async |url| Err(nowhere(url.to_string())))
        } else {
            keys::fetch(one).map_err(|error| format!("cannot be verified: {error}"))?
        };
        Ok((one.clone(), fetch))
    };
    let issuers: Result<_, String> = issuers.iter().map(with_fetch).collect();
    issuers.map(Verifier::new)
}

fn nowhere(url: String) -> fetch::Error {
    let problem = "is not asked".to_owned();
    fetch::Error::Unreachable { url, problem }
}

/// The operator may know what went wrong on the way to the keys; a job is only told that it did.
fn with_causes(error: &token::Error) -> String {
    let mut says = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        says.push_str(": ");
        says.push_str(&error.to_string());
        cause = error.source();
    }
    says
}
