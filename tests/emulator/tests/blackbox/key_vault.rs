//! Reading from a vault.

use azure_emulator::{
    Attributes, FederatedCredential, Network, NewSecret, Permission, State, Tenant, Vault,
    VaultAccess,
};
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, read};

const VERSION: &str = "api-version=7.6";

fn assert_refused(answer: &Answer, status: u16, code: &str, inner: Option<&str>) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.json["error"]["code"], code);
    let found = answer.json["error"]["innererror"]["code"].as_str();
    assert_eq!(found, inner);
}

async fn path(bench: &Bench, path: &str) -> Answer {
    bench.read(&format!("{path}?{VERSION}")).await
}

fn secret(value: &str) -> NewSecret {
    NewSecret {
        value: value.into(),
        ..NewSecret::default()
    }
}

#[tokio::test]
async fn request_without_a_token_gets_a_challenge() {
    let bench = Bench::new().await;
    let url = format!("{}/secrets/no!name/", bench.ready().vault_url);
    let request = bench.http.get(url).header("x-ms-client-request-id", "7");
    let answer = read(request.send().await.unwrap()).await;
    assert_refused(&answer, 401, "Unauthorized", None);
    assert_eq!(
        answer.text,
        r#"{"error":{"code":"Unauthorized","message":"AKV10000: Request is missing a Bearer or PoP token."}}"#
    );
    let tenant = &bench.ready().tenant_id;
    assert_eq!(
        answer.header("www-authenticate"),
        format!(
            r#"Bearer authorization="https://login.windows.net/{tenant}", resource="https://vault.azure.net""#
        )
    );
    assert_eq!(answer.header("x-ms-client-request-id"), "7");
    assert_eq!(
        answer.header("content-type"),
        "application/json; charset=utf-8"
    );
    assert_eq!(answer.header("x-ms-keyvault-region"), "westeurope");
}

#[tokio::test]
async fn secret_is_read_in_every_form_of_its_url() {
    let bench = Bench::new().await;
    let token = bench.access_token().await;
    let newest = bench
        .emulator
        .put_secret("demo", "Some-Secret", secret("v"));
    let base = &bench.ready().vault_url;
    for url in [
        format!("{base}/secrets/some-secret?api-version=7.4"),
        format!("{base}/secrets/SOME-SECRET/?api-version=2025-07-01"),
        format!(
            "{base}/secrets/Some-Secret/{}?api-version=2026-04-01",
            newest.version
        ),
        format!("{base}//secrets/Some-Secret?api-version=7.6"),
        format!("{base}/secrets/Some-Secret/?api%2Dversion=2025-07-01"),
        "https://DEMO.vault.azure.net:443/secrets/Some-Secret?api-version=7.0".to_owned(),
    ] {
        let answer = bench.get(&url, &token).await;
        assert_eq!(answer.status, 200, "{url}: {}", answer.text);
        assert_eq!(answer.json["value"], "v");
        assert_eq!(answer.json["id"], *newest.id, "{url}");
    }
}

#[tokio::test]
async fn bundle_leaves_out_what_is_not_set() {
    let bench = Bench::new().await;
    bench.emulator.put_secret("demo", "plain", secret(""));
    let plain = path(&bench, "/secrets/plain").await;
    assert_eq!(plain.json["value"], "");
    assert_eq!(plain.json["attributes"]["enabled"], true);
    assert_eq!(plain.json["attributes"]["recoverableDays"], 90);
    for member in ["contentType", "tags"] {
        assert_eq!(plain.json[member], Value::Null);
    }
    let full = json!({
        "value": "x", "contentType": "text/plain", "tags": {"env": "prod"},
        "attributes": {"nbf": 9_999_999_999_u64, "exp": 5},
    });
    bench.control("PUT", "/secrets/demo/full", &full).await;
    // Expired and not yet valid secrets are answered all the same.
    let full = path(&bench, "/secrets/full").await;
    assert_eq!(full.status, 200);
    assert_eq!(full.json["contentType"], "text/plain");
    assert_eq!(full.json["tags"]["env"], "prod");
    assert_eq!(full.json["attributes"]["exp"], 5);
    assert_eq!(full.json["attributes"]["nbf"], 9_999_999_999_u64);
}

