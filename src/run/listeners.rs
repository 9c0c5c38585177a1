//! All that callers reach the daemon at by gRPC: sockets of this host, and addresses.

use std::{path::Path, sync::Arc};

use tokio::net::UnixListener;

use super::{Error, addresses};
use crate::{
    config::{Config, Delivery},
    connections::Listener,
    metrics::{Front, Metrics},
    socket::{self, Socket},
};

/// A listener that is ready to accept, and what is served there.
pub(super) struct Open {
    pub(super) listener: Listener,
    pub(super) way: Front,
    pub(super) delivery: Delivery,
    pub(super) allowed_uids: Arc<[u32]>,
    pub(super) reflection: bool,
    pub(super) held: Option<socket::Held>,
}

/// Has the metrics of each way in at 0 before anybody can ask for them.
pub(super) fn announce(config: &Config, metrics: &Metrics) {
    if !config.listeners.is_empty() {
        metrics.opens(Front::Socket);
    }
    if !config.addresses.is_empty() {
        metrics.opens(Front::Tls);
    }
}

/// Gets `sockets` and `addresses`, opened as `config` says, ready to accept.
pub(super) fn ready(
    sockets: Vec<Socket>,
    addresses: Vec<addresses::Open>,
    config: &Config,
) -> Result<Vec<Open>, Error> {
    let mut open = Vec::new();
    for (socket, listen) in sockets.into_iter().zip(&config.listeners) {
        let listener = listener(socket.listener, &socket.path)?;
        tracing::info!(socket = %socket.path.display(), delivery = %listen.delivery, "listening");
        open.push(Open {
            listener: Listener::Local(listener),
            way: Front::Socket,
            delivery: listen.delivery,
            allowed_uids: listen.allowed_uids.as_slice().into(),
            reflection: listen.reflection,
            held: socket.held,
        });
    }
    for (opened, settings) in addresses.into_iter().zip(&config.addresses) {
        let delivery = Delivery::Inline {
            disk_allowed: settings.disk_allowed,
        };
        let client_certificates = settings.tls.client_ca.is_some();
        tracing::info!(address = %opened.address, %delivery, client_certificates, "listening");
        open.push(Open {
            listener: Listener::Remote(opened.listener, opened.tls),
            way: Front::Tls,
            delivery,
            allowed_uids: Arc::default(),
            reflection: settings.reflection,
            held: None,
        });
    }
    Ok(open)
}

/// A listener that the runtime knows of.
fn listener(
    listener: std::os::unix::net::UnixListener,
    socket: &Path,
) -> Result<UnixListener, Error> {
    let listening = listener.set_nonblocking(true);
    let listening = listening.and_then(|()| UnixListener::from_std(listener));
    listening.map_err(|source| Error::Serving {
        socket: socket.to_owned(),
        source,
    })
}
