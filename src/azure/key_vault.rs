//! The read: one GET for one secret, with the access token on the first try.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        ClientMethodOptions, Context, HttpClient as _, Request, StatusCode,
        headers::AUTHORIZATION,
        policies::{Policy, PolicyResult},
    },
    time::OffsetDateTime,
};
use azure_security_keyvault_secrets::{
    ResourceExt as _, SecretClient, SecretClientOptions,
    models::{Secret, SecretAttributes, SecretClientGetSecretOptions},
};
use tokio::time::Instant;

use super::{
    Azure, VaultUrl,
    entra::Bought,
    fault::{self, Again, Failure},
    retry,
    wire::{Ids, Wire},
};
use crate::{
    audit::{Intended, Trace},
    error::Error,
    secret::SecretValue,
    vault::{Fetched, Grant},
};

impl Azure {
    /// Reads the secret of `grant`.
    pub(super) async fn read(
        &self,
        grant: &Grant,
        bought: &Bought,
        intended: &Intended,
        deadline: Instant,
    ) -> Result<Fetched, Error> {
        let fetched = self.read_as(grant, bought, intended, deadline).await?;
        match fetched.warnings.first() {
            Some(problem) if grant.granted.refuse_expired => Err(Error::SecretExpired {
                variable: grant.granted.variable.clone(),
                secret: grant.granted.name.to_string(),
                problem: problem.clone(),
            }),
            _ => Ok(fetched),
        }
    }

    /// Reads with an access token, and with a new one if an old one is not taken any more.
    async fn read_as(
        &self,
        grant: &Grant,
        bought: &Bought,
        intended: &Intended,
        deadline: Instant,
    ) -> Result<Fetched, Error> {
        let gate = self.vaults.to(grant.vault.as_str());
        let read = async |bought: &Bought| {
            let reading = || self.read_once(grant, &bought.token, intended);
            retry::until(&gate, bought.purchase.job(), deadline, reading).await
        };
        let failure = match read(bought).await {
            Ok(fetched) => return Ok(fetched),
            Err(failure) => failure,
        };
        if failure.again != Again::Anew {
            return Err(failure.error);
        }
        self.tokens.forget(bought);
        if bought.new {
            return Err(failure.error);
        }
        // It is rare, and most reads need no room for it.
        let bought = Box::pin(self.buy(grant, &bought.purchase, deadline)).await?;
        match read(&bought).await {
            Ok(fetched) => Ok(fetched),
            Err(failure) => {
                if failure.again == Again::Anew {
                    self.tokens.forget(&bought);
                }
                Err(failure.error)
            }
        }
    }

    async fn read_once(
        &self,
        grant: &Grant,
        token: &Arc<AccessToken>,
        intended: &Intended,
    ) -> Result<Fetched, Failure> {
        let wire = Wire::new(&self.http);
        let fetched = self.get(grant, token, &wire).await;
        record(intended, grant, &wire, fetched.as_ref().ok());
        fetched.map_err(|error| {
            // Its text can quote the answer, and with it a value.
            tracing::debug!(kind = %error.kind(), "no secret");
            fault::of_read(grant, wire.fault())
        })
    }

    async fn get(
        &self,
        grant: &Grant,
        token: &Arc<AccessToken>,
        wire: &Arc<Wire>,
    ) -> azure_core::Result<Fetched> {
        let client = self
            .clients
            .of(&grant.vault, || self.client(&grant.vault))?;
        let errand = Errand {
            token: Arc::clone(token),
            wire: Arc::clone(wire),
        };
        let version = grant.granted.version.as_ref().map(ToString::to_string);
        let options = SecretClientGetSecretOptions {
            method_options: ClientMethodOptions {
                context: Context::new().with_value(errand),
            },
            secret_version: version,
            ..SecretClientGetSecretOptions::default()
        };
        let secret = client
            .get_secret(grant.granted.name.as_str(), Some(options))
            .await?;
        fetched(secret.into_model()?)
    }

    fn client(&self, vault: &VaultUrl) -> azure_core::Result<SecretClient> {
        // Never used: each read has a wire of its own.
        let mut client_options = self.options(&Wire::new(&self.http));
        client_options.per_try_policies.push(Arc::new(Run));
        let options = SecretClientOptions {
            client_options,
            ..SecretClientOptions::default()
        };
        SecretClient::new(vault.as_str(), Arc::new(Run), Some(options))
    }
}

