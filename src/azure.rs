//! The Azure backend: exchanges ID tokens with Microsoft Entra ID, then reads secrets from Key
//! Vault. One token request for each distinct (ID token, tenant, client, scope), one GET for each
//! distinct (identity, vault, name, version), all of a kind at once: two round trips for any number
//! of secrets. Does only what a [`Grant`] allows.

mod cloud;
mod entra;
mod fault;
mod federated;
mod gate;
mod key_vault;
pub(crate) mod probe;
mod retry;
mod traffic;
mod wire;

use std::{collections::HashMap, fmt, hash::Hash, path::PathBuf, sync::Arc, time::SystemTime};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    http::{ClientOptions, RetryOptions, Transport, UserAgentOptions},
};
use futures_util::{TryStreamExt as _, stream::FuturesUnordered};
use tokio::time::Instant;
use url::Url;

pub use self::{
    cloud::{ClientId, Cloud, Foreign, TenantId, VaultUrl},
    federated::FederatedCredential,
    traffic::Traffic,
};
use self::{
    entra::{Bought, Purchase, Tokens},
    gate::Gates,
    key_vault::Clients,
};
use crate::{
    audit::Intended,
    error::{Error, Service},
    limits::Rate,
    name::{SecretName, SecretVersion},
    vault::{Fetched, Grant, Vault},
};

/// How to reach Azure.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cloud.
    pub cloud: Cloud,
    /// Certificates to trust besides the system's, as PEM.
    pub ca: Option<Ca>,
    /// The proxy for everything that goes to Azure; otherwise the usual variables decide.
    pub proxy: Option<Url>,
    /// Whether to speak HTTP/2 with services that can; HTTP/1.1 otherwise.
    pub http2: bool,
}

/// A file of certificates, read when the configuration was.
#[derive(Clone)]
pub struct Ca {
    /// Where it is.
    pub path: PathBuf,
    /// What was in it.
    pub pem: Vec<u8>,
}

impl fmt::Debug for Ca {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

/// The HTTP client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// Usually: the system has no CA certificates at all.
    #[error("cannot set up TLS ({0}); install the system's CA certificates")]
    Tls(String),
}

/// How much of Azure's services is used.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests at a time to one vault, or to one tenant of Entra.
    pub requests: usize,
    /// Reads of one vault within any ten seconds.
    pub reads: u32,
}

/// Microsoft Entra ID and Key Vault of one cloud.
#[derive(Debug)]
pub struct Azure {
    http: reqwest::Client,
    cloud: Arc<CloudConfiguration>,
    tokens: Tokens,
    clients: Clients,
    tenants: Gates,
    vaults: Gates,
}

impl Azure {
    /// Sets up the one HTTP client of the process. Sends nothing; what it will send is counted in
    /// `traffic`.
    pub fn new(settings: &Settings, bounds: Bounds, traffic: &Traffic) -> Result<Self, SetUpError> {
        let Bounds { requests, reads } = bounds;
        // For tenants no limit is documented.
        let tenants = gate::Bounds {
            requests,
            rate: None,
        };
        let vaults = gate::Bounds {
            requests,
            rate: Some(reads_within_ten_seconds(reads)),
        };
        let mut custom = CustomConfiguration::default();
        custom.authority_host = settings.cloud.authority_host.to_string();
        Ok(Self {
            http: http(settings)?,
            cloud: Arc::new(CloudConfiguration::from(custom)),
            tokens: Tokens::default(),
            clients: Clients::default(),
            tenants: Gates::new(Service::Entra, tenants, traffic.clone()),
            vaults: Gates::new(Service::KeyVault, vaults, traffic.clone()),
        })
    }

    /// Everything set that the SDK would otherwise take from the environment or its defaults.
    fn options(&self, wire: &Arc<wire::Wire>) -> ClientOptions {
        ClientOptions {
            transport: Some(Transport::new(wire.clone())),
            cloud: Some(self.cloud.clone()),
            retry: RetryOptions::none(),
            user_agent: UserAgentOptions {
                application_id: Some("runner-secrets".to_owned()),
            },
            ..ClientOptions::default()
        }
    }
}

/// For each grant, in their order, the access token that it is read with.
#[derive(Debug)]
pub struct Access(Vec<Bought>);

