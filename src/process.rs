//! A process that is held by a descriptor (`pidfd_open(2)`, `SO_PEERPIDFD`) before anything is asked
//! about it: its number may be another process's as soon as it has ended, the descriptor never is.
//! What `/proc` says of a number counts only while the descriptor says that the process still runs.

use std::{fs, io, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

/// A process that was running when it was taken hold of.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    held: OwnedFd,
}

impl Process {
    /// Takes hold of a process by its number; `None` where there is none.
    pub fn open(pid: i32) -> io::Result<Option<Self>> {
        if pid <= 0 {
            return Ok(None);
        }
        let Some(number) = Pid::from_raw(pid) else {
            return Ok(None);
        };
        match pidfd_open(number, PidfdFlags::NONBLOCK) {
            Ok(held) => Ok(Some(Self { pid, held })),
            Err(Errno::SRCH | Errno::INVAL) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The process that a descriptor of it and its number came with.
    #[must_use]
    pub fn held(pid: i32, held: OwnedFd) -> Self {
        Self { pid, held }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut wait = [PollFd::new(&self.held, PollFlags::IN)];
        matches!(poll(&mut wait, Some(&Timespec::default())), Ok(0))
    }

    /// When it started, in the kernel's ticks since boot: with the number, this names one process
    /// of all that have run since. `None` where it has ended.
    pub fn started(&self) -> io::Result<Option<u64>> {
        let started = started(self.pid);
        if self.is_running() {
            started.map(Some)
        } else {
            Ok(None)
        }
    }

    /// The descriptor, which can be read from when the process has ended.
    #[must_use]
    pub fn into_descriptor(self) -> OwnedFd {
        self.held
    }

    /// Whether this process is `ancestor` or was started by it, or by one that it started, and so
    /// on. Both must still be running.
    pub fn descends_from(&self, ancestor: &Self) -> io::Result<bool> {
        // No job nests deeper; and a chain read while processes come and go could have a loop.
        const FARTHEST: u32 = 256;
        let (mut child, mut at) = (None, self.pid);
        for _ in 0..FARTHEST {
            let parent = if at > 1 { parent(at)? } else { 0 };
            // A process whose parent has ended gets another. While it names the same one, what was
            // read of that number is the parent's.
            if let Some(child) = child
                && self::parent(child)? != at
            {
                return Err(io::Error::other("a parent of it has just ended"));
            }
            if at == ancestor.pid {
                return Ok(self.is_running() && ancestor.is_running());
            }
            if at <= 1 {
                return Ok(false);
            }
            (child, at) = (Some(at), parent);
        }
        Ok(false)
    }

    /// The user that it runs as.
    pub fn uid(&self) -> io::Result<u32> {
        Status::of(self.pid)?.number("Uid:")
    }
}

fn parent(pid: i32) -> io::Result<i32> {
    Status::of(pid)?.number("PPid:")
}

/// The 22nd field of `/proc/PID/stat`, see proc(5). The second is the command in parentheses, and
/// may hold any character.
fn started(pid: i32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map(|(_, fields)| fields);
    let started = fields.and_then(|fields| fields.split_whitespace().nth(19));
    let started = started.and_then(|started| started.parse().ok());
    started.ok_or_else(|| io::Error::other("its status has no start time"))
}

/// `/proc/PID/status`, see proc(5).
struct Status(String);

impl Status {
    fn of(pid: i32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{pid}/status")).map(Self)
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> io::Result<T> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        let value = line.and_then(|line| line.split_whitespace().next());
        let number = value.and_then(|value| value.parse().ok());
        number.ok_or_else(|| io::Error::other(format!("its status has no {name}")))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{geteuid, getppid};

    use super::Process;

    fn open(pid: u32) -> Option<Process> {
        Process::open(i32::try_from(pid).unwrap()).unwrap()
    }

    #[test]
    fn a_process_is_told_from_the_next_one_of_its_number() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let process = open(child.id()).unwrap();
        let started = process.started().unwrap().unwrap();
        assert_eq!(open(child.id()).unwrap().started().unwrap(), Some(started));
        assert!(process.is_running());
        assert_eq!(process.uid().unwrap(), geteuid().as_raw());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!process.is_running());
        assert_eq!(process.started().unwrap(), None);
        assert!(open(child.id()).is_none());
        assert!(Process::open(0).unwrap().is_none());
        assert!(Process::open(-1).unwrap().is_none());
    }

    #[test]
    fn descent_is_by_parents_only() {
        let me = open(std::process::id()).unwrap();
        let parent = getppid().unwrap().as_raw_nonzero().get();
        let parent = Process::open(parent).unwrap().unwrap();
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let other = open(child.id()).unwrap();
        assert!(me.descends_from(&me).unwrap());
        assert!(me.descends_from(&parent).unwrap());
        assert!(other.descends_from(&parent).unwrap());
        assert!(!me.descends_from(&other).unwrap());
        assert!(!parent.descends_from(&me).unwrap());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(other.descends_from(&me).is_err(), "it has ended");
    }
}
