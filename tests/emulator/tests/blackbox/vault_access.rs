//! Who may read from a vault, and from where.

use azure_emulator::{
    FederatedCredential, Network, NewSecret, Permission, State, Tenant, Vault, VaultAccess,
};

use crate::bench::{Answer, Bench};

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
        assert!(
            !answer
                .headers
                .contains_key("x-ms-keyvault-rbac-assignment-id")
        );
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
