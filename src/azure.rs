//! The Azure backend: exchanges ID tokens with Microsoft Entra ID, then reads secrets from Key
//! Vault. One token request for each distinct (ID token, tenant, client, scope), one GET for each
//! distinct (identity, vault, name, version), all of a kind at once: two round trips for any number
//! of secrets. Does only what a [`Grant`] allows.

mod cloud;
mod entra;
mod fault;
mod key_vault;
mod retry;
mod wire;

use std::{collections::HashMap, fmt, hash::Hash, path::PathBuf, sync::Arc};

use azure_core::{
    cloud::{CloudConfiguration, CustomConfiguration},
    credentials::AccessToken,
    http::{ClientOptions, RetryOptions, Transport, UserAgentOptions},
};
use futures_util::future::try_join_all;
use tokio::time::Instant;
use url::Url;

pub use self::cloud::{ClientId, Cloud, Foreign, TenantId, VaultUrl};
use self::entra::{Purchase, Tokens};
use crate::{
    audit::Intended,
    error::Error,
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

/// Microsoft Entra ID and Key Vault of one cloud.
#[derive(Debug)]
pub struct Azure {
    http: reqwest::Client,
    cloud: Arc<CloudConfiguration>,
    tokens: Tokens,
}

impl Azure {
    /// Sets up the one HTTP client of the process. Sends nothing.
    pub fn new(settings: &Settings) -> Result<Self, SetUpError> {
        let mut custom = CustomConfiguration::default();
        custom.authority_host = settings.cloud.authority_host.to_string();
        Ok(Self {
            http: http(settings)?,
            cloud: Arc::new(CloudConfiguration::from(custom)),
            tokens: Tokens::default(),
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

/// Access tokens, by what they were bought with and for.
#[derive(Debug)]
pub struct Access(HashMap<Purchase, AccessToken>);

impl Vault for Azure {
    type Access = Access;

    async fn exchange(&self, grants: &[Grant], deadline: Instant) -> Result<Access, Error> {
        let exchanged = once(grants, Purchase::of, |grant| self.buy(grant, deadline));
        exchanged.await.map(Access)
    }

    async fn fetch(
        &self,
        grants: &[Grant],
        Access(tokens): Access,
        intended: &Intended,
        deadline: Instant,
    ) -> Result<Vec<Fetched>, Error> {
        let secrets = once(grants, Read::of, |grant| {
            let token = tokens.get(&Purchase::of(grant)).cloned();
            async move {
                let what = "a grant without an exchange";
                let token = token.ok_or(Error::Bug { what })?;
                self.read(grant, &token, intended, deadline).await
            }
        })
        .await?;
        let what = "a grant without a read";
        let take = |grant| {
            secrets
                .get(&Read::of(grant))
                .cloned()
                .ok_or(Error::Bug { what })
        };
        grants.iter().map(take).collect()
    }
}

/// Does `work` once for all grants of the same key, everything at once, until the first error.
async fn once<'a, Key, Done, Doing>(
    grants: &'a [Grant],
    key: impl Fn(&'a Grant) -> Key,
    work: impl Fn(&'a Grant) -> Doing,
) -> Result<HashMap<Key, Done>, Error>
where
    Key: Eq + Hash,
    Doing: Future<Output = Result<Done, Error>>,
{
    let mut distinct = HashMap::new();
    for grant in grants {
        distinct.entry(key(grant)).or_insert(grant);
    }
    let (keys, grants): (Vec<Key>, Vec<&Grant>) = distinct.into_iter().unzip();
    let done = try_join_all(grants.into_iter().map(work)).await?;
    Ok(keys.into_iter().zip(done).collect())
}

/// What is read once, however often it is asked for.
#[derive(PartialEq, Eq, Hash)]
struct Read<'a> {
    purchase: Purchase,
    vault: &'a VaultUrl,
    name: &'a SecretName,
    version: Option<&'a SecretVersion>,
}

impl<'a> Read<'a> {
    fn of(grant: &'a Grant) -> Self {
        Self {
            purchase: Purchase::of(grant),
            vault: &grant.vault,
            name: &grant.granted.name,
            version: grant.granted.version.as_ref(),
        }
    }
}

fn http(settings: &Settings) -> Result<reqwest::Client, SetUpError> {
    let mut builder = reqwest::Client::builder()
        .connect_timeout(wire::CONNECT_TIMEOUT)
        .timeout(wire::REQUEST_TIMEOUT)
        // Said, because otherwise what else is in a build would decide: another crate's feature
        // makes every client speak HTTP/2.
        .http1_only()
        .redirect(reqwest::redirect::Policy::none());
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
