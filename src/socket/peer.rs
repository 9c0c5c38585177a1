//! Who is at the other end of a connection: what the kernel noted when it was made, and the very
//! process that made it. Its number alone could be another process's by the time it is looked at.

use std::{
    io::{self, IoSlice},
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::UnixStream,
};
use tonic::transport::server::Connected;

use crate::process::Process;

/// A connection that knows who made it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    peer: Option<Peer>,
}

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
}

impl Peer {
    fn of(stream: &UnixStream) -> io::Result<Self> {
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

impl Connection {
    /// Asks who made a connection, once.
    #[must_use]
    pub fn of(stream: UnixStream) -> Self {
        let peer = Peer::of(&stream);
        let peer = peer.inspect_err(|error| tracing::warn!(%error, "a caller cannot be told"));
        Self {
            peer: peer.ok(),
            stream,
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Option<Peer>;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
