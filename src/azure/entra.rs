//! The exchange: a job's ID token is the client assertion, Entra's answer an access token for the
//! vaults of one cloud. A credential of the SDK is made for each exchange and dropped after it, so
//! that no job can be given what another job's token bought. What is reused is kept by the hash of
//! the ID token, until the earlier of both tokens' ends.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use aws_lc_rs::digest;
use azure_core::{
    credentials::{AccessToken, TokenCredential as _},
    http::ClientMethodOptions,
};
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
};
use tokio::time::Instant;

use super::{
    Azure,
    fault::{self, Failure},
    retry,
    wire::Wire,
};
use crate::{
    error::{Error, Service},
    secret::IdToken,
    token,
    vault::Grant,
};

/// What an access token was bought with and what for. Equal keys share a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Purchase {
    id_token: [u8; digest::SHA256_OUTPUT_LEN],
    tenant: String,
    client: String,
    scope: String,
}

impl Purchase {
    pub(super) fn of(grant: &Grant) -> Self {
        let hash = digest::digest(&digest::SHA256, grant.token.expose().as_bytes());
        let mut id_token = [0; digest::SHA256_OUTPUT_LEN];
        id_token.copy_from_slice(hash.as_ref());
        Self {
            id_token,
            tenant: grant.tenant.as_str().to_owned(),
            client: grant.client.as_str().to_owned(),
            scope: grant.vault.scope().to_owned(),
        }
    }
}

impl fmt::Debug for Purchase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purchase").finish_non_exhaustive()
    }
}

/// Access tokens in use.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<Purchase, Slot>>);

/// Whoever holds the lock buys; the others wait for what comes of it.
type Shared = Arc<tokio::sync::Mutex<Option<AccessToken>>>;

#[derive(Debug)]
struct Slot {
    token: Shared,
    /// No later than the ID token's end.
    until: SystemTime,
}

impl Tokens {
    /// A job holds one or two; a thousand is the jobs of a large host within an hour.
    const MOST: usize = 1000;

    fn shared(&self, purchase: Purchase, until: SystemTime, now: SystemTime) -> Shared {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= Self::MOST && !slots.contains_key(&purchase) {
            slots.retain(|_, slot| slot.until > now);
            let soonest = slots.iter().min_by_key(|(_, slot)| slot.until);
            if let Some(soonest) = soonest.map(|(purchase, _)| purchase.clone()) {
                slots.remove(&soonest);
            }
        }
        let slot = slots.entry(purchase).or_insert_with(|| Slot {
            token: Shared::default(),
            until,
        });
        Arc::clone(&slot.token)
    }
}

/// An access token about to expire is not worth a read that fails.
const MARGIN: Duration = Duration::from_secs(60);

impl Azure {
    /// The access token for `grant`: one that this ID token bought before, or a new one.
    pub(super) async fn buy(&self, grant: &Grant, deadline: Instant) -> Result<AccessToken, Error> {
        let now = SystemTime::now();
        if grant.token_expires <= now {
            let ago = now.duration_since(grant.token_expires).unwrap_or_default();
            let error = token::Error::Expired {
                at: grant.token_expires,
                ago: Duration::from_secs(ago.as_secs()),
            };
            let field = format!("the ID token for {}", grant.granted.variable);
            return Err(Error::Token { field, error });
        }
        let shared = self
            .tokens
            .shared(Purchase::of(grant), grant.token_expires, now);
        let waiting = "waiting for Microsoft Entra ID";
        let mut held = tokio::time::timeout_at(deadline, shared.lock())
            .await
            .map_err(|_| Error::DeadlineExceeded { waiting })?;
        if let Some(token) = held
            .as_ref()
            .filter(|token| token.expires_on > now + MARGIN)
        {
            return Ok(token.clone());
        }
        let bought = retry::until(deadline, Service::Entra, || self.buy_once(grant)).await?;
        *held = Some(bought.clone());
        Ok(bought)
    }

    /// One token request.
    async fn buy_once(&self, grant: &Grant) -> Result<AccessToken, Failure> {
        let wire = Wire::new(&self.http);
        let options = ClientAssertionCredentialOptions {
            client_options: self.options(&wire),
        };
        let credential = ClientAssertionCredential::new(
            grant.tenant.as_str().to_owned(),
            grant.client.as_str().to_owned(),
            Assertion(&grant.token),
            Some(options),
        );
        let bought = match credential {
            Ok(credential) => credential.get_token(&[grant.vault.scope()], None).await,
            Err(error) => Err(error),
        };
        bought.and_then(filled).map_err(|error| {
            // Its text can quote the answer, and with it a token.
            tracing::debug!(kind = %error.kind(), "no access token");
            fault::of_exchange(grant, wire.fault())
        })
    }
}

/// Refuses the empty token that the SDK makes of an answer without one.
fn filled(token: AccessToken) -> azure_core::Result<AccessToken> {
    if token.token.secret().is_empty() {
        let kind = azure_core::error::ErrorKind::DataConversion;
        return Err(azure_core::Error::with_message(kind, "no access token"));
    }
    Ok(token)
}

/// The SDK asks for the assertion by this trait, and wants it printable.
struct Assertion<'a>(&'a IdToken);

impl fmt::Debug for Assertion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Assertion<'_> {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.expose().to_owned())
    }
}
