//! The clock that the records' times come from: whether somebody keeps it right, whether it was
//! set, and which boot of the machine this is. Says "unknown" where it cannot be told.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use rustix::time::{ClockId, clock_gettime};

use super::event;

/// Smaller steps are how a clock is kept right.
const STEP: Duration = Duration::from_millis(500);

/// A clock falls out of step in hours; asking costs two looks at the file system.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// Where systemd-timesyncd says that it has set the clock by a server, see its manual page.
const TIMESYNC: &str = "/run/systemd/timesync";

/// Notices what happens to the clock.
#[derive(Debug)]
pub(crate) struct Watch {
    /// The wall clock less the time since boot.
    offset: i128,
    asked: Instant,
    synchronised: Option<bool>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            offset: offset(),
            asked: Instant::now(),
            synchronised: synchronised(),
        }
    }

    /// What happened since the last call; `None`: nothing.
    pub(crate) fn change(&mut self) -> Option<event::Clock> {
        let offset = offset();
        let step = offset - self.offset;
        let stepped = step.unsigned_abs() >= STEP.as_nanos();
        let was = self.synchronised;
        if self.asked.elapsed() >= ASK_AGAIN {
            self.asked = Instant::now();
            self.synchronised = synchronised();
        }
        if stepped {
            self.offset = offset;
        }
        (stepped || was != self.synchronised).then(|| event::Clock {
            synchronised: self.synchronised,
            step_ms: stepped.then(|| i64::try_from(step / 1_000_000).unwrap_or(i64::MAX)),
        })
    }

    /// Whether somebody keeps it right, as far as that can be told.
    pub(crate) fn synchronised(&self) -> Option<bool> {
        self.synchronised
    }
}

/// The state of the clock, for the record of a start.
#[must_use]
pub fn state() -> event::Clock {
    event::Clock {
        synchronised: synchronised(),
        step_ms: None,
    }
}

/// Which boot of the machine this is.
#[must_use]
pub fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim_end().to_owned())
}

/// The kernel's own answer takes adjtimex(2), which no safe code reaches. systemd-timesyncd leaves
/// a file; with any other program, such as chrony, it is unknown.
fn synchronised() -> Option<bool> {
    told_by(Path::new(TIMESYNC))
}

fn told_by(timesync: &Path) -> Option<bool> {
    match fs::symlink_metadata(timesync.join("synchronized")) {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound && timesync.is_dir() => Some(false),
        Err(_) => None,
    }
}

/// In nanoseconds. The time since boot goes on while the machine sleeps, as the wall clock does.
fn offset() -> i128 {
    let boot = clock_gettime(ClockId::Boottime);
    let boot = i128::from(boot.tv_sec) * 1_000_000_000 + i128::from(boot.tv_nsec);
    let wall = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    };
    wall - boot
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Watch, boot_id, told_by};

    #[test]
    fn a_clock_that_is_set_is_told_by_how_much() {
        let mut watch = Watch::new();
        assert_eq!(watch.change(), None);
        for (seconds, step_ms) in [(3, 3_000), (-3600, -3_600_000)] {
            // As if the clock had been elsewhere when it was last looked at.
            watch.offset -= seconds * 1_000_000_000;
            let said = watch.change().unwrap().step_ms.unwrap();
            assert!((said - step_ms).abs() < 400, "{said}");
            assert_eq!(watch.change(), None);
        }
        watch.offset -= 400_000_000;
        assert_eq!(watch.change(), None);
    }

    #[test]
    fn a_change_of_who_keeps_it_right_is_told_once() {
        let mut watch = Watch::new();
        let now = watch.synchronised;
        watch.synchronised = Some(now != Some(true));
        assert_eq!(watch.change(), None, "it was asked a moment ago");
        watch.asked = watch.asked.checked_sub(super::ASK_AGAIN).unwrap();
        let said = watch.change().unwrap();
        assert_eq!((said.synchronised, said.step_ms), (now, None));
        assert_eq!(watch.change(), None);
    }

    #[test]
    fn unknown_is_no_answer() {
        let place = tempfile::tempdir().unwrap();
        let timesync = place.path().join("timesync");
        assert_eq!(told_by(&timesync), None);
        fs::create_dir(&timesync).unwrap();
        assert_eq!(told_by(&timesync), Some(false));
        fs::File::create_new(timesync.join("synchronized")).unwrap();
        assert_eq!(told_by(&timesync), Some(true));
    }

    #[test]
    fn a_boot_has_an_id() {
        let id = boot_id().unwrap();
        assert_eq!(id.len(), 36, "{id}");
    }
}
