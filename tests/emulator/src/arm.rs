//! Azure Resource Manager, as much of it as a sign-in looks at: tenants and (no) subscriptions.

use serde_json::json;

use crate::call::{Call, login_cloud};
use crate::entra;
use crate::jwt::Token;
use crate::reply::Reply;
use crate::world::World;

/// Answers a request to a management host.
pub(crate) fn answer(world: &World, call: &Call) -> Reply {
    if let Some(problem) = unauthorised(world, call) {
        let error = json!({"error": {"code": "AuthenticationFailed", "message": problem}});
        return Reply::json(401, &error).with(
            "www-authenticate",
            r#"Bearer authorization_uri="https://login.windows.net/common", error="invalid_token""#,
        );
    }
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let body = match segments.as_slice() {
        ["subscriptions"] => json!({"value": [], "count": {"type": "Total", "value": 0}}),
        ["tenants"] => json!({"value": tenants(world)}),
        _ => {
            let error = json!({"error": {
                "code": "ResourceNotFound",
                "message": "The resource is not part of this emulator.",
            }});
            return Reply::json(404, &error);
        }
    };
    Reply::json(200, &body)
        .with("cache-control", "no-cache")
        .with("x-ms-request-id", &uuid::Uuid::new_v4().to_string())
}

fn tenants(world: &World) -> Vec<serde_json::Value> {
    let tenants = world.directory.tenants.iter();
    tenants
        .map(|tenant| {
            json!({
                "id": format!("/tenants/{}", tenant.id),
                "tenantId": tenant.id,
                "displayName": tenant.name,
                "countryCode": "US",
                "defaultDomain": tenant.domain,
                "domains": tenant.domain.iter().collect::<Vec<_>>(),
                "tenantCategory": "Home",
            })
        })
        .collect()
}

fn unauthorised(world: &World, call: &Call) -> Option<&'static str> {
    let Some(text) = bearer(call) else {
        return Some("Authentication failed. The 'Authorization' header is missing.");
    };
    let cloud = login_cloud(&call.site);
    let valid = Token::parse(text).is_some_and(|token| {
        let audience = token.text("aud").unwrap_or_default();
        let audience = audience.trim_end_matches('/');
        let mut hosts = cloud.management_hosts().iter();
        let tenant = token.text("tid").unwrap_or_default();
        world.entra_key.verify(&token.signed, &token.signature)
            && hosts.any(|host| audience == format!("https://{host}"))
            && token.text("iss") == Some(&entra::access_token_issuer(cloud, tenant))
            && token.seconds("exp").unwrap_or(0) > world.clock.unix()
    });
    (!valid).then_some("Authentication failed. The access token is not valid here.")
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(call: &Call) -> Option<&str> {
    let (scheme, token) = call.header("authorization")?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
