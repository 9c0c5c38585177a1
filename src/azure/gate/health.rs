//! What is known of how a service is doing, from what became of the requests to it: whether it wants
//! to be left alone for a while, and whether it fails.

use std::time::Duration;

use tokio::time::Instant;

use crate::azure::retry;

/// One failure is an accident, and a request alone does not make more than three.
const FAILURES: u32 = 5;
/// Little enough for a service that is down, and nobody waits long for one that is up again.
const PROBE: Duration = Duration::from_secs(1);
/// What Microsoft recommends where a throttled answer does not say how long to wait: 1, 2, 4, 8, 16
/// seconds.
const PAUSE: Duration = Duration::from_secs(1);
const DOUBLED: u32 = 4;

/// How a service is doing.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// It has said that it gets too many requests.
    paused: Option<Instant>,
    /// How often it has said so, each time after a pause, without having answered.
    throttled: u32,
    /// Failures in a row.
    failures: u32,
    /// It fails; one request may go then.
    probe: Option<Instant>,
    /// When a request was sent that it answered.
    worked: Option<Instant>,
}

/// What keeps a request from being sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// The service wants a pause.
    Paused(Instant),
    /// The service fails, and has just been asked.
    Probe(Instant),
}

impl Until {
    pub(super) fn at(self) -> Instant {
        match self {
            Self::Paused(at) | Self::Probe(at) => at,
        }
    }
}

impl Health {
    /// What keeps requests back, if anything does.
    pub(super) fn holds(&self, now: Instant) -> Option<Until> {
        let paused = self.paused.map(Until::Paused);
        let probe = self.probe.map(Until::Probe);
        let holds = paused.into_iter().chain(probe);
        holds
            .filter(|until| until.at() > now)
            .max_by_key(|until| until.at())
    }

    /// A request is sent.
    pub(super) fn asked(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            *probe = now + PROBE;
        }
    }

    /// A request that was sent at `since` got an answer, whatever it was.
    pub(super) fn works(&mut self, since: Instant) {
        self.failures = 0;
        self.probe = None;
        self.worked = self.worked.max(Some(since));
        if self.paused.is_none_or(|until| since >= until) {
            self.throttled = 0;
        }
    }

    /// A request that was sent at `since` was one too many.
    pub(super) fn throttles(&mut self, since: Instant, now: Instant, asked: Option<Duration>) {
        let until = match asked {
            Some(asked) => now.checked_add(asked),
            // Sent before the others knew: the pause is for this one as well.
            None if self.paused.is_some_and(|until| since < until) => return,
            None => {
                let pause = PAUSE * 2_u32.pow(self.throttled.min(DOUBLED));
                self.throttled += 1;
                Some(now + retry::jittered(pause))
            }
        };
        self.paused = self.paused.max(until);
    }

    /// A request that was sent at `since` failed; `asked` is how long the service said to wait.
    /// Gives whether it is failing, which who waits should know.
    pub(super) fn fails(&mut self, since: Instant, now: Instant, asked: Option<Duration>) -> bool {
        if let Some(asked) = asked {
            self.paused = self.paused.max(now.checked_add(asked));
        }
        // What was sent before it worked again says nothing of how it is now.
        if self.worked.is_some_and(|worked| since < worked) {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES {
            return false;
        }
        self.probe = self.probe.max(Some(now + PROBE));
        true
    }

    /// Whether nothing would be lost if it were forgotten.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        self.failures == 0 && self.holds(now).is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{FAILURES, Health, PROBE, Until};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_is_as_long_as_the_service_says_and_never_shorter() {
        let (mut health, start) = (Health::default(), Instant::now());
        health.throttles(start, start, Some(SECOND * 3));
        health.throttles(start, start, Some(SECOND * 2));
        let until = start + SECOND * 3;
        assert_eq!(health.holds(start), Some(Until::Paused(until)));
        // A late answer to an earlier request does not end it.
        health.works(start);
        assert_eq!(health.holds(start), Some(Until::Paused(until)));
        assert_eq!(health.holds(until), None);
        health.throttles(start, start, Some(Duration::MAX));
        assert_eq!(health.holds(until), None);
    }

    #[test]
    fn without_a_word_pauses_double_up_to_a_bound_and_until_it_works() {
        let (mut health, mut now) = (Health::default(), Instant::now());
        for most in [1, 2, 4, 8, 16, 16, 16] {
            health.throttles(now, now, None);
            let until = health.holds(now).unwrap().at();
            let pause = until - now;
            assert!(
                pause >= SECOND * most / 2 && pause <= SECOND * most,
                "{pause:?}"
            );
            // Those that were under way say nothing new.
            health.throttles(now, now, None);
            assert_eq!(health.holds(now).unwrap().at(), until);
            now = until;
        }
        health.works(now);
        health.throttles(now, now, None);
        assert!(health.holds(now).unwrap().at() <= now + SECOND);
    }

    #[test]
    fn a_service_that_fails_is_asked_once_a_second_until_it_works() {
        let (mut health, start) = (Health::default(), Instant::now());
        for _ in 1..FAILURES {
            assert!(!health.fails(start, start, None));
            assert_eq!(health.holds(start), None);
        }
        assert!(health.fails(start, start, None));
        let mut now = start;
        for _ in 0..3 {
            now += PROBE;
            assert_eq!(health.holds(now), None);
            health.asked(now);
            assert_eq!(health.holds(now), Some(Until::Probe(now + PROBE)));
            assert!(health.fails(now, now, None));
        }
        now += PROBE;
        health.asked(now);
        health.works(now);
        assert!(health.is_good(now));
        // What had been waiting since before does not take it back.
        assert!(!health.fails(start, now, None));
        assert!(health.is_good(now));
    }

    #[test]
    fn a_success_in_between_begins_the_count_again() {
        let (mut health, start) = (Health::default(), Instant::now());
        for at in 0..20 {
            let now = start + Duration::from_millis(at);
            assert!(!health.fails(now, now, None));
            if at % 4 == 3 {
                health.works(now);
            }
        }
    }
}
