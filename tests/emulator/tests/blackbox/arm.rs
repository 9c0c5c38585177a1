//! The two lists that a sign-in of the Azure CLI looks at.

use crate::bench::Bench;

#[tokio::test]
async fn signed_in_application_sees_its_tenant_and_no_subscription() {
    let bench = Bench::new().await;
    let scope = "https://management.azure.com/.default";
    let token = bench.access_token_for(scope).await;
    let base = "https://management.azure.com";
    let url = format!("{base}/subscriptions?api-version=2022-12-01");
    let subscriptions = bench.get(&url, &token).await;
    assert_eq!(subscriptions.json["value"].as_array().unwrap().len(), 0);
    let tenants = bench
        .get(&format!("{base}/tenants?api-version=2022-12-01"), &token)
        .await;
    let tenant = &tenants.json["value"][0]["tenantId"];
    assert_eq!(*tenant, *bench.ready().tenant_id);
    assert_eq!(
        bench.get(&format!("{base}/other"), &token).await.status,
        404
    );
}

#[tokio::test]
async fn token_for_a_vault_is_refused() {
    let bench = Bench::new().await;
    let token = bench.access_token().await;
    let answer = bench
        .get("https://management.azure.com/tenants", &token)
        .await;
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json["error"]["code"], "AuthenticationFailed");
}
