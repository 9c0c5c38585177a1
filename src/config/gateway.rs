//! `[[gateway]]`: where runners find GitLab, and what happens to jobs on the way.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use url::Url;

use super::{audit::certificates, raw::Table, tls, value::Count};
use crate::{azure, tls::Settings};

/// One way between runners and a GitLab.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Where runners connect.
    pub listen: SocketAddr,
    /// The GitLab behind it.
    pub gitlab_url: Url,
    /// Certificates to trust for GitLab besides the system's.
    pub ca: Option<azure::Ca>,
    /// The gateway's own certificate; without one it speaks plain HTTP.
    pub certificate: Option<Settings>,
    /// Whether it is a proxy that runners reach GitLab through by CONNECT.
    pub connect: bool,
    /// Whether jobs lose the ID tokens that are for us.
    pub strip_id_tokens: bool,
    /// How often GitLab hears of a job whose secrets take long.
    pub keep_alive: Duration,
    /// Connections at a time.
    pub connections: usize,
}

pub(super) fn read(root: &mut Table<'_>) -> Vec<Gateway> {
    let mut gateways: Vec<Gateway> = Vec::new();
    for mut table in root.tables("gateway") {
        let Some(gateway) = gateway(&mut table) else {
            continue;
        };
        let taken = |other: &Gateway| other.listen == gateway.listen && gateway.listen.port() != 0;
        if gateways.iter().any(taken) {
            table.problem("listen", "is the address of another [[gateway]]".to_owned());
        }
        gateways.push(gateway);
    }
    gateways
}

fn gateway(table: &mut Table<'_>) -> Option<Gateway> {
    let listen = table.required::<SocketAddr>("listen");
    let gitlab_url = gitlab_url(table);
    let ca = table.optional::<PathBuf>("ca_file");
    let ca = ca.and_then(|path| match certificates(&path) {
        Ok(pem) => Some(azure::Ca { path, pem }),
        Err(problem) => {
            table.problem("ca_file", problem);
            None
        }
    });
    let certificate = tls::certificate(table, "http/1.1", false);
    let connect = table.or("connect", false);
    if connect {
        if !table.has("tls_cert") {
            let problem = "needs tls_cert and tls_key: the gateway takes GitLab's place in TLS";
            table.problem("connect", problem.to_owned());
        }
        if gitlab_url
            .as_ref()
            .is_some_and(|url| url.scheme() != "https")
        {
            let problem = "is for a GitLab with https: a runner sends no CONNECT for another";
            table.problem("connect", problem.to_owned());
        }
    }
    Some(Gateway {
        connect,
        strip_id_tokens: table.or("strip_id_tokens", false),
        // A quarter of the two minutes that GitLab waits.
        keep_alive: table.or("keep_alive", Duration::from_secs(30)),
        // A runner has one or two; each helper of a job that moves an artifact has one.
        connections: table.or("connections", Count(1000)).0,
        ca,
        certificate,
        listen: listen?,
        gitlab_url: gitlab_url?,
    })
}

fn gitlab_url(table: &mut Table<'_>) -> Option<Url> {
    let text = table.required::<String>("gitlab_url")?;
    let url = Url::parse(&text).ok().filter(is_plain);
    if url.is_none() {
        let problem = "is no URL such as \"https://gitlab.example.com\"";
        table.problem("gitlab_url", problem.to_owned());
    }
    url
}

/// A host, and a path where GitLab is below one.
fn is_plain(url: &Url) -> bool {
    let user = !url.username().is_empty() || url.password().is_some();
    let more = url.query().is_some() || url.fragment().is_some();
    matches!(url.scheme(), "http" | "https") && url.has_host() && !user && !more
}