#[tokio::test]
async fn newest_version_counts_even_if_it_is_disabled() {
    let bench = Bench::new().await;
    let enabled = bench.emulator.put_secret("demo", "s", secret("old"));
    let mut disabled = secret("new");
    disabled.attributes = Attributes {
        enabled: Some(false),
        ..Attributes::default()
    };
    bench.emulator.put_secret("demo", "s", disabled);
    let answer = path(&bench, "/secrets/s").await;
    assert_refused(&answer, 403, "Forbidden", Some("SecretDisabled"));
    assert_eq!(
        answer.message(),
        "Operation get is not allowed on a disabled secret."
    );
    let old = path(&bench, &format!("/secrets/s/{}", enabled.version)).await;
    assert_eq!(old.json["value"], "old");
    let versions = path(&bench, "/secrets/s/versions").await;
    let listed = versions.json["value"].as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(!versions.text.contains("\"value\":\"old\""));
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let bench = Bench::new().await;
    let version = "0123456789abcdef0123456789abcdef";
    for (asked, quoted) in [
        ("nobody".to_owned(), "nobody".to_owned()),
        (
            format!("db-password/{version}"),
            format!("db-password/{version}"),
        ),
    ] {
        let answer = path(&bench, &format!("/secrets/{asked}")).await;
        assert_refused(&answer, 404, "SecretNotFound", None);
        let expected = format!(
            "A secret with (name/id) {quoted} was not found in this key vault. If you recently \
             deleted this secret you may be able to recover it using the correct recovery \
             command. For help resolving this issue, please see \
             https://go.microsoft.com/fwlink/?linkid=2125182"
        );
        assert_eq!(answer.message(), expected);
    }
    bench
        .control("DELETE", "/secrets/demo/db-password", &json!({}))
        .await;
    let answer = path(&bench, "/secrets/db-password").await;
    assert_refused(&answer, 404, "SecretNotFound", None);
}

