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
use tokio::time::{Instant, timeout_at};

use super::{
    Azure,
    fault::{self, Failure},
    gate::Job,
    retry,
    wire::Wire,
};
use crate::{error::Error, secret::IdToken, token, vault::Grant};

/// What an access token was bought with and what for. Equal keys share a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Purchase {
    id_token: Job,
    tenant: String,
    client: String,
    scope: String,
}

impl Purchase {
    /// What each of `grants` needs. Most share a token, which is hashed once.
    pub(super) fn of_all(grants: &[Grant]) -> Vec<Arc<Self>> {
        let mut last: Option<(&Grant, Arc<Self>)> = None;
        let purchase = |grant| {
            let same = |(other, _): &&(&Grant, Arc<Self>)| is_for_the_same(grant, other);
            let known = last.as_ref().filter(same);
            let purchase =
                known.map_or_else(|| Arc::new(Self::of(grant)), |(_, known)| known.clone());
            last = Some((grant, purchase.clone()));
            purchase
        };
        grants.iter().map(purchase).collect()
    }

    fn of(grant: &Grant) -> Self {
        let hash = digest::digest(&digest::SHA256, grant.token.expose().as_bytes());
        let mut id_token = Job::default();
        id_token.copy_from_slice(hash.as_ref());
        Self {
            id_token,
            tenant: grant.tenant.as_str().to_owned(),
            client: grant.client.as_str().to_owned(),
            scope: grant.vault.scope().to_owned(),
        }
    }

    /// The job whose ID token it is.
    pub(super) fn job(&self) -> Job {
        self.id_token
    }
}

fn is_for_the_same(one: &Grant, other: &Grant) -> bool {
    Arc::ptr_eq(&one.token, &other.token)
        && one.tenant == other.tenant
        && one.client == other.client
        && one.vault.scope() == other.vault.scope()
}

impl fmt::Debug for Purchase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purchase").finish_non_exhaustive()
    }
}

/// An access token.
#[derive(Clone, Debug)]
pub(super) struct Bought {
    pub(super) purchase: Arc<Purchase>,
    pub(super) token: Arc<AccessToken>,
    /// Bought for this very request.
    pub(super) new: bool,
}

/// Access tokens in use.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<Purchase, Slot>>);

/// Whoever holds the lock buys; the others wait for what comes of it.
type Shared = Arc<tokio::sync::Mutex<Option<Arc<AccessToken>>>>;

#[derive(Debug)]
struct Slot {
    token: Shared,
    /// No later than the ID token's end.
    until: SystemTime,
}

impl Tokens {
    /// A job holds one or two; a thousand is the jobs of a large host within an hour.
    const MOST: usize = 1000;

    fn shared(&self, purchase: &Purchase, until: SystemTime, now: SystemTime) -> Shared {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(purchase) {
            return Arc::clone(&slot.token);
        }
        if slots.len() >= Self::MOST {
            slots.retain(|_, slot| slot.until > now);
            let soonest = slots.iter().min_by_key(|(_, slot)| slot.until);
            if let Some(soonest) = soonest.map(|(purchase, _)| purchase.clone()) {
                slots.remove(&soonest);
            }
        }
        let token = Shared::default();
        let slot = Slot {
            token: Arc::clone(&token),
            until,
        };
        slots.insert(purchase.clone(), slot);
        token
    }

    /// How many there are that are still good. One that is being bought is none yet.
    pub(super) fn held(&self, now: SystemTime) -> usize {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tokens = slots.values().filter_map(|slot| slot.token.try_lock().ok());
        tokens
            .filter(|token| token.as_ref().is_some_and(|token| token.expires_on > now))
            .count()
    }

    /// Drops a token that a vault did not take, unless there is another one by now.
    pub(super) fn forget(&self, bought: &Bought) {
        let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(&bought.purchase);
        // Whoever holds the lock for longer is buying another one.
        if let Some(mut held) = slot.and_then(|slot| slot.token.try_lock().ok()) {
            held.take_if(|held| Arc::ptr_eq(held, &bought.token));
        }
    }
}

/// An access token about to expire is not worth a read that fails.
const MARGIN: Duration = Duration::from_secs(60);

impl Azure {
    /// The access token for `grant`: one that this ID token bought before, or a new one.
    pub(super) async fn buy(
        &self,
        grant: &Grant,
        purchase: &Arc<Purchase>,
        deadline: Instant,
    ) -> Result<Bought, Error> {
        let now = SystemTime::now();
        if grant.token_expires <= now {
            return Err(expired(grant, now));
        }
        let bought = |token: &Arc<AccessToken>, new| Bought {
            purchase: Arc::clone(purchase),
            token: Arc::clone(token),
            new,
        };
        let shared = self.tokens.shared(purchase, grant.token_expires, now);
        let waiting = "waiting for Microsoft Entra ID";
        let mut held = timeout_at(deadline, shared.lock())
            .await
            .map_err(|_| Error::DeadlineExceeded { waiting })?;
        let lasts = |token: &&Arc<AccessToken>| token.expires_on > now + MARGIN;
        if let Some(token) = held.as_ref().filter(lasts) {
            return Ok(bought(token, false));
        }
        let gate = self.tenants.to(grant.tenant.as_str());
        let buying = retry::until(&gate, purchase.job(), deadline, || self.buy_once(grant));
        let token = Arc::new(buying.await.map_err(|failure| failure.error)?);
        *held = Some(Arc::clone(&token));
        Ok(bought(&token, true))
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

fn expired(grant: &Grant, now: SystemTime) -> Error {
    let ago = now.duration_since(grant.token_expires).unwrap_or_default();
    let error = token::Error::Expired {
        at: grant.token_expires,
        ago: Duration::from_secs(ago.as_secs()),
    };
    let field = format!("the ID token for {}", grant.granted.variable);
    Error::Token { field, error }
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
