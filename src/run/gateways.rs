//! Sets the gateways up: each with its address, and its way into the one pipeline.

use std::{net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;

use super::addresses;
use crate::{
    audit::Audit,
    azure::Azure,
    config::{Config, Delivery, gateway::Gateway as Settings},
    gateway::{self, Gateway, metrics::Jobs},
    limits::Admission,
    metrics::Front,
    provide::Provider,
    service,
    tls::Certificate,
};

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be set up.
    #[error(transparent)]
    Gateway(#[from] gateway::Error),
    /// Its address cannot be had.
    #[error("gateway.listen: {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A gateway with its address.
#[derive(Debug)]
pub(super) struct Open {
    listener: TcpListener,
    address: SocketAddr,
    gateway: Arc<Gateway<Azure>>,
}

impl Open {
    /// Its certificate, where it has one.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        Some((self.address, self.gateway.tls()?.clone()))
    }

    /// Serves until `stop`, and then until everything has ended that had begun.
    pub(super) async fn serve(self, stop: impl Future<Output = ()> + Send) {
        self.gateway.serve(self.listener, stop).await;
    }
}

/// All gateways of the configuration. Nothing is accepted yet.
pub(super) fn open(
    config: &Config,
    provider: &Arc<Provider<Azure>>,
    audit: &Audit,
    admission: &Arc<Admission>,
    jobs: &Jobs,
) -> Result<Vec<Open>, Error> {
    let audiences = config.issuers.iter().flat_map(|issuer| &issuer.audiences);
    let audiences: Vec<String> = audiences.cloned().collect();
    let gateway = |settings: &Settings| {
        let listening = |source| Error::Listen {
            address: settings.listen,
            source,
        };
        let listener = addresses::listener(settings.listen).map_err(listening)?;
        let address = listener.local_addr().map_err(listening)?;
        let front = service::Front {
            audit: audit.clone(),
            provider: provider.clone(),
            // What a runner is given, it writes to files itself.
            delivery: Delivery::Inline {
                disk_allowed: false,
            },
            limits: config.limits.clone(),
        };
        let gateway = Gateway::new(
            settings,
            front,
            admission.clone(),
            audiences.clone(),
            jobs.clone(),
        )?;
        tracing::info!(%address, gitlab = %settings.gitlab_url, "a gateway listens");
        Ok(Open {
            listener,
            address,
            gateway,
        })
    };
    if !config.gateways.is_empty() {
        audit.metrics().opens(Front::Gateway);
    }
    config.gateways.iter().map(gateway).collect()
}
