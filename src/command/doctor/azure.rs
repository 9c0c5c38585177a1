//! Azure: the way there, Entra's word on each tenant, and each vault's word on itself. Nothing is
//! asked that a token would be needed for.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use url::Url;

use super::issuer::is_private;
use crate::{
    azure::probe::{Probe, Unseen},
    checkup::{Checkup, Step},
    config::Config,
    vault::Origin,
};

/// A host of this network answers in milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn examine(config: &Config, checkup: &mut Checkup) {
    checkup.add(certificates(config));
    let proxy = way_out(config);
    if let Some((named, proxy)) = &proxy {
        checkup.add(proxied(named, proxy).await);
    }
    let probe = match Probe::new(&config.azure) {
        Ok(probe) => probe,
        Err(error) => {
            checkup.add(Step::wrong("tls", error.to_string()));
            return;
        }
    };
    let mut clock = None;
    for tenant in tenants(config) {
        checkup.add(entra(config, &probe, &tenant, &mut clock).await);
    }
    checkup.add(skew(clock));
    for (vault, tenants) in vaults(config) {
        // Behind a proxy, names are the proxy's to resolve.
        if proxy.is_none() {
            checkup.add(resolves(&vault).await);
        }
        checkup.add(answers(config, &probe, &vault, &tenants).await);
    }
}

fn certificates(config: &Config) -> Step {
    match &config.azure.ca {
        Some(ca) => {
            let count = crate::azure::certificates(&ca.pem).len();
            let says = format!("{count} in {}, besides the system's", ca.path.display());
            Step::good("certificates", says)
        }
        None => Step::good("certificates", "the system's"),
    }
}

/// The proxy, and where it is named: in the configuration, or in this environment, which is the
/// daemon's only if that was started from here.
fn way_out(config: &Config) -> Option<(&'static str, Url)> {
    // The HTTP client looks at them in this order.
    const NAMES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    if let Some(proxy) = &config.azure.proxy {
        return Some(("azure.proxy_url", proxy.clone()));
    }
    NAMES.into_iter().find_map(|name| {
        let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
        let whole = Url::parse(&text).ok().filter(Url::has_host);
        let url = whole.or_else(|| Url::parse(&format!("http://{text}")).ok())?;
        Some((name, url))
    })
}

/// Whether the proxy is there; user and password in its address are nobody's to see.
async fn proxied(named: &str, proxy: &Url) -> Step {
    let host = proxy.host_str().unwrap_or_default();
    let port = proxy.port_or_known_default().unwrap_or(80);
    let shown = format!("{named}: {host}:{port}");
    match connects(host, port).await {
        Ok(()) => Step::good("proxy", format!("{shown} is there")),
        Err(error) => Step::wrong("proxy", format!("{shown}: {error}")).fix(format!(
            "start it, let this host connect to it, or correct {named}"
        )),
    }
}

