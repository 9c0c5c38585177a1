//! Listening sockets on loopback that nobody should ever come to.

use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A port on which somebody listens. The system completes connections whether or not they are
/// accepted, so that none is missed, however late it is counted.
pub(crate) struct Trap {
    port: u16,
    listeners: Vec<TcpListener>,
    visits: AtomicUsize,
}

impl Trap {
    /// On both loopback addresses, where the machine has both.
    pub(crate) fn new() -> Self {
        let first = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let second = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).ok();
        let listeners: Vec<TcpListener> = [first].into_iter().chain(second).collect();
        for listener in &listeners {
            listener.set_nonblocking(true).unwrap();
        }
        Self {
            port,
            listeners,
            visits: AtomicUsize::new(0),
        }
    }

    /// `localhost:PORT`
    pub(crate) fn host(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How many connections there have been. Each is closed when it is counted.
    pub(crate) fn visits(&self) -> usize {
        for listener in &self.listeners {
            while listener.accept().is_ok() {
                self.visits.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.visits.load(Ordering::Relaxed)
    }
}
