//! The GitLab instance: discovery document, key set, and ID tokens for any job a test thinks of.
//!
//! Two keys are published, as GitLab does (one of its OpenID Connect provider, one of CI tokens),
//! so a verifier that does not choose by `kid` fails here as it would there.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::call::Call;
use crate::clock::Clock;
use crate::error::Error;
use crate::jwt;
use crate::keys::{Role, SigningKey};
use crate::reply::Reply;
use crate::shared::Shared;

mod claims;

/// What `POST /id-tokens` takes: how the token differs from that of a job on main of acme/shop.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdTokenRequest {
    /// Claims to set; `null` drops one.
    pub claims: Map<String, Value>,
    /// Header members to set; `null` drops one.
    pub header: Map<String, Value>,
    /// Which key signs.
    pub key: KeyChoice,
}

/// Which key signs an ID token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyChoice {
    /// The issuer's current key.
    #[default]
    Current,
    /// A key that is not in the key set, under its own id.
    Unknown,
    /// Another key under the current key's id: the signature does not verify.
    Wrong,
}

/// The issuer and its keys.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    keys: Shared<KeyRing>,
}

#[derive(Debug)]
struct KeyRing {
    current: Arc<SigningKey>,
    /// Published, but not signed with any more.
    others: Vec<Arc<SigningKey>>,
}

impl Issuer {
    pub(crate) fn new(url: String, current: SigningKey, other: Arc<SigningKey>) -> Self {
        Self {
            url,
            keys: Shared::new(KeyRing {
                current: Arc::new(current),
                others: vec![other],
            }),
        }
    }

    /// Signs with a new key from now on; `keep`: the old one stays published.
    pub(crate) fn rotate(&self, keep: bool) -> Result<String, Error> {
        let fresh = Arc::new(SigningKey::generate()?);
        let kid = fresh.kid.clone();
        let mut keys = self.keys.lock();
        let old = std::mem::replace(&mut keys.current, fresh);
        if keep {
            keys.others.push(old);
        }
        Ok(kid)
    }

    /// The published key with this id.
    pub(crate) fn key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        let keys = self.keys.lock();
        let mut published = std::iter::once(&keys.current).chain(&keys.others);
        published.find(|key| key.kid == kid).cloned()
    }

    /// An ID token as a job gets it, but for what the request changes.
    pub(crate) fn id_token(&self, wanted: &IdTokenRequest, clock: &Clock) -> Result<String, Error> {
        let current = Arc::clone(&self.keys.lock().current);
        let (key, kid) = match wanted.key {
            KeyChoice::Current => (Arc::clone(&current), current.kid.clone()),
            KeyChoice::Wrong => (SigningKey::shared(Role::Stranger)?, current.kid.clone()),
            KeyChoice::Unknown => {
                let stranger = SigningKey::shared(Role::Stranger)?;
                let kid = stranger.kid.clone();
                (stranger, kid)
            }
        };
        let mut header = Map::new();
        header.insert("kid".into(), kid.into());
        header.insert("typ".into(), "JWT".into());
        header.insert("alg".into(), "RS256".into());
        let mut claims = claims::of_a_job(&self.url, clock.unix());
        change(&mut header, &wanted.header);
        change(&mut claims, &wanted.claims);
        // The confusion attack is keyed with the key the verifier would look up.
        let confused = header.get("alg").and_then(Value::as_str) == Some("HS256");
        let key = if confused { current } else { key };
        jwt::sign(&header, &claims, &key)
    }

    /// The issuer's own pages.
    pub(crate) fn answer(&self, call: &Call) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        let reply = match segments.as_slice() {
            [".well-known", "openid-configuration"] => Reply::json(200, &self.discovery())
                .with("cache-control", "max-age=0, private, must-revalidate"),
            ["oauth", "discovery", "keys"] => Reply::json(200, &self.key_set()).with(
                "cache-control",
                "public, max-age=86400, must-revalidate, no-transform",
            ),
            _ => Reply::json(404, &json!({"error": "404 Not Found"})),
        };
        reply
            .with("x-content-type-options", "nosniff")
            .with("x-request-id", &uuid::Uuid::new_v4().to_string())
    }

    fn key_set(&self) -> Value {
        let keys = self.keys.lock();
        let published = keys.others.iter().chain(std::iter::once(&keys.current));
        let keys: Vec<Value> = published
            .map(|key| {
                let mut jwk = key.jwk();
                jwk["alg"] = "RS256".into();
                jwk
            })
            .collect();
        json!({"keys": keys})
    }

    fn discovery(&self) -> Value {
        let at = |path: &str| format!("{}{path}", self.url);
        json!({
            "issuer": self.url,
            "authorization_endpoint": at("/oauth/authorize"),
            "token_endpoint": at("/oauth/token"),
            "revocation_endpoint": at("/oauth/revoke"),
            "introspection_endpoint": at("/oauth/introspect"),
            "userinfo_endpoint": at("/oauth/userinfo"),
            "jwks_uri": at("/oauth/discovery/keys"),
            "scopes_supported": ["api", "read_api", "read_user", "openid", "profile", "email"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "fragment", "form_post"],
            "grant_types_supported": [
                "authorization_code", "password", "client_credentials", "device_code",
                "refresh_token"
            ],
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "claim_types_supported": ["normal"],
            "claims_supported": [
                "iss", "sub", "aud", "exp", "iat", "sub_legacy", "name", "nickname",
                "preferred_username", "email", "email_verified", "website", "profile", "picture",
                "groups", "groups_direct"
            ],
            "code_challenge_methods_supported": ["plain", "S256"],
        })
    }
}

fn change(object: &mut Map<String, Value>, by: &Map<String, Value>) {
    for (name, value) in by {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}
