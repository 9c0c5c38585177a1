//! The keys of assertion issuers: its own from memory, others over the network.
//!
//! Keys of other issuers are kept, and fetched again when a token names one that is not among
//! them. The own issuer's are always current: a fetch by Entra would only blur the request log
//! for tests that count what *their* client fetched.

use std::collections::HashMap;

use serde_json::Value;

use super::assertion::PublicKey;
use super::fetch;
use crate::shared::Shared;
use crate::world::World;

/// Members without which Entra does not take a discovery document.
const REQUIRED: [&str; 3] = [
    "authorization_endpoint",
    "jwks_uri",
    "subject_types_supported",
];

/// Key sets by issuer.
#[derive(Debug, Default)]
pub(crate) struct IssuerKeys(Shared<HashMap<String, Vec<Value>>>);

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyError {
    /// The issuer did not answer, or not with 200.
    Unreachable,
    /// The issuer's documents are not what they should be.
    Document,
    /// The issuer does not publish this key.
    Unknown,
    /// The key is not of the kind the signature needs.
    Kind,
}

impl IssuerKeys {
    /// The key with this id that the issuer publishes.
    pub(super) async fn find(
        &self,
        world: &World,
        issuer: &str,
        kid: &str,
    ) -> Result<PublicKey, KeyError> {
        if issuer == world.issuer.url {
            let own = world.issuer.key(kid).ok_or(KeyError::Unknown)?;
            return PublicKey::of(&own.jwk());
        }
        let named = |key: &&Value| key.get("kid").and_then(Value::as_str) == Some(kid);
        let kept = self.0.lock().get(issuer).cloned().unwrap_or_default();
        if let Some(key) = kept.iter().find(named) {
            return PublicKey::of(key);
        }
        let fetched = fetch_keys(world, issuer).await?;
        self.0.lock().insert(issuer.to_owned(), fetched.clone());
        PublicKey::of(fetched.iter().find(named).ok_or(KeyError::Unknown)?)
    }
}

async fn fetch_keys(world: &World, issuer: &str) -> Result<Vec<Value>, KeyError> {
    let trusted = world.directory.issuers.iter().find(|i| i.issuer == issuer);
    let ca_file = trusted.and_then(|trusted| trusted.ca_file.as_deref());
    let roots = fetch::roots(&world.ca_pem, ca_file).ok_or(KeyError::Unreachable)?;
    let url = format!("{issuer}/.well-known/openid-configuration");
    let unreachable = |_| KeyError::Unreachable;
    let document = fetch::json(&roots, &url).await.map_err(unreachable)?;
    let present = |name: &str| match document.get(name) {
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(values)) => !values.is_empty(),
        _ => false,
    };
    if !REQUIRED.iter().all(|name| present(name)) {
        return Err(KeyError::Document);
    }
    let jwks_uri = document.get("jwks_uri").and_then(Value::as_str);
    let jwks_uri = jwks_uri.ok_or(KeyError::Document)?;
    let keys = fetch::json(&roots, jwks_uri).await.map_err(unreachable)?;
    let keys = keys.get("keys").and_then(Value::as_array);
    keys.cloned().ok_or(KeyError::Document)
}
