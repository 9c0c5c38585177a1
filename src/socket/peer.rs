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

/// Who made a connection.
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
    /// A number of ours that no other connection has.
    pub connection: u64,
}

impl Peer {
    /// Asks who made a connection.
    pub(crate) fn of(stream: &UnixStream, connection: u64) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let pid = credentials.pid().filter(|pid| *pid > 0);
        let process = pid.and_then(|pid| process(stream, pid));
        Ok(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid,
            process: process.map(Arc::new),
            connection,
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
