//! The documents clients ask for before the token endpoint: which hosts are one cloud, where a
//! tenant's endpoints are, and with which keys Entra signs.

use serde_json::{Value, json};

use super::refusal::{Facts, Refusal};
use crate::call::Call;
use crate::cloud::{Cloud, Site};
use crate::reply::Reply;
use crate::world::World;

/// `/common/discovery/instance`.
pub(super) fn instance(call: &Call) -> Reply {
    let asked = call.query("authorization_endpoint").unwrap_or_default();
    let rest = asked.strip_prefix("https://").unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.split(':').next().unwrap_or_default();
    if !matches!(Site::of(host), Site::Login(_) | Site::Own) {
        return Refusal::new(50049).reply(&Facts::default());
    }
    let tenant = path.split('/').next().unwrap_or_default();
    Reply::json(
        200,
        &json!({
            "tenant_discovery_endpoint":
                format!("https://{authority}/{tenant}/v2.0/.well-known/openid-configuration"),
            "api-version": "1.1",
            "metadata": [
                {
                    "preferred_network": "login.microsoftonline.com",
                    "preferred_cache": "login.windows.net",
                    "aliases": Cloud::Public.login_hosts(),
                },
                {
                    "preferred_network": "login.partner.microsoftonline.cn",
                    "preferred_cache": "login.partner.microsoftonline.cn",
                    "aliases": Cloud::China.login_hosts(),
                },
                alone("login.microsoftonline.de"),
                {
                    "preferred_network": "login.microsoftonline.us",
                    "preferred_cache": "login.microsoftonline.us",
                    "aliases": Cloud::UsGovernment.login_hosts(),
                },
                alone("login-us.microsoftonline.com"),
            ],
        }),
    )
    .with("access-control-allow-origin", "*")
}

fn alone(host: &str) -> Value {
    json!({"preferred_network": host, "preferred_cache": host, "aliases": [host]})
}

/// A tenant's OpenID configuration or Entra's keys, of version 1 or 2.
pub(super) fn openid(world: &World, call: &Call, tenant: &str) -> Reply {
    if call.segments.last().is_some_and(|last| last == "keys") {
        return keys(world);
    }
    let shared = matches!(tenant, "common" | "organizations" | "consumers");
    let Some(known) = world.directory.tenant(tenant) else {
        return if shared {
            configuration(call, "{tenantid}", tenant)
        } else {
            let facts = Facts::of_tenant(world, tenant);
            Refusal::new(90002)
                .with_error("invalid_tenant")
                .reply(&facts)
        };
    };
    configuration(call, &known.id, &known.id)
}

fn keys(world: &World) -> Reply {
    let mut jwk = world.entra_key.jwk();
    jwk["x5t"] = world.entra_key.kid.clone().into();
    Reply::json(200, &json!({"keys": [jwk]}))
}

fn configuration(call: &Call, issuer_tenant: &str, tenant: &str) -> Reply {
    let host = &call.authority;
    let v2 = call.segments.iter().any(|segment| segment == "v2.0");
    let version = if v2 { "/v2.0" } else { "" };
    let at = |path: &str| format!("https://{host}/{tenant}{path}");
    let issuer = if v2 {
        format!("https://{host}/{issuer_tenant}/v2.0")
    } else {
        format!("https://sts.windows.net/{issuer_tenant}/")
    };
    Reply::json(
        200,
        &json!({
            "token_endpoint": at(&format!("/oauth2{version}/token")),
            "token_endpoint_auth_methods_supported":
                ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": at(&format!("/discovery{version}/keys")),
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": issuer,
            "request_uri_parameter_supported": false,
            "userinfo_endpoint": "https://graph.microsoft.com/oidc/userinfo",
            "authorization_endpoint": at(&format!("/oauth2{version}/authorize")),
            "device_authorization_endpoint": at(&format!("/oauth2{version}/devicecode")),
            "http_logout_supported": true,
            "frontchannel_logout_supported": true,
            "end_session_endpoint": at(&format!("/oauth2{version}/logout")),
            "claims_supported": [
                "sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
                "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr",
                "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"
            ],
            "kerberos_endpoint": at("/kerberos"),
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        }),
    )
}
