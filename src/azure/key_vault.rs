//! The read: one GET for one secret, with the access token on the first try.

use std::{fmt, sync::Arc, time::SystemTime};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        Context, Request,
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
    Azure,
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
        let bought = self.buy(grant, &bought.purchase, deadline).await?;
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
        let exchanged = Arc::new(Exchanged(Arc::clone(token)));
        let mut client_options = self.options(wire);
        client_options.per_try_policies.push(exchanged.clone());
        let options = SecretClientOptions {
            client_options,
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(grant.vault.as_str(), exchanged, Some(options))?;
        let version = grant.granted.version.as_ref().map(ToString::to_string);
        let options = SecretClientGetSecretOptions {
            secret_version: version,
            ..SecretClientGetSecretOptions::default()
        };
        let secret = client
            .get_secret(grant.granted.name.as_str(), Some(options))
            .await?;
        fetched(secret.into_model()?)
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
    let warnings = secret.attributes.as_ref().map_or(Vec::new(), |attributes| {
        warnings(attributes, OffsetDateTime::from(SystemTime::now()))
    });
    Ok(Fetched {
        value: Arc::new(SecretValue::new(value.into_bytes())),
        version,
        warnings,
    })
}

/// Key Vault hands out secrets before and after their time; who uses one should know.
fn warnings(attributes: &SecretAttributes, now: OffsetDateTime) -> Vec<String> {
    let expired = attributes.expires.filter(|expires| *expires <= now);
    let early = attributes.not_before.filter(|not_before| *not_before > now);
    let expired = expired.map(|expires| format!("expired in Key Vault on {}", expires.date()));
    let early = early.map(|from| format!("is not valid in Key Vault before {}", from.date()));
    expired.into_iter().chain(early).collect()
}

/// An access token that was bought before, for a client that would otherwise send every first
/// request without one and wait to be challenged. If the vault challenges all the same, the SDK
/// comes back here; the same token again would be refused again.
struct Exchanged(Arc<AccessToken>);

impl fmt::Debug for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchanged([redacted])")
    }
}

#[async_trait::async_trait]
impl TokenCredential for Exchanged {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(azure_core::Error::with_message(
            azure_core::error::ErrorKind::Credential,
            "the vault does not take the access token",
        ))
    }
}

#[async_trait::async_trait]
impl Policy for Exchanged {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        if request.headers().get_optional_str(&AUTHORIZATION).is_none() {
            let bearer = format!("Bearer {}", self.0.token.secret());
            request.insert_header(AUTHORIZATION, bearer);
        }
        match next {
            [policy, rest @ ..] => policy.send(ctx, request, rest).await,
            [] => Err(azure_core::Error::with_message(
                azure_core::error::ErrorKind::Other,
                "the pipeline has no transport",
            )),
        }
    }
}
