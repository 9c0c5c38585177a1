//! The first step: from an ID token to the claims of a job. Decides whether an issuer that the
//! operator named signed the token, for us, and for now. What can be refused without a key is
//! refused before one is looked for, so that made-up tokens cause no requests. Claims are made here
//! and nowhere else; the steps after this one take them as evidence. May call the issuer's server,
//! through `jwks`, and nobody else.

use std::time::{Duration, SystemTime};

use crate::{config::issuer::Issuer, secret::IdToken};

use compact::Compact;
use jwks::Keys;

pub use claims::{Claims, Identity};
pub use error::Error;
pub use fetch::{Fetch, Fetched};
pub use jwks::Status;
pub use key::{Algorithm, KeySet};

pub(crate) mod claims;
mod compact;
mod error;
pub mod fetch;
mod json;
mod jwks;
mod key;
pub(crate) mod quoted;
#[cfg(test)]
mod tests;

// For tokens from the future: GitLab dates `nbf` five seconds back for clocks that differ, and a
// machine that is off by more than this should be noticed. The end of a token has no leeway: it is
// the end of its job too.
const LEEWAY: Duration = Duration::from_secs(30);

// GitLab's longest job timeout is a month, and a token lives as long as the timeout.
const LONGEST_LIFE: Duration = Duration::from_secs(31 * 24 * 60 * 60);

/// Verifies tokens of the issuers that it was made with.
#[derive(Debug)]
pub struct Verifier {
    issuers: Vec<(Issuer, Keys)>,
}

/// What a token says of itself. Nobody has verified any of it: it is for logs that say so, and for
/// refusing what no verification could save.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified {
    /// The algorithm that its header names.
    pub algorithm: Algorithm,
    /// The key that its header names.
    pub key_id: String,
    /// `iss`
    pub issuer: String,
    /// `sub`
    pub subject: String,
    /// `aud`
    pub audiences: Vec<String>,
    /// `project_id`
    pub project_id: String,
    /// `job_id`
    pub job_id: String,
    /// `exp`
    pub expires_at: SystemTime,
}

impl Verifier {
    /// Verifies tokens of these issuers, each with what fetches its keys. Fetches nothing yet.
    #[must_use]
    pub fn new(issuers: Vec<(Issuer, Fetch)>) -> Self {
        let with_keys = |(issuer, fetch)| {
            let keys = Keys::new(&issuer, fetch);
            (issuer, keys)
        };
        Self {
            issuers: issuers.into_iter().map(with_keys).collect(),
        }
    }

    /// The claims of `token`, if one of the issuers signed it for us and it is valid at `now`. May
    /// wait for the issuer's keys, up to ten seconds; needs a tokio runtime.
    pub async fn verify(&self, token: &IdToken, now: SystemTime) -> Result<Claims, Error> {
        let compact = Compact::read(token)?;
        let claims = Claims::read(&compact.payload)?;
        let (issuer, keys) = self.issuer(&claims)?;
        admit(&claims, issuer, now)?;
        let keys = keys.find(&compact.key_id).await?;
        keys.check(&compact, &issuer.url)?;
        Ok(claims)
    }

    /// Fetches the keys of all issuers at once, as far as there are none yet. What goes wrong is in
    /// [`status`](Self::status).
    pub async fn warm(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        for (_, keys) in &self.issuers {
            let keys = keys.clone();
            tasks.spawn(async move { keys.warm().await });
        }
        tasks.join_all().await;
    }

    /// Keeps the keys of all issuers at hand, for as long as it is polled.
    pub async fn keep(&self) {
        let mut tasks = tokio::task::JoinSet::new();
        for (_, keys) in &self.issuers {
            let keys = keys.clone();
            tasks.spawn(async move { keys.keep().await });
        }
        tasks.join_all().await;
    }

    /// What there is to say on each issuer's keys.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.issuers.iter().map(|(_, keys)| keys.status()).collect()
    }

    fn issuer(&self, claims: &Claims) -> Result<&(Issuer, Keys), Error> {
        let found = self
            .issuers
            .iter()
            .find(|(issuer, _)| issuer.url == claims.issuer);
        found.ok_or_else(|| Error::Issuer {
            found: claims.issuer.clone(),
            known: self
                .issuers
                .iter()
                .map(|(issuer, _)| issuer.url.clone())
                .collect(),
        })
    }
}

/// What [`Verifier::verify`] does, with the keys in hand: pure, for one issuer.
pub fn check(
    token: &IdToken,
    keys: &KeySet,
    issuer: &Issuer,
    now: SystemTime,
) -> Result<Claims, Error> {
    let compact = Compact::read(token)?;
    let claims = Claims::read(&compact.payload)?;
    if claims.issuer != issuer.url {
        return Err(Error::Issuer {
            found: claims.issuer,
            known: vec![issuer.url.clone()],
        });
    }
    admit(&claims, issuer, now)?;
    keys.check(&compact, &issuer.url)?;
    Ok(claims)
}

/// Reads a token without verifying anything but its form.
pub fn peek(token: &IdToken) -> Result<Unverified, Error> {
    let compact = Compact::read(token)?;
    let claims = Claims::read(&compact.payload)?;
    Ok(Unverified {
        algorithm: compact.algorithm,
        key_id: compact.key_id,
        issuer: claims.issuer,
        subject: claims.subject,
        audiences: claims.audiences,
        project_id: claims.project_id,
        job_id: claims.job_id,
        expires_at: claims.expires_at,
    })
}

/// The claims of a token that nobody verifies: for the operator's `policy explain`, never for a job.
pub fn assume(token: &IdToken) -> Result<Claims, Error> {
    Claims::read(&Compact::read(token)?.payload)
}

/// What makes a token acceptable apart from its signature: the audience and the dates.
fn admit(claims: &Claims, issuer: &Issuer, now: SystemTime) -> Result<(), Error> {
    let ours = |audience| issuer.audiences.contains(audience);
    if !claims.audiences.iter().any(ours) {
        return Err(Error::Audience {
            found: claims.audiences.clone(),
            accepted: issuer.audiences.clone(),
        });
    }
    let until = claims.expires_at;
    if now >= until {
        return Err(Error::Expired {
            at: until,
            ago: whole_seconds(until, now),
        });
    }
    if until > now + LONGEST_LIFE + LEEWAY {
        return Err(Error::Lifetime { until });
    }
    for (claim, from) in [("nbf", claims.not_before), ("iat", claims.issued_at)] {
        if let Some(from) = from.filter(|from| *from > now + LEEWAY) {
            return Err(Error::Early {
                claim,
                from,
                ahead: whole_seconds(now, from),
            });
        }
    }
    Ok(())
}

fn whole_seconds(from: SystemTime, until: SystemTime) -> Duration {
    let between = until.duration_since(from).unwrap_or_default();
    Duration::from_secs(between.as_secs())
}
