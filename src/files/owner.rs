//! The process whose end ends a lease: an ancestor of the calling process with the same user, held
//! by a descriptor, so that another process that gets its number later is never mistaken for it.

use std::{io, os::fd::OwnedFd};

use tokio::io::unix::AsyncFd;

use super::moment::readable;
use crate::process::Process;

/// A process that a lease ends with.
#[derive(Debug)]
pub struct Owner {
    held: AsyncFd<OwnedFd>,
    identity: Identity,
}

/// Which process it is, of all that have run since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks.
    pub started: u64,
}

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
    pub fn of(owner: i32, caller: &Process, uid: u32) -> Result<Self, Error> {
        let owner = Process::open(owner)?.ok_or(Error::Gone)?;
        if !caller.descends_from(&owner)? || owner.uid()? != uid {
            return Err(Error::Stranger);
        }
        Self::holding(owner)?.ok_or(Error::Gone)
    }

    /// Takes hold of the owner of an earlier daemon's lease again; `None` where it has ended,
    /// whatever has its number now.
    pub fn again(identity: Identity) -> io::Result<Option<Self>> {
        let Some(process) = Process::open(identity.pid)? else {
            return Ok(None);
        };
        let owner = Self::holding(process)?;
        Ok(owner.filter(|owner| owner.identity == identity))
    }

    /// Which process it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns when the process has ended.
    pub async fn ended(&self) {
        // An error means that nothing can be waited for: the lease's other bounds hold.
        if self.held.readable().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn holding(process: Process) -> io::Result<Option<Self>> {
        let Some(started) = process.started()? else {
            return Ok(None);
        };
        let identity = Identity {
            pid: process.pid(),
            started,
        };
        let held = readable(process.into_descriptor())?;
        Ok(Some(Self { held, identity }))
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use rustix::process::{geteuid, getppid};

    use super::{Error, Identity, Owner};
    use crate::process::Process;

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn waiting() -> Child {
        Command::new("cat").stdin(Stdio::piped()).spawn().unwrap()
    }

    #[tokio::test]
    async fn only_the_caller_and_its_ancestors_own() {
        let uid = geteuid().as_raw();
        let own = i32::try_from(std::process::id()).unwrap();
        let me = Process::open(own).unwrap().unwrap();
        let parent = getppid().unwrap().as_raw_nonzero().get();
        assert!(Owner::of(own, &me, uid).is_ok());
        assert!(Owner::of(parent, &me, uid).is_ok());
        let mut child = waiting();
        for (owner, uid) in [(pid(&child), uid), (own, uid + 1)] {
            let refused = Owner::of(owner, &me, uid);
            assert!(matches!(refused, Err(Error::Stranger)));
        }
        for nobody in [0, -1, i32::MAX] {
            assert!(matches!(Owner::of(nobody, &me, uid), Err(Error::Gone)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn the_end_of_the_process_is_noticed() {
        let mut child = waiting();
        let process = Process::open(pid(&child)).unwrap().unwrap();
        let owner = Owner::of(pid(&child), &process, geteuid().as_raw()).unwrap();
        drop(child.stdin.take());
        owner.ended().await;
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_is_found_again_only_if_it_is_the_same() {
        let mut child = waiting();
        let process = Process::open(pid(&child)).unwrap().unwrap();
        let owner = Owner::of(pid(&child), &process, geteuid().as_raw()).unwrap();
        let identity = owner.identity();
        assert!(Owner::again(identity).unwrap().is_some());
        let reused = Identity {
            started: identity.started + 1,
            ..identity
        };
        assert!(Owner::again(reused).unwrap().is_none());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(Owner::again(identity).unwrap().is_none());
    }
}
