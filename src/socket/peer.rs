//! Who is at the other end of a connection: what the kernel noted when it was made, and the very
//! process that made it. Its number alone could be another process's by the time it is looked at.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use tokio::net::UnixStream;

use crate::process::Process;

/// A process that made a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its number, where it has one in our namespace.
    pub pid: Option<i32>,
    /// The process itself, if it still runs.
    pub process: Option<Arc<Process>>,
}

impl Peer {
    /// Asks who made a connection.
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().filter(|pid| *pid > 0);
        let process = pid.and_then(|pid| process(stream, pid));
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid,
            process: process.map(Arc::new),
        })
    }
}

/// The process that connected, from the kernel's own record of the connection (Linux 6.5). An older
/// kernel is asked for the process that has the number now: if the one that connected has ended
/// before its connection was accepted, that can be another one of the machine.
fn process(stream: &UnixStream, pid: i32) -> Option<Process> {
    match peer_descriptor(stream) {
        Ok(held) => Some(Process::held(pid, held)),
        Err(nix::errno::Errno::ENOPROTOOPT) => Process::open(pid).ok().flatten(),
        Err(_) => None,
    }
}

fn peer_descriptor(stream: &impl AsFd) -> nix::Result<OwnedFd> {
    getsockopt(stream, PeerPidfd)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use tokio::net::{UnixListener, UnixStream};

    use super::{Peer, peer_descriptor};

    #[tokio::test]
    async fn a_connection_knows_the_process_that_made_it() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        let process = peer.process.unwrap();
        assert_eq!(peer.pid, Some(process.pid()));
        assert_eq!(u32::try_from(process.pid()).unwrap(), std::process::id());
        assert!(process.is_running());
    }

    /// Its number may be another's by then; what the kernel noted of it is not.
    #[tokio::test]
    async fn a_process_that_ended_before_it_was_accepted_is_not_looked_up_by_number() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let script = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
        let mut caller = Command::new("python3");
        let caller = caller.args(["-c", script]).arg(&path).stdin(Stdio::null());
        if !caller.status().is_ok_and(|status| status.success()) {
            println!("skipped: there is no python3 to call with");
            assert!(std::env::var_os("CI").is_none(), "CI has python3");
            return;
        }
        let (stream, _) = listener.accept().await.unwrap();
        if matches!(
            peer_descriptor(&stream),
            Err(nix::errno::Errno::ENOPROTOOPT)
        ) {
            println!("skipped: this kernel has no SO_PEERPIDFD");
            return;
        }
        let peer = Peer::of(&stream).unwrap();
        assert!(peer.pid.is_some());
        assert!(peer.process.is_none_or(|process| !process.is_running()));
    }
}