/// A client for each vault: to make one takes longer than all else about a read. It holds nothing of
/// any job.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<VaultUrl, Arc<SecretClient>>>);

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").finish_non_exhaustive()
    }
}

impl Clients {
    fn of(
        &self,
        vault: &VaultUrl,
        make: impl FnOnce() -> azure_core::Result<SecretClient>,
    ) -> azure_core::Result<Arc<SecretClient>> {
        // An operator's rules name some dozen vaults.
        const MOST: usize = 1000;
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(vault) {
            return Ok(Arc::clone(client));
        }
        if clients.len() >= MOST {
            clients.clear();
        }
        let client = Arc::new(make()?);
        clients.insert(vault.clone(), Arc::clone(&client));
        Ok(client)
    }
}

/// Puts the ids of a read on record, by which it is found in Key Vault's own log, and what was read.
fn record(intended: &Intended, grant: &Grant, wire: &Wire, fetched: Option<&Fetched>) {
    let Ids { service, client } = wire.ids();
    let trace = Trace {
        version_read: fetched.map(|fetched| fetched.version.clone()),
        key_vault_request_id: service,
        client_request_id: client,
        warnings: fetched.map_or(Vec::new(), |fetched| fetched.warnings.clone()),
    };
    let (vault, granted) = (grant.granted.vault.as_str(), &grant.granted);
    let version = granted.version.as_ref().map(ToString::to_string);
    intended.read(vault, granted.name.as_str(), version.as_deref(), &trace);
}

/// Takes the value, the version and what is to be warned of out of Key Vault's answer.
fn fetched(mut secret: Secret) -> azure_core::Result<Fetched> {
    let missing = |what: &'static str| {
        azure_core::Error::with_message(azure_core::error::ErrorKind::DataConversion, what)
    };
    let value = secret.value.take().ok_or_else(|| missing("no value"))?;
    let version = secret
        .resource_id()?
        .version
        .ok_or_else(|| missing("no version"))?;
    let now = OffsetDateTime::from(SystemTime::now());
    let attributes = secret.attributes.as_ref();
    let expires = attributes.and_then(|attributes| attributes.expires);
    let warnings = attributes.map_or(Vec::new(), |attributes| warnings(attributes, now));
    Ok(Fetched {
        value: Arc::new(SecretValue::new(value.into_bytes())),
        version,
        warnings,
        expires_soon: expires.is_some_and(|expires| expires <= now + SOON),
    })
}

/// Who watches a number once a month still has time to store a new version.
const SOON: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Key Vault hands out secrets before and after their time; who uses one should know.
fn warnings(attributes: &SecretAttributes, now: OffsetDateTime) -> Vec<String> {
    let expired = attributes.expires.filter(|expires| *expires <= now);
    let early = attributes.not_before.filter(|not_before| *not_before > now);
    let expired = expired.map(|expires| format!("expired in Key Vault on {}", expires.date()));
    let early = early.map(|from| format!("is not valid in Key Vault before {}", from.date()));
    expired.into_iter().chain(early).collect()
}

/// What one read takes along through the client of its vault.
struct Errand {
    token: Arc<AccessToken>,
    wire: Arc<Wire>,
}

/// Runs the errand at the end of the client's pipeline, with the access token on the first try: the
/// client itself would send every first request without one and wait to be challenged. A vault that
/// challenges all the same has not taken the token, and the client, which would remember the
/// challenge for everybody's next requests, does not hear of it.
#[derive(Debug)]
struct Run;

fn failed(what: &'static str) -> azure_core::Error {
    azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, what)
}

#[async_trait::async_trait]
impl Policy for Run {
    async fn send(
        &self,
        context: &Context,
        request: &mut Request,
        _: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let errand = context.value::<Errand>();
        let Errand { token, wire } = errand.ok_or_else(|| failed("a read without a token"))?;
        let bearer = format!("Bearer {}", token.token.secret());
        request.insert_header(AUTHORIZATION, bearer);
        let answer = wire.execute_request(request).await?;
        if answer.status() == StatusCode::Unauthorized {
            return Err(failed("the vault does not take the access token"));
        }
        Ok(answer)
    }
}

#[async_trait::async_trait]
impl TokenCredential for Run {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(failed("access tokens are bought before they are used"))
    }
}
