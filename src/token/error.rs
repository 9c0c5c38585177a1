//! Why a token was refused: one variant by cause, and one sentence that a job's author can act on.
//! It quotes what the token says of itself and what the daemon expects, never the token.

use std::time::{Duration, SystemTime};

use runner_secrets_proto::Reason;

use super::{
    fetch, json,
    quoted::{AnyOf, Quoted},
};

/// Why there are no claims to be had from a token, as the end of a sentence that begins with the
/// token's place.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Meant for another service.
    #[error(
        "is for the audience {}, and this daemon accepts {}",
        AnyOf(found),
        AnyOf(accepted)
    )]
    Audience {
        /// What the token says.
        found: Vec<String>,
        /// What the issuer's configuration lists.
        accepted: Vec<String>,
    },
    /// Signed in a way that is not accepted: `none` and everything symmetric are among it.
    #[error(
        "is signed with the algorithm {}; RS256, RS384 and RS512 are accepted",
        Quoted(found)
    )]
    Algorithm {
        /// What the header says.
        found: String,
    },
    /// A key and a token that name different algorithms.
    #[error(
        "is signed with {found}, which is not the algorithm of the key {}",
        Quoted(key_id)
    )]
    AlgorithmOfKey {
        /// What the header says.
        found: &'static str,
        /// The key it names.
        key_id: String,
    },
    /// Not yet valid.
    #[error("is from the future: its claim {claim} is {}, {} from now by this daemon's clock", humantime::format_rfc3339_seconds(*from), humantime::format_duration(*ahead))]
    Early {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// What it says.
        from: SystemTime,
        /// How far that is from now, in whole seconds.
        ahead: Duration,
    },
    /// No longer valid.
    #[error("expired at {}, {} ago", humantime::format_rfc3339_seconds(*at), humantime::format_duration(*ago))]
    Expired {
        /// What `exp` says.
        at: SystemTime,
        /// How long ago that was, in whole seconds.
        ago: Duration,
    },
    /// A header parameter that changes what the token means.
    #[error("has a header that {problem}")]
    Header {
        /// The end of the sentence.
        problem: &'static str,
    },
    /// From an issuer that is not configured.
    #[error(
        "was issued by {}, and this daemon accepts tokens of {}",
        Quoted(found),
        AnyOf(known)
    )]
    Issuer {
        /// What the token says.
        found: String,
        /// What the configuration says.
        known: Vec<String>,
    },
    /// The signature cannot be checked for want of the issuer's keys.
    #[error("cannot be verified: the signing keys of {issuer} cannot be had at the moment")]
    KeysUnavailable {
        /// Whose keys.
        issuer: String,
        /// When asking again can help, in whole seconds.
        retry_after: Duration,
        /// What went wrong last; `None` when it is only too soon to ask again.
        source: Option<fetch::Error>,
    },
    /// Valid for longer than any job can run.
    #[error("is valid until {}, which is further off than GitLab's longest job timeout, a month", humantime::format_rfc3339_seconds(*until))]
    Lifetime {
        /// What `exp` says.
        until: SystemTime,
    },
    /// A claim that every ID token of GitLab has.
    #[error("has no claim {claim}")]
    Missing {
        /// Which.
        claim: &'static str,
    },
    /// A claim of another type than it has to be.
    #[error("has a claim {claim} that is no {expected}")]
    Mistyped {
        /// Which.
        claim: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Not three parts of base64url.
    #[error("is no JWT: {problem}")]
    Shape {
        /// The end of the sentence.
        problem: &'static str,
    },
    /// The key exists and did not sign this.
    #[error(
        "has a signature that does not match the key {} of {issuer}",
        Quoted(key_id)
    )]
    Signature {
        /// The key that the header names.
        key_id: String,
        /// Whose key.
        issuer: String,
    },
    /// Header or payload are not the JSON they have to be.
    #[error("has a {part} that {problem}")]
    Text {
        /// `header` or `payload`.
        part: &'static str,
        /// The end of the sentence.
        problem: &'static str,
    },
    /// Larger than any token has to be.
    #[error("has {length} bytes, and this daemon reads less than {limit}")]
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may not be.
        limit: usize,
    },
    /// Signed with a key that the issuer does not publish.
    #[error(
        "is signed with the key {}, which {issuer} does not publish",
        Quoted(key_id)
    )]
    UnknownKey {
        /// What the header says.
        key_id: String,
        /// Who should publish it.
        issuer: String,
    },
    /// Signed with a key that is published and not good enough.
    #[error(
        "is signed with the key {} of {issuer}, which {problem}",
        Quoted(key_id)
    )]
    UnusableKey {
        /// What the header says.
        key_id: String,
        /// Who publishes it.
        issuer: String,
        /// The end of the sentence.
        problem: &'static str,
    },
}

impl Error {
    /// The reason on the wire.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Expired { .. } => Reason::TokenExpired,
            Self::KeysUnavailable { .. } => Reason::KeysUnavailable,
            Self::Audience { .. }
            | Self::Algorithm { .. }
            | Self::AlgorithmOfKey { .. }
            | Self::Early { .. }
            | Self::Header { .. }
            | Self::Issuer { .. }
            | Self::Lifetime { .. }
            | Self::Missing { .. }
            | Self::Mistyped { .. }
            | Self::Shape { .. }
            | Self::Signature { .. }
            | Self::Text { .. }
            | Self::TooLong { .. }
            | Self::UnknownKey { .. }
            | Self::UnusableKey { .. } => Reason::TokenInvalid,
        }
    }

    /// When asking again can help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeysUnavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// What to change, and the row of the documentation.
    #[must_use]
    pub const fn fix(&self) -> (&'static str, &'static str) {
        match self {
            Self::Audience { .. } => (
                "set `aud:` under `id_tokens:` in .gitlab-ci.yml to an audience that the daemon \
                 accepts",
                "token-audience",
            ),
            Self::Early { .. } => (
                "set the clocks of GitLab and of the daemon's host by a time server; trying again \
                 can help",
                "token-early",
            ),
            Self::Expired { .. } => (
                "request the secrets earlier in the job, or raise the job's timeout, which is how \
                 long its ID tokens live",
                "token-expired",
            ),
            Self::Issuer { .. } => (
                "if it is a GitLab of yours, have the operator add an [[issuer]] with exactly this \
                 address",
                "token-issuer",
            ),
            Self::KeysUnavailable { .. } => (
                "if it goes on, `runner-secretsd doctor` on the host says what is wrong \
                 with the way to GitLab",
                "keys-unavailable",
            ),
            Self::Algorithm { .. }
            | Self::AlgorithmOfKey { .. }
            | Self::Header { .. }
            | Self::Lifetime { .. }
            | Self::Missing { .. }
            | Self::Mistyped { .. }
            | Self::Shape { .. }
            | Self::Text { .. }
            | Self::TooLong { .. } => (
                "see that the variable holds an ID token from `id_tokens:` in .gitlab-ci.yml, all \
                 of it and nothing else",
                "token-invalid",
            ),
            Self::Signature { .. } | Self::UnknownKey { .. } | Self::UnusableKey { .. } => (
                "run the job again for a new token; if it goes on, have the operator check where \
                 the daemon reads this issuer's keys",
                "token-signature",
            ),
        }
    }

    pub(super) fn text(part: &'static str, problem: json::Problem) -> Self {
        Self::Text {
            part,
            problem: problem.sentence(),
        }
    }
}
