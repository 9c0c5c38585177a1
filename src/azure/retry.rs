//! Trying again, within the caller's deadline and a number of attempts, and only where it can help.
//! When a service that asked for a pause can be asked again, the gate knows. The Azure crates' own
//! retries are off: they would wait for any `Retry-After`, however long.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use super::{
    fault::{Again, Failure, Sign},
    gate::{Gate, Job},
    traffic::Outcome,
};
use crate::error::{Error, Service};

/// One try and two more: what passes at all passes within a second, and an outage must not be
/// answered with a storm.
const ATTEMPTS: u32 = 3;
/// Doubled with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Calls `attempt` through `gate` until it succeeds, fails for good, or the time is over. Gives the
/// last failure, and whether trying again in some other way can help.
pub(super) async fn until<T, Trying>(
    gate: &Arc<Gate>,
    job: Job,
    deadline: Instant,
    mut attempt: impl FnMut() -> Trying,
) -> Result<T, Failure>
where
    Trying: Future<Output = Result<T, Failure>>,
{
    let service = gate.service();
    let mut last: Option<Failure> = None;
    for tried in 0..ATTEMPTS {
        let pass = match gate.pass(job, deadline).await {
            Ok(pass) => pass,
            // What the service said tells more than that it could not be asked again.
            Err(error) => return Err(last.unwrap_or_else(|| Failure::never(error))),
        };
        // A request that waits for its turn needs no room yet for what it will do then.
        let attempt = Box::pin(attempt());
        let since = std::time::Instant::now();
        let Ok(outcome) = timeout_at(deadline, attempt).await else {
            gate.traffic().ended(service, Outcome::Late, since);
            return Err(Failure::never(late(service)));
        };
        let ended = outcome.as_ref();
        let ended = ended.map_or_else(Failure::outcome, |_| Outcome::Answered);
        gate.traffic().ended(service, ended, since);
        let sign = outcome.as_ref().map_or_else(Failure::sign, |_| Sign::Works);
        pass.ended(sign);
        let failure = match outcome {
            Ok(done) => return Ok(done),
            Err(failure) => failure,
        };
        let pause = match (failure.again, sign) {
            (Again::Never | Again::Anew, _) => return Err(failure),
            // The gate knows when.
            (Again::After(_), _) | (_, Sign::Throttles(_)) => Duration::ZERO,
            (Again::Soon, _) => jittered(FIRST_PAUSE * 2_u32.pow(tried)),
        };
        if tried + 1 == ATTEMPTS || Instant::now() + pause >= deadline {
            return Err(failure);
        }
        tracing::debug!(%service, ?pause, detail = failure.error.detail(), "trying again");
        last = Some(failure);
        sleep(pause).await;
    }
    let what = "a request to a service was never sent";
    Err(last.unwrap_or_else(|| Failure::never(Error::Bug { what })))
}

fn late(service: Service) -> Error {
    let waiting = match service {
        Service::Entra => "waiting for Microsoft Entra ID",
        Service::KeyVault => "waiting for Key Vault",
    };
    Error::DeadlineExceeded { waiting }
}

/// Between half of `pause` and all of it, so that jobs that failed together do not come back
/// together.
pub(super) fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without randomness the whole pause is right, too.
    let part = getrandom::fill(&mut random).map_or(1.0, |()| f64::from(random[0]) / 255.0);
    pause.mul_f64(0.5 + part / 2.0)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc, time::Duration};

    use runner_secrets_proto::Reason;
    use tokio::time::Instant;

    use super::{ATTEMPTS, until};
    use crate::{
        azure::{
            fault::{Again, Failure},
            gate::{Bounds, Gate},
            traffic::Traffic,
        },
        error::{Detail, Error, Service, Trouble},
    };

    fn gate() -> Arc<Gate> {
        let requests = 10;
        let rate = None;
        let bounds = Bounds { requests, rate };
        Gate::new(Service::KeyVault, bounds, Traffic::unread())
    }

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
        let outcome: Result<(), Failure> = until(&gate(), [0; 32], deadline, || {
            tries.set(tries.get() + 1);
            async { Err(failure(again)) }
        })
        .await;
        (tries.get(), outcome.unwrap_err().error.reason())
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
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_secs(30);
        let outcome: Result<(), Failure> =
            until(&gate(), [0; 32], deadline, std::future::pending).await;
        let reason = outcome.unwrap_err().error.reason();
        assert_eq!(reason, Reason::DeadlineExceeded);
        assert_eq!(Instant::now(), deadline);
    }
}
