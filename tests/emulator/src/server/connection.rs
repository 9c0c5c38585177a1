//! What a connection needs besides HTTP: a socket that can be torn down, and tasks that end
//! with it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::shared::Shared;

/// A TCP stream whose close can be made a reset.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    abort: Arc<AtomicBool>,
}

/// Decides how a [`Socket`] closes.
#[derive(Debug)]
pub(super) struct Abort(Arc<AtomicBool>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> (Self, Abort) {
        let abort = Arc::new(AtomicBool::new(false));
        let handle = Abort(Arc::clone(&abort));
        (Self { stream, abort }, handle)
    }
}

impl Abort {
    /// When the socket closes, its peer gets a reset.
    pub(super) fn on_close(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.abort.load(Ordering::Relaxed) {
            // If this fails the peer sees an orderly close, which is a fault as well.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
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
}

/// The tasks that HTTP/2 starts for its streams; they end when this is dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks(Arc<Shared<JoinSet<()>>>);

/// Starts tasks as long as their [`Tasks`] live.
#[derive(Debug, Clone)]
pub(super) struct Executor(Weak<Shared<JoinSet<()>>>);

impl Tasks {
    pub(super) fn executor(&self) -> Executor {
        Executor(Arc::downgrade(&self.0))
    }
}

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            drop(future.await);
        });
    }
}
