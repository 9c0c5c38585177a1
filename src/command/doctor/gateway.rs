//! What is reached over the network: whether somebody listens there, whether its certificate still
//! holds, and whether gateways find GitLab.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{SystemTime, UNIX_EPOCH},
};

use hyper::StatusCode;
use tokio::time::timeout;

use super::azure::{PATIENCE, connects};
use crate::{
    checkup::{Checkup, Step},
    config::{Config, gateway::Gateway},
    gateway,
    tls::{Server, Settings},
};

pub(super) async fn examine(config: &Config, checkup: &mut Checkup) {
    for settings in &config.addresses {
        checkup.add(listens("address", settings.address).await);
        checkup.add(certificate(&settings.tls));
    }
    for settings in &config.gateways {
        checkup.add(listens("gateway", settings.listen).await);
        if let Some(settings) = &settings.certificate {
            checkup.add(certificate(settings));
        }
        checkup.add(reaches(settings).await);
    }
}

async fn listens(name: &str, address: SocketAddr) -> Step {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    match connects(&host.to_string(), address.port()).await {
        Ok(()) => Step::good(name, format!("somebody listens at {address}")),
        Err(error) => Step::wrong(name, format!("{address}: {error}"))
            .fix("start the daemon: runner-secretsd serve, or its systemd unit"),
    }
}

/// Whether the certificate in the file, which the daemon reads within a minute, holds for a while yet.
fn certificate(settings: &Settings) -> Step {
    /// As the alert on it has it.
    const DAYS_LEFT: i64 = 14;
    const NAME: &str = "certificate";
    let path = settings.chain.display();
    let renew = "put a new one there; it is in use within a minute";
    let ends = match Server::new(settings.clone()) {
        Ok(server) => server.ends(),
        Err(error) => return Step::wrong(NAME, error.to_string()).fix(renew),
    };
    let Some(ends) = ends else {
        return Step::good(NAME, format!("{path} can be used"));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.ok().and_then(|now| i64::try_from(now.as_secs()).ok());
    let left = ends - now.unwrap_or_default();
    match left.div_euclid(24 * 60 * 60) {
        _ if left <= 0 => Step::wrong(NAME, format!("{path} has ended")).fix(renew),
        days if days < DAYS_LEFT => {
            Step::wrong(NAME, format!("{path} ends within {} days", days + 1)).fix(renew)
        }
        days => Step::good(NAME, format!("{path} holds for {days} days")),
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