/// Whether something accepts a connection.
pub(super) async fn connects(host: &str, port: u16) -> io::Result<()> {
    match timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(connected) => connected.map(drop),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The addresses of a name.
pub(super) async fn addresses(host: &str) -> io::Result<Vec<IpAddr>> {
    let found = timeout(PATIENCE, lookup_host((host, 443))).await;
    let found = found.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(found.map(|address| address.ip()).collect())
}

/// Every tenant that the configuration names. Where it names none, any will do to see Entra.
fn tenants(config: &Config) -> BTreeSet<String> {
    let rules = config.rules.rules.iter();
    let rules = rules.filter_map(|rule| rule.tenant_id.clone());
    let mut tenants: BTreeSet<String> = rules.chain(config.defaults.tenant_id.clone()).collect();
    if tenants.is_empty() {
        tenants.insert("common".to_owned());
    }
    tenants
}

/// Every vault that a rule is for, with the tenants that are named with it.
fn vaults(config: &Config) -> BTreeMap<Origin, BTreeSet<String>> {
    let mut vaults: BTreeMap<Origin, BTreeSet<String>> = BTreeMap::new();
    let usual = config.defaults.tenant_id.as_ref();
    for rule in &config.rules.rules {
        for vault in &rule.vaults {
            let tenants = vaults.entry(vault.clone()).or_default();
            tenants.extend(rule.tenant_id.as_ref().or(usual).cloned());
        }
    }
    if let Some(vault) = &config.defaults.vault {
        vaults
            .entry(vault.clone())
            .or_default()
            .extend(usual.cloned());
    }
    vaults
}

async fn entra(
    config: &Config,
    probe: &Probe,
    tenant: &str,
    clock: &mut Option<SystemTime>,
) -> Step {
    let path = format!("{tenant}/v2.0/.well-known/openid-configuration");
    let Ok(url) = config.azure.cloud.authority_host.join(&path) else {
        return Step::wrong("entra", format!("{tenant} is no tenant"));
    };
    let shown = format!(
        "{} on the tenant {tenant}",
        url.host_str().unwrap_or_default()
    );
    match probe.look(url).await {
        Ok(seen) => {
            *clock = seen.date.or(*clock);
            match seen.is_tenant() {
                Ok(()) => Step::good("entra", format!("{shown}: it is there")),
                Err((says, fix)) => Step::wrong("entra", format!("{shown}: {says}")).fix(fix),
            }
        }
        Err(unseen) => failed("entra", &shown, &unseen),
    }
}

fn failed(name: &str, shown: &str, Unseen { trouble, said }: &Unseen) -> Step {
    let says = format!("{shown} {}: {said}", trouble.says());
    Step::wrong(name, says).fix(trouble.does())
}

/// Tokens have half a minute of leeway here, and five at Entra.
fn skew(clock: Option<SystemTime>) -> Step {
    const MOST: Duration = Duration::from_secs(30);
    let Some(theirs) = clock else {
        return Step::unknown("clock", "not compared: Entra did not say what time it is");
    };
    let ours = SystemTime::now();
    let (apart, which) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let says = format!("{} s {which} Entra's", apart.as_secs());
    if apart > MOST {
        Step::wrong("clock", says).fix("set this host's clock by a time server")
    } else {
        Step::good("clock", says)
    }
}

/// What the vault's name leads to: a private endpoint has a private address.
async fn resolves(vault: &Origin) -> Step {
    let host = vault.host().split(':').next().unwrap_or_default();
    match addresses(host).await {
        Ok(found) => {
            let list: BTreeSet<String> = found.iter().map(IpAddr::to_string).collect();
            let list: Vec<String> = list.into_iter().collect();
            let kind = if found.iter().all(|address| is_private(*address)) {
                "private: a private endpoint"
            } else {
                "public: a vault that takes private connections only would refuse this host"
            };
            Step::good("vault", format!("{host} is {}, {kind}", list.join(", ")))
        }
        Err(error) => Step::wrong("vault", format!("{host}: {error}")).fix(
            "check the name; a private endpoint needs its private DNS zone, \
             privatelink.vaultcore.azure.net",
        ),
    }
}

async fn answers(
    config: &Config,
    probe: &Probe,
    vault: &Origin,
    tenants: &BTreeSet<String>,
) -> Step {
    let wanted = config.azure.cloud.vault(vault).ok();
    let url = Url::parse(vault.as_str()).and_then(|url| url.join("secrets?api-version=7.4"));
    let (Some(wanted), Ok(url)) = (wanted, url) else {
        return Step::wrong("vault", format!("{vault} is no vault of this cloud"));
    };
    let seen = match probe.look(url).await {
        Ok(seen) => seen,
        Err(unseen) => return failed("vault", vault.as_str(), &unseen),
    };
    let challenge = match seen.challenge() {
        Ok(challenge) => challenge,
        Err((says, fix)) => return Step::wrong("vault", format!("{vault} {says}")).fix(fix),
    };
    if format!("{}/.default", challenge.resource) != wanted.scope() {
        let says = format!("{vault} wants tokens for {}", challenge.resource);
        return Step::wrong("vault", says).fix("set azure.cloud to the cloud that it is in");
    }
    // A tenant may be written as a domain, which says nothing about its GUID.
    let other = |tenant: &&String| tenant.len() == 36 && **tenant != challenge.tenant;
    if let Some(named) = tenants.iter().find(other) {
        let says = format!(
            "{vault} belongs to the tenant {}, not to {named}",
            challenge.tenant
        );
        return Step::wrong("vault", says)
            .fix("set tenant_id to the vault's own tenant, in the rule or in [azure]");
    }
    Step::good(
        "vault",
        format!("{vault} answers, of the tenant {}", challenge.tenant),
    )
}
