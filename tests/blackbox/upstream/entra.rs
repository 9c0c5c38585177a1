//! When it is Entra: nothing is read.

use futures_util::{StreamExt as _, stream};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use super::{Case, STAGES, anybodys_faults, fails, text, told};
use crate::{
    call::{Ask, ask},
    stage::Stage,
};

fn entra_faults() -> Vec<Case> {
    let refused = Reason::ExchangeRefused;
    let error = |code: u32| json!({"kind": "token_error", "code": code});
    let unavailable = Reason::UpstreamUnavailable;
    let no_token = text(200, json!({"token_type": "Bearer"}));
    let mut cases = anybodys_faults();
    cases.extend([
        (error(50196), Reason::UpstreamThrottled, "limiting", 1),
        (error(90033), unavailable, "is failing", 3),
        (no_token, unavailable, "cannot be understood", 1),
        (error(50166), refused, "(AADSTS50166)", 3),
        (error(53003), refused, "(AADSTS53003)", 1),
        (error(7_000_112), refused, "(AADSTS7000112)", 1),
        (error(500_011), refused, "(AADSTS500011)", 1),
    ]);
    cases
}

#[tokio::test]
async fn every_failure_of_entra_has_its_reason_and_nothing_is_read() {
    let cases = entra_faults();
    let check = async |case: &Case| {
        let stage = Stage::new().await;
        let request = ask(&stage.token())
            .file("A", "db-password")
            .file("B", "api-key");
        fails(&stage, "login.microsoftonline.com", request, case).await;
        for request in stage.sent() {
            let host = request.host.trim_end_matches(":443");
            assert_eq!(host, "login.microsoftonline.com", "{request:?}");
        }
        assert!(stage.place.left().is_empty());
    };
    let cases = stream::iter(cases.iter().map(check));
    cases.buffer_unordered(STAGES).collect::<()>().await;
}

#[tokio::test]
async fn tokens_that_entra_does_not_take_are_refused_with_its_code() {
    // The operator accepts an audience that the federated credential does not have.
    let stage = Stage::with(|config| {
        let audiences = r#"["api://AzureADTokenExchange", "https://gitlab.example.com"]"#;
        config.set("issuer.audiences", audiences)
    })
    .await;
    let caller = stage.caller().await;
    let branch = "project_path:acme/shop:ref_type:branch:ref:feature";
    let case = "project_path:acme/shop:ref_type:branch:ref:Main";
    let usual = |claims: Value| ask(&stage.token_but(claims)).file("A", "db-password");
    let nobody = "00000000-0000-4000-8000-000000000000";
    let subject = "no federated credential of the application has its subject";
    let other_case = "a federated credential has its subject in other case, and case counts";
    let audience = "no federated credential of the application has its audience";
    let cases: [(Ask, u64, &str); 6] = [
        (usual(json!({"sub": branch})), 700_213, subject),
        (usual(json!({"sub": case})), 7_002_138, other_case),
        (
            usual(json!({"aud": "https://gitlab.example.com"})),
            700_212,
            audience,
        ),
        (
            usual(json!({"aud": ["api://AzureADTokenExchange"]})),
            50_027,
            "it cannot read the token",
        ),
        (
            usual(json!({})).server("A", "", "", nobody),
            700_016,
            "the tenant has no application of that client id",
        ),
        (
            usual(json!({})).server("A", "", nobody, ""),
            90_002,
            "there is no such tenant",
        ),
    ];
    for (request, code, says) in cases {
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason, Reason::ExchangeRefused, "{refusal:?}");
        assert_eq!(
            told(&refusal).message,
            format!("A: Microsoft Entra ID refused the job's ID token (AADSTS{code}): {says}")
        );
    }
    assert!(stage.requests("secret").is_empty());
    assert!(stage.place.left().is_empty());
}