impl Vault for Azure {
    type Access = Access;

    fn credentials(&self) -> usize {
        self.tokens.held(SystemTime::now())
    }

    async fn exchange(&self, grants: &[Grant], deadline: Instant) -> Result<Access, Error> {
        let purchases = Purchase::of_all(grants);
        let exchanged = once(
            &purchases,
            grants.iter().zip(&purchases),
            |(grant, purchase)| self.buy(grant, purchase, deadline),
        );
        exchanged.await.map(Access)
    }

    async fn fetch(
        &self,
        grants: &[Grant],
        Access(access): Access,
        intended: &Intended,
        deadline: Instant,
    ) -> Result<Vec<Fetched>, Error> {
        let reads: Vec<Read<'_>> = grants.iter().zip(&access).map(Read::of).collect();
        once(&reads, grants.iter().zip(&access), |(grant, bought)| {
            self.read(grant, bought, intended, deadline)
        })
        .await
    }
}

/// Does `work` with the first of all `items` whose keys are equal, everything at once, until the
/// first error. Gives what was done for each item.
async fn once<Key, Item, Done, Doing>(
    keys: &[Key],
    items: impl Iterator<Item = Item>,
    work: impl Fn(Item) -> Doing,
) -> Result<Vec<Done>, Error>
where
    Key: Eq + Hash,
    Done: Clone,
    Doing: Future<Output = Result<Done, Error>>,
{
    let mut known = HashMap::with_capacity(keys.len());
    let mut doing = FuturesUnordered::new();
    let mut firsts = Vec::with_capacity(keys.len());
    for (at, (key, item)) in keys.iter().zip(items).enumerate() {
        let first = *known.entry(key).or_insert(at);
        if first == at {
            let work = work(item);
            doing.push(async move { work.await.map(|done| (at, done)) });
        }
        firsts.push(first);
    }
    let mut all = vec![None; firsts.len()];
    while let Some((at, done)) = doing.try_next().await? {
        all[at] = Some(done);
    }
    let what = "something was left undone";
    let done = |first: usize| all[first].clone().ok_or(Error::Bug { what });
    firsts.into_iter().map(done).collect()
}

/// What is read once, however often it is asked for.
#[derive(PartialEq, Eq, Hash)]
struct Read<'a> {
    purchase: &'a Purchase,
    vault: &'a VaultUrl,
    name: &'a SecretName,
    version: Option<&'a SecretVersion>,
}

impl<'a> Read<'a> {
    fn of((grant, bought): (&'a Grant, &'a Bought)) -> Self {
        Self {
            purchase: &bought.purchase,
            vault: &grant.vault,
            name: &grant.granted.name,
            version: grant.granted.version.as_ref(),
        }
    }
}

/// A rate that stays within `most` in any ten seconds: four parts of nine at once, for jobs that
/// start together, and the rest as time goes by.
fn reads_within_ten_seconds(most: u32) -> Rate {
    let at_once = most / 9 * 4;
    Rate::new(((most - at_once) / 10).max(1), at_once.max(1))
}

fn http(settings: &Settings) -> Result<reqwest::Client, SetUpError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(wire::CONNECT_TIMEOUT)
        .timeout(wire::REQUEST_TIMEOUT)
        .pool_idle_timeout(wire::IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    builder = if settings.http2 {
        let (interval, timeout) = wire::KEEP_ALIVE;
        builder
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(timeout)
            .http2_keep_alive_while_idle(true)
    } else {
        builder.http1_only()
    };
    if let Some(Ca { pem, .. }) = &settings.ca {
        builder = builder.tls_certs_merge(certificates(pem));
    }
    if let Some(proxy) = &settings.proxy {
        let proxy = reqwest::Proxy::all(proxy.clone());
        builder = builder.proxy(proxy.map_err(|error| SetUpError::Tls(chain(&error)))?);
    }
    builder
        .build()
        .map_err(|error| SetUpError::Tls(chain(&error)))
}

/// The certificates of a PEM file; none where it is no such file.
pub(crate) fn certificates(pem: &[u8]) -> Vec<reqwest::Certificate> {
    reqwest::Certificate::from_pem_bundle(pem).unwrap_or_default()
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
