//! Opens the addresses that callers on the network reach the daemon at.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use crate::{
    config::{Address, Config},
    tls::{self, Certificate, Server},
};

/// Why there is no listening at an address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its certificate, or its clients' authorities.
    #[error("listen.address: {address}: {source}")]
    Tls {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: tls::Error,
    },
    /// It cannot be had.
    #[error("listen.address: {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// An address that nothing is accepted at yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) listener: TcpListener,
    pub(super) tls: Arc<Server>,
    /// With the port that it got where 0 was asked for.
    pub(super) address: SocketAddr,
}

impl Open {
    pub(super) fn certificate(&self) -> Certificate {
        (self.address, self.tls.clone())
    }
}

/// All addresses of the configuration.
pub(super) fn open(config: &Config) -> Result<Vec<Open>, Error> {
    config.addresses.iter().map(one).collect()
}

fn one(settings: &Address) -> Result<Open, Error> {
    let address = settings.address;
    let tls = Server::new(settings.tls.clone()).map_err(|source| Error::Tls { address, source })?;
    let listening = |source| Error::Listen { address, source };
    let listener = listener(address).map_err(listening)?;
    Ok(Open {
        address: listener.local_addr().map_err(listening)?,
        listener,
        tls: Arc::new(tls),
    })
}

/// A listener that the runtime knows of.
pub(super) fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
