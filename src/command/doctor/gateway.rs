//! The gateways: whether runners find them, and whether they find GitLab.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hyper::StatusCode;
use tokio::time::timeout;

use super::azure::{PATIENCE, connects};
use crate::{
    checkup::{Checkup, Step},
    config::{Config, gateway::Gateway},
    gateway,
};

pub(super) async fn examine(config: &Config, checkup: &mut Checkup) {
    for settings in &config.gateways {
        checkup.add(listens(settings.listen).await);
        checkup.add(reaches(settings).await);
    }
}

async fn listens(address: SocketAddr) -> Step {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match connects(&host.to_string(), address.port()).await {
        Ok(()) => Step::good("gateway", format!("somebody listens at {address}")),
        Err(error) => Step::wrong("gateway", format!("{address}: {error}"))
            .fix("start the daemon: runner-secretsd serve, or its systemd unit"),
    }
}

/// GitLab answers a poll that has no token with 403, and nothing else does by chance.
async fn reaches(settings: &Gateway) -> Step {
    let url = &settings.gitlab_url;
    let asked = timeout(PATIENCE, gateway::ask_without_token(settings)).await;
    match asked {
        Ok(Ok(StatusCode::FORBIDDEN)) => Step::good("gitlab", format!("{url} answers runners")),
        Ok(Ok(status)) => {
            let says = format!("{url} answers runners with {}", status.as_u16());
            Step::wrong("gitlab", format!("{says}, which is not GitLab's answer"))
                .fix("correct gitlab_url: with the path, if GitLab is below one")
        }
        Ok(Err(error)) => Step::wrong("gitlab", format!("{url}: {error}")).fix(
            "let this host connect to it; for a certificate of a private authority, \
             name that in gateway.ca_file",
        ),
        Err(_) => Step::wrong("gitlab", format!("{url} does not answer"))
            .fix("let this host connect to it"),
    }
}
