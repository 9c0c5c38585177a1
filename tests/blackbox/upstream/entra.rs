//! When it is Entra: nothing is read.

use futures_util::{StreamExt as _, stream};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use super::{Case, STAGES, fails, told};
use crate::{
    call::{Ask, ask},
    stage::Stage,
};

fn entra_faults() -> Vec<Case> {
    let unavailable = Reason::UpstreamUnavailable;
    let text = |status: u16, body: Value| json!({"kind": "status", "status": status, "body": body});
    let error = |code: u32| json!({"kind": "token_error", "code": code});
    let elsewhere = "https://demo.vault.azure.net/stolen";
    vec![
        (
            json!({"kind": "throttle"}),
            Reason::UpstreamThrottled,
            "Microsoft Entra ID is limiting",
            3,
        ),
        (
            json!({"kind": "throttle", "retry_after": 90}),
            Reason::UpstreamThrottled,
            "limiting",
            1,
        ),
        (
            error(50196),
            Reason::UpstreamThrottled,
            "limiting the rate",
            1,
        ),
        (
            error(90033),
            unavailable,
            "Microsoft Entra ID is failing",
            3,
        ),
        (text(500, json!("broken")), unavailable, "is failing", 3),
        (json!({"kind": "html"}), unavailable, "is failing", 3),
        (
            json!({"kind": "reset"}),
            unavailable,
            "cannot be reached",
            3,
        ),
        (
            json!({"kind": "truncated"}),
            unavailable,
            "Microsoft Entra ID",
            3,
        ),
        (
            json!({"kind": "oversized", "bytes": 1_000_000}),
            unavailable,
            "too large",
            3,
        ),
        (
            json!({"kind": "empty"}),
            unavailable,
            "cannot be understood",
            1,
        ),
        (
            json!({"kind": "wrong_types"}),
            unavailable,
            "cannot be understood",
            1,
        ),
        (
            text(200, json!("<html>login here</html>")),
            unavailable,
            "cannot be understood",
            1,
        ),
        (
            text(200, json!({"token_type": "Bearer"})),
            unavailable,
            "cannot be understood",
            1,
        ),
        (
            text(403, json!("<html>blocked</html>")),
            unavailable,
            "not one of its own",
            1,
        ),
        (
            json!({"kind": "redirect", "location": elsewhere}),
            unavailable,
            "redirect",
            1,
        ),
        (error(50166), Reason::ExchangeRefused, "(AADSTS50166)", 3),
        (error(53003), Reason::ExchangeRefused, "(AADSTS53003)", 1),
        (
            error(7_000_112),
            Reason::ExchangeRefused,
            "(AADSTS7000112)",
            1,
        ),
        (error(500_011), Reason::ExchangeRefused, "(AADSTS500011)", 1),
    ]
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
