//! So many a second in the long run, and so many at once after a pause: the generic cell rate
//! algorithm, which needs one point in time for each who is counted.

use std::time::Duration;

use tokio::time::Instant;

/// How fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    every: Duration,
    tolerance: Duration,
}

impl Rate {
    /// `per_second` in the long run, `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let every = Duration::from_secs(1) / per_second.max(1);
        Self {
            every,
            tolerance: every * burst.saturating_sub(1),
        }
    }
}

/// How fast it was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// When the next one would be due if all had come evenly.
    due: Option<Instant>,
}

impl Pace {
    /// When there can be one; in the past or `now`: at once.
    pub(crate) fn next(self, rate: Rate, now: Instant) -> Instant {
        let early = |due: Instant| due.checked_sub(rate.tolerance);
        self.due.and_then(early).unwrap_or(now)
    }

    /// Takes one, or says how long to wait for it.
    pub(crate) fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let next = self.next(rate, now);
        if next > now {
            return Err(next - now);
        }
        let due = self.due.map_or(now, |due| due.max(now));
        self.due = Some(due + rate.every);
        Ok(())
    }

    /// Leaves nothing of what could be had at once.
    pub(crate) fn drain(&mut self, rate: Rate, now: Instant) {
        self.due = self.due.max(Some(now + rate.tolerance));
    }

    /// Whether it is as if nothing had ever been taken.
    pub(crate) fn is_rested(self, now: Instant) -> bool {
        self.due.is_none_or(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Pace, Rate};

    fn taken(pace: &mut Pace, rate: Rate, now: Instant) -> usize {
        std::iter::from_fn(|| pace.take(rate, now).ok()).count()
    }

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, start) = (Rate::new(10, 30), Instant::now());
        let mut pace = Pace::default();
        assert_eq!(taken(&mut pace, rate, start), 30);
        let wait = pace.take(rate, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(taken(&mut pace, rate, start + wait), 1);
        assert!(!pace.is_rested(start + wait));
        let rested = start + Duration::from_secs(60);
        assert!(pace.is_rested(rested));
        assert_eq!(taken(&mut pace, rate, rested), 30);
    }

    #[test]
    fn what_is_drained_comes_one_by_one() {
        let (rate, start) = (Rate::new(10, 30), Instant::now());
        let mut pace = Pace::default();
        pace.drain(rate, start);
        assert_eq!(taken(&mut pace, rate, start), 1);
        assert!(pace.take(rate, start).is_err());
    }

    #[test]
    fn in_no_window_are_there_more_than_a_burst_and_the_rate() {
        let (rate, start) = (Rate::new(200, 1600), Instant::now());
        let mut pace = Pace::default();
        let window = (0..10_000).map(|at| start + Duration::from_millis(at));
        let all: usize = window.map(|now| taken(&mut pace, rate, now)).sum();
        assert!((3598..=3600).contains(&all), "{all}");
    }
}
