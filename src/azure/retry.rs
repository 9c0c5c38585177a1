//! Trying again, within the caller's deadline and a number of attempts, and only where it can help.
//! The Azure crates' own retries are off: they would wait for any `Retry-After`, however long.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Again, Failure};
use crate::error::{Error, Service};

/// One try and two more: what passes at all passes within a second, and an outage must not be
/// answered with a storm.
const ATTEMPTS: u32 = 3;
/// Doubled with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Calls `attempt` until it succeeds, fails for good, or the time is over.
pub(super) async fn until<T, Trying>(
    deadline: Instant,
    service: Service,
    mut attempt: impl FnMut() -> Trying,
) -> Result<T, Error>
where
    Trying: Future<Output = Result<T, Failure>>,
{
    let waiting = match service {
        Service::Entra => "waiting for Microsoft Entra ID",
        Service::KeyVault => "waiting for Key Vault",
    };
    let mut tried = 0;
    loop {
        let failure = match tokio::time::timeout_at(deadline, attempt()).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(failure)) => failure,
            Err(_) => return Err(Error::DeadlineExceeded { waiting }),
        };
        tried += 1;
        let pause = match failure.again {
            Again::Never => return Err(failure.error),
            Again::Soon => jittered(FIRST_PAUSE * 2_u32.pow(tried - 1)),
            Again::After(asked) => asked,
        };
        let next = Instant::now().checked_add(pause);
        if tried == ATTEMPTS || next.is_none_or(|next| next >= deadline) {
            return Err(failure.error);
        }
        tracing::debug!(%service, ?pause, detail = failure.error.detail(), "trying again");
        tokio::time::sleep(pause).await;
    }
}

/// Between half of `pause` and all of it, so that jobs that failed together do not come back
/// together.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the whole pause is right, too.
    let part = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(random[0]) / 255.0);
    pause.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use runner_secrets_proto::Reason;
    use tokio::time::Instant;

    use super::{ATTEMPTS, until};
    use crate::{
        azure::fault::{Again, Failure},
        error::{Detail, Error, Service, Trouble},
    };

    fn failure(again: Again) -> Failure {
        Failure {
            error: Error::UpstreamUnavailable {
                service: Service::KeyVault,
                problem: Trouble::Failing,
                detail: Detail::default(),
            },
            again,
        }
    }

    /// How often it was tried, and what came of it.
    async fn tried(again: Again) -> (u32, Reason) {
        let tries = Cell::new(0);
        let deadline = Instant::now() + Duration::from_secs(30);
        let outcome: Result<(), Error> = until(deadline, Service::KeyVault, || {
            tries.set(tries.get() + 1);
            async { Err(failure(again)) }
        })
        .await;
        (tries.get(), outcome.unwrap_err().reason())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_can_succeed_is_tried_again_and_not_for_long() {
        let unavailable = Reason::UpstreamUnavailable;
        assert_eq!(tried(Again::Never).await, (1, unavailable));
        assert_eq!(tried(Again::Soon).await, (ATTEMPTS, unavailable));
        let soon = Again::After(Duration::from_secs(3));
        assert_eq!(tried(soon).await, (ATTEMPTS, unavailable));
        let late = Again::After(Duration::from_secs(120));
        assert_eq!(tried(late).await, (1, unavailable));
        assert_eq!(tried(Again::After(Duration::MAX)).await, (1, unavailable));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(30);
        let outcome: Result<(), Error> =
            until(deadline, Service::Entra, std::future::pending).await;
        assert_eq!(outcome.unwrap_err().reason(), Reason::DeadlineExceeded);
        assert_eq!(Instant::now(), deadline);
    }
}
