//! Reading from a vault.

use azure_emulator::{Attributes, NewSecret, State};
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
async fn vault_answers_under_the_emulators_own_name() {
    let bench = Bench::new().await;
    let own = bench.ready().issuer_url.clone();
    let mut form = bench.form(&bench.id_token());
    form[1].1 = format!("{own}/.default");
    let token_url = format!("{own}/{}/oauth2/v2.0/token", bench.ready().tenant_id);
    let answer = bench.post_form(&token_url, &form).await;
    let token = answer.json["access_token"].as_str().unwrap();
    let subdomain = own.replace("https://", "https://demo.");
    for base in [own.clone(), subdomain] {
        let url = format!("{base}/secrets/db-password?{VERSION}");
        let answer = bench.get(&url, token).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let id = answer.json["id"].as_str().unwrap();
        assert!(id.starts_with(&format!("{base}/secrets/db-password/")));
        let header = bench
            .get(&url, "")
            .await
            .header("www-authenticate")
            .to_owned();
        assert!(
            header.ends_with(&format!(r#", resource="{own}""#)),
            "{header}"
        );
    }
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