#[tokio::test]
async fn malformed_requests_are_bad_parameters() {
    let bench = Bench::new().await;
    for (asked, message) in [
        (
            "/secrets/a_b?api-version=7.6",
            "The request URI contains an invalid name: a_b",
        ),
        (
            "/secrets/a%2Fb?api-version=7.6",
            "The request URI contains an invalid name: a/b",
        ),
        (
            "/secrets/db-password/latest?api-version=7.6",
            "Method GET does not allow operation 'latest'",
        ),
        (
            "/secrets/db-password?api-version=7.99",
            "The specified version (7.99) is not recognized. Consider using the latest supported \
             version (2026-04-01).",
        ),
        (
            "/secrets/db-password",
            "The request URI does not contain the parameter api-version.",
        ),
        (
            "/secrets?api-version=7.6&maxresults=26",
            "The value of maxresults must be between 1 and 25.",
        ),
    ] {
        let answer = bench.read(asked).await;
        assert_refused(&answer, 400, "BadParameter", None);
        assert_eq!(answer.message(), message);
    }
    let answer = path(&bench, "/keys/x").await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn caller_without_permission_learns_nothing_about_existence() {
    let bench = Bench::new().await;
    let client_id = bench.ready().client_id.clone();
    bench.emulator.set_permissions(vec![Permission {
        client_id: client_id.clone(),
        vault: "demo".into(),
        secrets: vec!["db-*".into()],
        operations: vec!["get".into()],
    }]);
    assert_eq!(path(&bench, "/secrets/DB-password").await.status, 200);
    for name in ["api-key", "nobody"] {
        let answer = path(&bench, &format!("/secrets/{name}")).await;
        assert_refused(&answer, 403, "Forbidden", Some("ForbiddenByRbac"));
        let message = answer.message();
        let action = "\r\nAction: 'Microsoft.KeyVault/vaults/secrets/getSecret/action'\r\n";
        assert!(message.contains(action), "{message}");
        assert!(
            message.contains(&format!("Caller: appid={client_id};oid=")),
            "{message}"
        );
        assert!(
            message.contains(&format!("/vaults/demo/secrets/{name}'")),
            "{message}"
        );
    }
    let answer = path(&bench, "/secrets").await;
    assert_refused(&answer, 403, "Forbidden", Some("ForbiddenByRbac"));
}

#[tokio::test]
async fn vaults_refuse_by_policy_firewall_and_private_link() {
    let mut state = State::default();
    let vault = |name: &str, access, network| Vault {
        access,
        network,
        ..Vault::named(name)
    };
    state.vaults.extend([
        vault("policy", VaultAccess::Policy, Network::Open),
        vault("walled", VaultAccess::Rbac, Network::Firewall),
        vault("private", VaultAccess::Rbac, Network::PrivateLink),
    ]);
    let bench = Bench::with(state).await;
    let token = bench.access_token().await;
    for (vault, inner, text) in [
        (
            "policy",
            "AccessDenied",
            "does not have secrets get permission on key vault 'policy;",
        ),
        (
            "walled",
            "ForbiddenByFirewall",
            "Client address is not authorized",
        ),
        (
            "private",
            "ForbiddenByConnection",
            "Public network access is disabled",
        ),
    ] {
        let url = format!("https://{vault}.vault.azure.net/secrets/x?{VERSION}");
        let answer = bench.get(&url, &token).await;
        assert_refused(&answer, 403, "Forbidden", Some(inner));
        assert!(answer.message().contains(text), "{}", answer.message());
    }
}

#[tokio::test]
async fn access_token_is_verified() {
    let mut state = State::default();
    state.tenants.push(Tenant {
        id: "11111111-2222-4333-8444-555555555555".into(),
        name: "Other".into(),
        domain: None,
    });
    state.vaults.push(Vault {
        tenant_id: Some("11111111-2222-4333-8444-555555555555".into()),
        ..Vault::named("elsewhere")
    });
    let bench = Bench::with(state).await;
    let demo = format!("{}/secrets/db-password?{VERSION}", bench.ready().vault_url);
    let other = format!("https://elsewhere.vault.azure.net/secrets/x?{VERSION}");
    let vault = bench.access_token().await;
    let scope = "https://management.azure.com/.default";
    let management = bench.access_token_for(scope).await;
    let stranger = bench.id_token();
    let (head, _) = vault.rsplit_once('.').unwrap();
    let forged = format!("{head}.AAAA");
    for (url, token, text) in [
        (&demo, "nonsense", "AKV10000: "),
        (
            &demo,
            &management,
            "AKV10022: Invalid audience. Expected https://vault.azure.net, ",
        ),
        (
            &other,
            &vault,
            "AKV10032: Invalid issuer. Expected one of https://sts.windows.net/1111",
        ),
        (&demo, &stranger, "AKV10046: Unable to resolve the key"),
        (&demo, &forged, "AKV10046: Unable to resolve the key"),
    ] {
        let answer = bench.get(url, token).await;
        assert_refused(&answer, 401, "Unauthorized", None);
        assert!(answer.message().starts_with(text), "{}", answer.message());
        assert!(
            answer
                .header("www-authenticate")
                .starts_with("Bearer authorization=")
        );
    }
    bench.emulator.set_clock_offset(3601);
    let answer = bench.get(&demo, &vault).await;
    let expired = "[TokenExpired] Error validating token: 'S2S12086'.";
    assert_eq!(answer.message(), expired);
}

#[tokio::test]
async fn lists_come_in_pages() {
    let mut state = State::default();
    state.vaults[0].empty_first_page = true;
    let bench = Bench::with(state).await;
    let token = bench.access_token().await;
    let mut url = format!("{}/secrets?{VERSION}&maxresults=2", bench.ready().vault_url);
    let mut pages = Vec::new();
    loop {
        let page = bench.get(&url, &token).await.json;
        pages.push(page["value"].as_array().unwrap().clone());
        let Some(next) = page["nextLink"].as_str() else {
            break;
        };
        let start = "https://demo.vault.azure.net:443/secrets?api-version=7.6&$skiptoken=";
        assert!(next.starts_with(start), "{next}");
        assert!(next.ends_with("&maxresults=2"), "{next}");
        url = next.to_owned();
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [0, 2, 1]);
    let first = &pages[1][0];
    assert_eq!(first["id"], "https://demo.vault.azure.net/secrets/api-key");
    assert_eq!(first["value"], Value::Null);
}

#[tokio::test]
async fn vaults_of_national_clouds_want_tokens_of_their_own() {
    let bench = Bench::new().await;
    for (login, suffix, challenge) in [
        (
            "login.microsoftonline.us",
            "vault.usgovcloudapi.net",
            "login.microsoftonline.us",
        ),
        (
            "login.chinacloudapi.cn",
            "vault.azure.cn",
            "login.chinacloudapi.cn",
        ),
        (
            "login.partner.microsoftonline.cn",
            "vault.azure.cn",
            "login.chinacloudapi.cn",
        ),
    ] {
        let tenant = &bench.ready().tenant_id;
        let mut form = bench.form(&bench.id_token());
        form[1].1 = format!("https://{suffix}/.default");
        let url = format!("https://{login}/{tenant}/oauth2/v2.0/token");
        let token = bench.post_form(&url, &form).await.json["access_token"].clone();
        let url = format!("https://demo.{suffix}/secrets/db-password?{VERSION}");
        let answer = bench.get(&url, token.as_str().unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let id = answer.json["id"].as_str().unwrap();
        assert!(id.starts_with(&format!("https://demo.{suffix}/secrets/db-password/")));
        let refused = bench.get(&url, &bench.access_token().await).await;
        assert_eq!(refused.status, 401);
        let header = refused.header("www-authenticate");
        let expected = format!(
            r#"Bearer authorization="https://{challenge}/{tenant}", resource="https://{suffix}""#
        );
        assert_eq!(header, expected);
    }
}

#[tokio::test]
async fn vault_answers_under_the_emulators_own_name() {
    let bench = Bench::new().await;
    let url = format!("{}/secrets/db-password?{VERSION}", bench.ready().issuer_url);
    let scope = format!("{}/.default", bench.ready().issuer_url);
    let mut form = bench.form(&bench.id_token());
    form[1].1 = scope;
    let tenant = &bench.ready().tenant_id;
    let token_url = format!("{}/{tenant}/oauth2/v2.0/token", bench.ready().issuer_url);
    let token = bench.post_form(&token_url, &form).await.json["access_token"].clone();
    let answer = bench.get(&url, token.as_str().unwrap()).await;
    assert_eq!(
        answer.json["value"], "correct horse battery staple",
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn certificate_backed_secret_names_its_key() {
    let mut state = State::default();
    state.vaults[0].secrets[3].managed = true;
    let bench = Bench::with(state).await;
    let answer = path(&bench, "/secrets/tls-cert").await;
    assert_eq!(answer.json["managed"], true);
    assert_eq!(answer.json["contentType"], "application/x-pem-file");
    let kid = answer.json["kid"].as_str().unwrap();
    assert!(kid.starts_with("https://demo.vault.azure.net/keys/tls-cert/"));
    assert!(
        answer.json["value"]
            .as_str()
            .unwrap()
            .contains("-----BEGIN CERTIFICATE-----\n")
    );
}

#[tokio::test]
async fn put_creates_a_vault_that_does_not_exist() {
    let bench = Bench::new().await;
    let stored = bench.emulator.put_secret("fresh", "s", secret("v"));
    assert_eq!(
        stored.id,
        format!("https://fresh.vault.azure.net/secrets/s/{}", stored.version)
    );
    assert_eq!(stored.version.len(), 32);
    bench.emulator.set_permissions(vec![Permission {
        client_id: bench.ready().client_id.clone(),
        vault: "*".into(),
        secrets: vec!["*".into()],
        operations: vec!["get".into()],
    }]);
    let token = bench.access_token().await;
    let answer = bench.get(&format!("{}?{VERSION}", stored.id), &token).await;
    assert_eq!(answer.json["value"], "v", "{}", answer.text);
}

#[tokio::test]
async fn second_application_has_its_own_permissions() {
    let mut state = State::default();
    let mut second = state.applications[0].clone();
    second.client_id = "22222222-2222-4222-8222-222222222222".into();
    state.federated_credentials.push(FederatedCredential {
        client_id: second.client_id.clone(),
        ..state.federated_credentials[0].clone()
    });
    let client_id = second.client_id.clone();
    state.applications.push(second);
    let bench = Bench::with(state).await;
    let mut form = bench.form(&bench.id_token());
    form[0].1 = client_id;
    let answer = bench.post_form(&bench.token_url(), &form).await;
    let token = answer.json["access_token"].as_str().unwrap();
    let url = format!("{}/secrets/db-password?{VERSION}", bench.ready().vault_url);
    let answer = bench.get(&url, token).await;
    assert_refused(&answer, 403, "Forbidden", Some("ForbiddenByRbac"));
}
