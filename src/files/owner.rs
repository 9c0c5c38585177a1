//! The process whose end ends a lease. It is held by a descriptor before anything is asked about
//! it, so that another process that gets its number later is never mistaken for it.

use std::{fs, io, os::fd::OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{Interest, unix::AsyncFd};

/// A process that was running when it was taken hold of.
#[derive(Debug)]
pub struct Owner(AsyncFd<OwnedFd>);

/// Why a process does not own a lease.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such process any more, or never was.
    #[error("is no running process")]
    Gone,
    /// It has nothing to do with the caller.
    #[error("is no ancestor of the calling process with the same user")]
    Stranger,
    /// The system does not say.
    #[error("cannot be looked at: {0}")]
    Unknown(#[from] io::Error),
}

impl Owner {
    /// Takes hold of `owner`, which must be the process `caller` itself or one of its ancestors,
    /// and run as `uid`.
    pub fn of(owner: i32, caller: i32, uid: u32) -> Result<Self, Error> {
        if owner <= 0 {
            return Err(Error::Gone);
        }
        let pid = Pid::from_raw(owner).ok_or(Error::Gone)?;
        let held = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Ok(held) => held,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Err(Error::Gone),
            Err(errno) => return Err(Error::Unknown(errno.into())),
        };
        if is_ancestor(owner, caller)? && Status::of(owner)?.uid == uid {
            #[expect(
                deprecated,
                reason = "its replacement is unsafe for types that can replace their descriptor; an OwnedFd cannot"
            )]
            let held = AsyncFd::with_interest(held, Interest::READABLE)?;
            Ok(Self(held))
        } else {
            Err(Error::Stranger)
        }
    }

    /// Returns when the process has ended.
    pub async fn ended(&self) {
        // An error means that nothing can be waited for: the lease's other bounds hold.
        if self.0.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Whether `process` is reached from `from` by going to the parent, again and again.
fn is_ancestor(process: i32, from: i32) -> Result<bool, io::Error> {
    // No job nests deeper; and a chain read while processes come and go could have a loop.
    const FARTHEST: u32 = 256;
    let mut at = from;
    for _ in 0..FARTHEST {
        if at == process {
            return Ok(true);
        }
        if at <= 1 {
            return Ok(false);
        }
        at = Status::of(at)?.parent;
    }
    Ok(false)
}

/// What `/proc/PID/status` says, see proc(5).
struct Status {
    parent: i32,
    uid: u32,
}

impl Status {
    fn of(pid: i32) -> Result<Self, io::Error> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next())
        };
        let parent = field("PPid:").and_then(|text| text.parse().ok());
        let uid = field("Uid:").and_then(|text| text.parse().ok());
        let (Some(parent), Some(uid)) = (parent, uid) else {
            return Err(io::Error::other("its status has no parent or no user"));
        };
        Ok(Self { parent, uid })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use rustix::process::{geteuid, getppid};

    use super::{Error, Owner};

    fn own_pid() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    #[tokio::test]
    async fn only_the_caller_and_its_ancestors_own() {
        let uid = geteuid().as_raw();
        let parent = getppid().unwrap().as_raw_nonzero().get();
        assert!(Owner::of(own_pid(), own_pid(), uid).is_ok());
        assert!(Owner::of(parent, own_pid(), uid).is_ok());
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let stranger = i32::try_from(child.id()).unwrap();
        let refused = Owner::of(stranger, own_pid(), uid);
        assert!(matches!(refused, Err(Error::Stranger)));
        let refused = Owner::of(own_pid(), own_pid(), uid + 1);
        assert!(matches!(refused, Err(Error::Stranger)));
        assert!(matches!(Owner::of(0, own_pid(), uid), Err(Error::Gone)));
        assert!(matches!(Owner::of(-1, own_pid(), uid), Err(Error::Gone)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_process_is_noticed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let owner = Owner::of(pid, pid, geteuid().as_raw()).unwrap();
        drop(child.stdin.take());
        owner.ended().await;
        child.wait().unwrap();
    }
}
