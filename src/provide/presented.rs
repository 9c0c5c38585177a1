//! Who presented which token. The first to present one is the one it was given to; from another user,
//! or from another place on the network, it is a token that was taken. What processes of one user do
//! to each other cannot be told apart this way, nor can containers that run as the same user, nor
//! hosts behind one address.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use tokio::time::Instant;

use crate::{
    caller::Principal,
    error::Error,
    limits::{Pace, Rate},
    token::Claims,
};

/// The tokens that were presented and have not expired.
#[derive(Debug)]
pub struct Presented {
    tokens: Mutex<HashMap<[u8; digest::SHA256_OUTPUT_LEN], First>>,
    /// How often one may be.
    rate: Rate,
}

#[derive(Debug)]
struct First {
    by: Option<Principal>,
    until: SystemTime,
    times: u64,
    pace: Pace,
    explained: Explained,
}

/// How often a token asked for an explanation since its minute began.
#[derive(Debug)]
struct Explained {
    since: Instant,
    times: u32,
}

impl Presented {
    // A busy host has some thousand jobs in the longest life of a token; an entry has 100 bytes.
    const MOST: usize = 100_000;

    /// None yet; one token may be presented `per_second` times a second in the long run, and ten
    /// times as often at once.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self {
            tokens: Mutex::default(),
            rate: Rate::new(per_second, per_second.saturating_mul(10)),
        }
    }

    /// Takes note that `principal` presented a verified token, and gives how often that was. Somebody
    /// else's is refused, and so is one that comes too often. One that came from GitLab itself is
    /// nobody's yet.
    pub(super) fn by(
        &self,
        principal: Option<&Principal>,
        claims: &Claims,
        now: SystemTime,
    ) -> Result<u64, Error> {
        let mut tokens = self.tokens();
        let identity = identity(claims);
        if tokens.len() >= Self::MOST && !tokens.contains_key(&identity) {
            make_room(&mut tokens, now);
        }
        let first = tokens.entry(identity).or_insert_with(|| First {
            by: principal.cloned(),
            until: claims.expires_at,
            times: 0,
            pace: Pace::default(),
            explained: Explained {
                since: Instant::now(),
                times: 0,
            },
        });
        if let Some(principal) = principal {
            let by = first.by.get_or_insert_with(|| principal.clone());
            if by != principal {
                return Err(taken_from(by));
            }
        }
        let spent = first.pace.take(self.rate, Instant::now());
        spent.map_err(|retry_after| Error::Overloaded {
            problem: "this ID token is used more often than limits.token_rate allows",
            retry_after,
        })?;
        first.times += 1;
        if first.times > 1 {
            tracing::info!(
                times = first.times,
                job_id = claims.job_id,
                "a token is used again"
            );
        }
        Ok(first.times)
    }

    /// Takes note that a token, presented before, asks for an explanation; not too often.
    pub(super) fn explains(&self, claims: &Claims, now: Instant) -> Result<(), Error> {
        // Somebody who mends a spec asks a few times; whoever searches for names of secrets asks
        // thousands of times.
        const MOST: u32 = 30;
        const MINUTE: Duration = Duration::from_secs(60);
        let mut tokens = self.tokens();
        let Some(first) = tokens.get_mut(&identity(claims)) else {
            return Ok(());
        };
        let explained = &mut first.explained;
        let passed = now.saturating_duration_since(explained.since);
        if passed >= MINUTE {
            *explained = Explained {
                since: now,
                times: 0,
            };
        } else if explained.times >= MOST {
            return Err(Error::Overloaded {
                problem: "this ID token asked for an explanation 30 times within a minute",
                retry_after: MINUTE.saturating_sub(passed),
            });
        }
        explained.times += 1;
        Ok(())
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<[u8; digest::SHA256_OUTPUT_LEN], First>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The refusal of a token that its first presenter did not give away.
fn taken_from(first: &Principal) -> Error {
    let problem = match first {
        Principal::User(_) => "another user of this host presented the same ID token before",
        Principal::Remote(_) => {
            "somebody at another address, or with another certificate, presented the same ID token before"
        }
    };
    Error::CallerDenied { problem }
}

/// Drops what has expired; if that is nothing, the half that expires first.
fn make_room(tokens: &mut HashMap<[u8; digest::SHA256_OUTPUT_LEN], First>, now: SystemTime) {
    tokens.retain(|_, first| first.until > now);
    if tokens.len() < Presented::MOST {
        return;
    }
    let mut ends: Vec<SystemTime> = tokens.values().map(|first| first.until).collect();
    let middle = ends.len() / 2;
    let (_, middle, _) = ends.select_nth_unstable(middle);
    let middle = *middle;
    tokens.retain(|_, first| first.until > middle);
}

/// The token's id within its issuer; where it has none, what makes the job and the token's life.
fn identity(claims: &Claims) -> [u8; digest::SHA256_OUTPUT_LEN] {
    let mut context = digest::Context::new(&digest::SHA256);
    let issued = claims
        .issued_at
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let issued = issued.unwrap_or_default().as_secs().to_string();
    let id = claims.jti.as_deref().unwrap_or(&issued);
    for part in [&claims.issuer, &claims.job_id, id] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    let mut identity = [0; digest::SHA256_OUTPUT_LEN];
    identity.copy_from_slice(context.finish().as_ref());
    identity
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use tokio::time::Instant;

    use super::Presented;
    use crate::{
        caller::{Principal, Remote},
        token::Claims,
    };

    const ONE: Option<&Principal> = Some(&Principal::User(1));
    const TWO: Option<&Principal> = Some(&Principal::User(2));

    fn claims(jti: &str, exp: u64) -> Claims {
        let common =
            r#""iss":"https://gitlab.test","sub":"s","aud":"a","project_id":"20","job_id":"1""#;
        Claims::assume(&format!(r#"{{{common},"jti":"{jti}","exp":{exp}}}"#)).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_token_is_of_the_user_who_presents_it_first() {
        let presented = Presented::new(100);
        assert!(presented.by(ONE, &claims("a", 10), at(1)).is_ok());
        assert!(presented.by(ONE, &claims("a", 10), at(2)).is_ok());
        assert!(presented.by(TWO, &claims("a", 10), at(2)).is_err());
        assert!(presented.by(TWO, &claims("b", 10), at(2)).is_ok());
    }

    #[test]
    fn a_token_is_of_the_address_and_the_certificate_that_present_it_first() {
        let presented = Presented::new(100);
        let at = |host: u8, certificate: Option<&str>| {
            Principal::Remote(Remote {
                certificate: certificate.map(str::to_owned),
                ..Remote::at([10, 0, 0, host].into())
            })
        };
        let by = |principal: &Principal, jti: &str| {
            presented.by(Some(principal), &claims(jti, 10), super::UNIX_EPOCH)
        };
        assert!(by(&at(1, None), "a").is_ok());
        assert!(by(&at(1, None), "a").is_ok());
        assert!(by(&at(2, None), "a").is_err());
        assert!(by(&at(1, Some("CN=a")), "a").is_err());
        assert!(by(&Principal::User(1), "a").is_err());
        assert!(by(&at(1, Some("CN=a")), "b").is_ok());
        assert!(by(&at(1, Some("CN=b")), "b").is_err());
        assert!(by(&at(1, Some("CN=a")), "b").is_ok());
    }

    #[test]
    fn a_token_from_gitlab_itself_is_still_to_be_had() {
        let presented = Presented::new(100);
        assert!(presented.by(None, &claims("a", 10), at(1)).is_ok());
        assert!(presented.by(ONE, &claims("a", 10), at(2)).is_ok());
        assert!(presented.by(None, &claims("a", 10), at(2)).is_ok());
        assert!(presented.by(TWO, &claims("a", 10), at(2)).is_err());
    }

    #[test]
    fn expired_tokens_make_room_and_a_flood_is_bounded() {
        let presented = Presented::new(100);
        let most = u64::try_from(Presented::MOST).unwrap();
        for token in 0..most {
            presented
                .by(ONE, &claims(&token.to_string(), 10 + token), at(1))
                .unwrap();
        }
        presented.by(ONE, &claims("more", most * 2), at(1)).unwrap();
        let held = presented.tokens().len();
        assert!(held <= Presented::MOST / 2 + 1, "{held}");
        presented
            .by(ONE, &claims("late", most * 3), at(most * 2))
            .unwrap();
        assert!(
            presented
                .by(TWO, &claims("late", most * 3), at(most * 2))
                .is_err()
        );
    }

    #[test]
    fn a_token_that_comes_too_often_is_refused_for_a_while() {
        let presented = Presented::new(5);
        for _ in 0..50 {
            presented.by(ONE, &claims("a", 10), at(1)).unwrap();
        }
        assert!(presented.by(ONE, &claims("a", 10), at(1)).is_err());
        assert!(presented.by(ONE, &claims("b", 10), at(1)).is_ok());
    }

    #[test]
    fn a_token_is_explained_thirty_times_a_minute() {
        let presented = Presented::new(100);
        let start = Instant::now();
        let (one, other) = (claims("a", 10), claims("b", 10));
        presented.by(ONE, &one, at(1)).unwrap();
        presented.by(ONE, &other, at(1)).unwrap();
        for _ in 0..30 {
            assert!(presented.explains(&one, start).is_ok());
        }
        assert!(presented.explains(&one, start).is_err());
        assert!(presented.explains(&other, start).is_ok());
        let later = start + Duration::from_secs(61);
        assert!(presented.explains(&one, later).is_ok());
    }
}
