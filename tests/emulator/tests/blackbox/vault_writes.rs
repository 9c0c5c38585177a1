//! Seeding a vault through its own API, as real clients do.

use azure_emulator::Permission;
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, read};

async fn bench() -> (Bench, String) {
    let bench = Bench::new().await;
    bench.emulator.set_permissions(vec![Permission {
        client_id: bench.ready().client_id.clone(),
        vault: "demo".into(),
        secrets: vec!["*".into()],
        operations: ["get", "list", "set", "delete"].map(str::to_owned).to_vec(),
    }]);
    let token = bench.access_token().await;
    (bench, token)
}

async fn call(bench: &(Bench, String), method: &str, path: &str, body: Value) -> Answer {
    let (bench, token) = bench;
    let url = format!("{}{path}?api-version=7.6", bench.ready().vault_url);
    let request = bench.http.request(method.parse().unwrap(), url);
    let request = request.bearer_auth(token).json(&body);
    read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn secret_is_set_and_updated() {
    let bench = bench().await;
    let body = json!({"value": "one", "tags": {"a": "b"}, "attributes": {"enabled": true}});
    let set = call(&bench, "PUT", "/secrets/fresh", body).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(set.json["value"], "one");
    let id = set.json["id"].as_str().unwrap();
    let path = id.strip_prefix("https://demo.vault.azure.net").unwrap();
    let body = json!({"attributes": {"enabled": false}, "contentType": "x"});
    let updated = call(&bench, "PATCH", path, body).await;
    assert_eq!(
        updated.json["attributes"]["enabled"], false,
        "{}",
        updated.text
    );
    assert_eq!(updated.json["tags"]["a"], "b");
    let read = call(&bench, "GET", "/secrets/fresh", json!({})).await;
    assert_eq!(read.json["error"]["innererror"]["code"], "SecretDisabled");
}

#[tokio::test]
async fn deleted_secret_is_recovered_or_purged() {
    let bench = bench().await;
    let nothing = || json!({});
    let deleted = call(&bench, "DELETE", "/secrets/db-password", nothing()).await;
    let recovery = "https://demo.vault.azure.net/deletedsecrets/db-password";
    assert_eq!(deleted.json["recoveryId"], recovery);
    let body = json!({"value": "x"});
    let again = call(&bench, "PUT", "/secrets/db-password", body).await;
    assert_eq!(again.status, 409);
    let inner = &again.json["error"]["innererror"]["code"];
    assert_eq!(inner, "ObjectIsDeletedButRecoverable");
    let path = "/deletedsecrets/db-password";
    assert_eq!(call(&bench, "GET", path, nothing()).await.status, 200);
    let recovered = call(&bench, "POST", &format!("{path}/recover"), nothing()).await;
    assert_eq!(recovered.status, 200);
    assert_eq!(
        call(&bench, "GET", "/secrets/db-password", nothing())
            .await
            .status,
        200
    );
    call(&bench, "DELETE", "/secrets/db-password", nothing()).await;
    assert_eq!(call(&bench, "DELETE", path, nothing()).await.status, 204);
    let gone = call(&bench, "GET", path, nothing()).await;
    assert_eq!(gone.message(), "Deleted Secret not found: db-password");
}

#[tokio::test]
async fn value_that_is_too_long_is_refused() {
    let bench = bench().await;
    for (length, status) in [(25 * 1024, 200), (25 * 1024 + 1, 400)] {
        let body = json!({"value": "x".repeat(length)});
        assert_eq!(
            call(&bench, "PUT", "/secrets/long", body).await.status,
            status
        );
    }
}

#[tokio::test]
async fn application_out_of_the_box_may_only_read() {
    let bench = Bench::new().await;
    let token = bench.access_token().await;
    let bench = (bench, token);
    let body = json!({"value": "x"});
    let answer = call(&bench, "PUT", "/secrets/x", body).await;
    assert_eq!(answer.status, 403);
    let action = "Action: 'Microsoft.KeyVault/vaults/secrets/setSecret/action'";
    assert!(answer.message().contains(action));
}
