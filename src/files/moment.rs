//! The clock that leases end by: time since boot, suspended or not. Nobody can set it, unlike the
//! time of day, and it does not stand still while the machine sleeps, unlike `std::time::Instant`:
//! a lease that did would outlive its bound by as long as the lid was closed.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A time since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Boottime);
        Self(Duration::try_from(now).unwrap_or_default())
    }

    /// So much later than now.
    #[must_use]
    pub fn in_future(duration: Duration) -> Self {
        Self(Self::now().0.saturating_add(duration))
    }

    /// How long it is until then.
    #[must_use]
    pub fn left(self) -> Duration {
        self.0.saturating_sub(Self::now().0)
    }

    /// In whole milliseconds since boot, rounded down.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// The reverse.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

/// Wakes its holder at a moment, even if the machine slept through it.
#[derive(Debug)]
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// One that is not set.
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(Self(readable(timerfd_create(
            TimerfdClockId::Boottime,
            flags,
        )?)?))
    }

    /// Waits for `moment`; for ever where there is none.
    pub async fn at(&self, moment: Option<Moment>) -> io::Result<()> {
        // All zeros would be no alarm at all; whatever is over rings at once.
        let at = moment.map_or(Duration::ZERO, |moment| {
            moment.0.max(Duration::from_nanos(1))
        });
        let it_value = Timespec::try_from(at).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let timer = Itimerspec {
            it_interval: Timespec::default(),
            it_value,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::ABSTIME, &timer)?;
        loop {
            let mut ready = self.0.readable().await?;
            let mut count = [0; size_of::<u64>()];
            let rung = ready.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?));
            if let Ok(rung) = rung {
                return rung.map(|_| ());
            }
        }
    }
}

/// A descriptor that can be waited for until something is to be read.
pub(super) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its replacement is unsafe for types that can replace their descriptor; an OwnedFd cannot"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Alarm, Moment};

    #[tokio::test]
    async fn an_alarm_rings_when_its_moment_is_over_and_not_before() {
        let alarm = Alarm::new().unwrap();
        for wait in [Duration::ZERO, Duration::from_millis(20)] {
            let moment = Moment::in_future(wait);
            alarm.at(Some(moment)).await.unwrap();
            assert!(Moment::now() >= moment);
            assert_eq!(moment.left(), Duration::ZERO);
        }
        alarm.at(Some(Moment::from_millis(0))).await.unwrap();
        // One that is not set never rings, also not for what it was set to before.
        let never = alarm.at(None);
        let waited = tokio::time::timeout(Duration::from_millis(50), never).await;
        assert!(waited.is_err());
    }

    #[test]
    fn a_moment_survives_being_written_down() {
        let moment = Moment::in_future(Duration::from_secs(60));
        let again = Moment::from_millis(moment.as_millis());
        assert!(again <= moment);
        assert!(Moment::from_millis(again.as_millis()) == again);
        assert!(again > Moment::now());
    }
}
