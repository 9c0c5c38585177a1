//! Explain: what the policy would say, to whoever could ask for the secret itself, at no cost to
//! Entra or a vault.

use runner_secrets_proto::Reason;
use serde_json::json;

use crate::{call::ask, stage::Stage};

const RULES: &str = r#"
[[rule]]
name = "vault of the bank"
bound_claims = { project_path = "bank/core" }
vaults = ["https://goldreserve.vault.azure.net"]
secrets = ["*"]

[[rule]]
name = "shop production"
bound_claims = { project_path = "acme/shop", environment = "production" }
vaults = ["https://demo.vault.azure.net"]
secrets = ["db-*"]

[[rule]]
name = "shop keys"
bound_claims = { project_path = "acme/shop" }
vaults = ["https://shop.vault.azure.net", "https://keys.vault.azure.net"]
secrets = ["api-*"]
"#;

#[tokio::test]
async fn each_secret_has_its_verdict_its_rule_and_its_sentence() {
    let mut stage = Stage::with(|config| config.unset("azure.vault_url").rules(RULES)).await;
    let caller = stage.caller().await;
    let keys = "https://keys.vault.azure.net";
    let request = ask(&stage.token())
        .file("A", "db-password")
        .value("B", "api-key")
        .value("C", "api-key")
        .server("C", keys, "", "")
        .file("D", "gold-key")
        .pinned("E", "DB-Other", "0123456789abcdef0123456789abcdef");
    let verdicts = caller.explain(request.clone()).await.unwrap();
    let told: Vec<_> = verdicts
        .iter()
        .map(|(variable, verdict)| {
            let said = (&*verdict.rule, &*verdict.sentence);
            (&**variable, verdict.granted, said)
        })
        .collect();
    let of = |name: &str, variable: &str, why: &str| {
        format!("no rule grants the secret {name} (variable {variable}): {why}")
    };
    let nowhere = of(
        "api-key",
        "B",
        "rule \"shop production\" is for the secrets \"db-*\", not for api-key; rule \"shop \
         keys\" is for the vault \"https://shop.vault.azure.net\" or \
         \"https://keys.vault.azure.net\", and the job names none of them",
    );
    let gold = of(
        "gold-key",
        "D",
        "rule \"shop production\" is for the secrets \"db-*\", not for gold-key; rule \"shop \
         keys\" is for the secrets \"api-*\", not for gold-key",
    );
    let grants = |rule: &str, name: &str, vault: &str, variable: &str| {
        format!("rule \"{rule}\" grants the secret {name} of {vault} (variable {variable})")
    };
    let demo = "https://demo.vault.azure.net";
    let expected = [
        (
            "A",
            true,
            "shop production",
            grants("shop production", "db-password", demo, "A"),
        ),
        ("B", false, "", nowhere),
        (
            "C",
            true,
            "shop keys",
            grants("shop keys", "api-key", keys, "C"),
        ),
        ("D", false, "", gold),
        (
            "E",
            true,
            "shop production",
            grants("shop production", "db-other", demo, "E"),
        ),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(variable, granted, rule, sentence)| (*variable, *granted, (*rule, &**sentence)))
        .collect();
    assert_eq!(told, expected);
    let sent = stage.sent();
    assert!(sent.is_empty(), "{sent:?}");
    assert!(stage.place.left().is_empty());
    // The verdicts are those of Resolve.
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied);
    assert!(stage.sent().is_empty());
    // The whole account is the operator's, as it is when something is denied.
    stage.daemon.logs_more("explained", 4).await;
    let log = stage.daemon.log().replace('\\', "");
    let lines: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("explained"))
        .collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let line = lines
        .iter()
        .find(|line| line.contains("variable=D"))
        .unwrap();
    for part in [
        "call=\"explain\"",
        "request_id=",
        "granted=false",
        "rule \"vault of the bank\" wants project_path to be \"bank/core\", and the token has",
        "rule \"shop keys\" is for the secrets",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let line = lines
        .iter()
        .find(|line| line.contains("variable=A"))
        .unwrap();
    for part in ["granted=true", "rule \"shop production\" grants it"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test]
async fn what_resolve_refuses_before_the_policy_explain_refuses_too() {
    let stage = Stage::with(|config| config.rules(RULES)).await;
    let caller = stage.caller().await;
    let good = stage.token();
    let wanted = |token: &str| ask(token).file("A", "db-password");
    let other = stage.token_but(json!({"job_id": "813"}));
    for (request, reason) in [
        (ask(&good), Reason::RequestInvalid),
        (wanted(&good).file("PATH", "x"), Reason::RequestInvalid),
        (wanted(&good).file("B", "a/b"), Reason::RequestInvalid),
        (
            wanted(&good).server("A", "https://evil.test", "", ""),
            Reason::RequestInvalid,
        ),
        (wanted(""), Reason::TokenInvalid),
        (wanted("x.y.z"), Reason::TokenInvalid),
        (
            wanted(&stage.token_but(json!({"exp": 1}))),
            Reason::TokenExpired,
        ),
        (
            wanted(&good)
                .file("B", "api-key")
                .but("B", |secret| secret.id_token = other),
            Reason::TokenInvalid,
        ),
    ] {
        let refusal = caller.explain(request).await.unwrap_err();
        assert_eq!(refusal.reason, reason, "{refusal:?}");
    }
    assert!(stage.sent().is_empty());
}

/// It is what a pipeline's author asks with, so it says what would be, whatever happens today.
#[tokio::test]
async fn explain_asks_nobody_even_when_nobody_could_answer() {
    let stage = Stage::new().await;
    for route in ["token", "secret"] {
        stage.fault(json!({"route": route, "kind": "hang"}));
    }
    let caller = stage.caller().await;
    let request = ask(&stage.token()).file("A", "no-such-secret");
    let verdicts = caller.explain(request).await.unwrap();
    assert!(verdicts["A"].granted, "policy knows nothing of what exists");
    assert!(stage.sent().is_empty());
}

/// A job's spec is mended in a few tries; more is a search for what there is.
#[tokio::test]
async fn a_token_is_not_explained_without_end() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let request = ask(&stage.token()).file("A", "db-password");
    for _ in 0..30 {
        caller.explain(request.clone()).await.unwrap();
    }
    let refusal = caller.explain(request.clone()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::Overloaded, "{refusal:?}");
    assert!(refusal.retry.is_some(), "{refusal:?}");
    // Another job is not hindered, nor is this one kept from its secrets.
    let other = ask(&stage.token()).file("A", "db-password");
    caller.explain(other).await.unwrap();
    caller.bytes(request).await;
}
