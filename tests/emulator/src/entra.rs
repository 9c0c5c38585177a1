//! Microsoft Entra: discovery documents, its published keys, and the token endpoint.
//!
//! [`token`] is the straight line of checks a token request passes, [`assertion`] the part of it
//! that looks at the ID token, [`refusal`] the table of AADSTS codes. Everything is answered under
//! the host name that was asked, as the real service does.

use serde_json::{Map, Value, json};

use crate::call::{Call, Route};
use crate::cloud::Cloud;
use crate::directory::object_id;
use crate::error::Error;
use crate::jwt;
use crate::keys::SigningKey;
use crate::reply::Reply;
use crate::state::Application;
use crate::world::World;

mod assertion;
mod documents;
mod fetch;
mod issuer_keys;
pub(crate) mod refusal;
mod token;

pub(crate) use issuer_keys::IssuerKeys;
pub(crate) use token::refuse_as;

/// How long before its issue an access token begins to be valid, as observed.
const BACKDATED_SECONDS: i64 = 300;
/// How long an access token lasts; `expires_in` says one less, as observed.
pub(crate) const LIFETIME_SECONDS: i64 = 3600;

/// Answers a request to a login host.
pub(crate) async fn answer(world: &World, call: &Call) -> Reply {
    let tenant = call.segments.first().map_or("", String::as_str);
    let reply = match (call.route, call.method.as_str()) {
        (Route::Token, "POST") => token::answer(world, call, tenant).await,
        (Route::Instance, "GET") => documents::instance(call),
        (Route::Openid, "GET") => documents::openid(world, call, tenant),
        _ => Reply::new(404, "text/html; charset=utf-8", ""),
    };
    let request_id = reply.headers.get("x-ms-request-id").cloned();
    let reply = with_common_headers(reply);
    match request_id.as_ref().and_then(|id| id.to_str().ok()) {
        Some(id) => reply.with("x-ms-request-id", id),
        None => reply.with("x-ms-request-id", &uuid::Uuid::new_v4().to_string()),
    }
}

fn with_common_headers(reply: Reply) -> Reply {
    reply
        .with("cache-control", "no-store, no-cache")
        .with("pragma", "no-cache")
        .with("expires", "-1")
        .with(
            "strict-transport-security",
            "max-age=31536000; includeSubDomains",
        )
        .with("x-content-type-options", "nosniff")
        .with("p3p", r#"CP="DSP CUR OTPi IND OTRi ONL FIN""#)
        .with("x-ms-ests-server", "2.1.12651.9 - SCUS ProdSlices")
        .with("x-ms-clitelem", "1,0,0,,")
        .with("x-xss-protection", "0")
        .with(
            "set-cookie",
            "x-ms-gateway-slice=estsfd; path=/; secure; samesite=none; httponly",
        )
}

/// The `iss` of access tokens of a tenant.
pub(crate) fn access_token_issuer(cloud: Cloud, tenant_id: &str) -> String {
    format!("https://{}/{tenant_id}/", cloud.issuer_host())
}

/// Signs an access token for a resource, in the shape of version 1, which Key Vault asks for.
fn access_token(
    world: &World,
    cloud: Cloud,
    application: &Application,
    resource: &str,
) -> Result<String, Error> {
    let key: &SigningKey = &world.entra_key;
    let tenant_id = world.directory.tenant_id(application.tenant_id.as_ref());
    let issuer = access_token_issuer(cloud, &tenant_id);
    let object_id = object_id(application);
    let now = world.clock.unix();
    let from = now - BACKDATED_SECONDS;
    let header = json!({"typ": "JWT", "alg": "RS256", "x5t": key.kid, "kid": key.kid});
    let claims = json!({
        "aud": resource,
        "iss": issuer,
        "iat": from,
        "nbf": from,
        "exp": now + LIFETIME_SECONDS,
        "aio": uuid::Uuid::new_v4().simple().to_string(),
        "appid": application.client_id,
        "appidacr": "2",
        "idp": issuer,
        "idtyp": "app",
        "oid": object_id,
        "sub": object_id,
        "tid": tenant_id,
        "uti": uuid::Uuid::new_v4().simple().to_string(),
        "ver": "1.0",
    });
    jwt::sign(&object(header), &object(claims), key)
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}
