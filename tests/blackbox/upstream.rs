//! What a job is told when Entra or Key Vault refuse or fail, and that it then gets nothing at all.

mod entra;

use std::time::{Duration, Instant};

use azure_emulator::{Attributes, Permission};
use futures_util::future::join_all;
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use crate::{
    call::{Ask, Caller, Refusal, ask},
    stage::{Stage, VAULT, vault_url, vaults},
};

/// What is the operator's business and not the job's: parts of the services' answers, addresses,
/// and ids that the job did not send.
const NEVER_TOLD: [&str; 14] = [
    "Trace ID",
    "Correlation",
    "timestamp",
    "{",
    "<",
    "127.0.0.1",
    "error_description",
    "location=",
    "subscriptions",
    "3e1f0a52",
    "8d2b6f10",
    "login.",
    "http",
    "Caller:",
];

fn told(refusal: &Refusal) -> &Refusal {
    let raw = String::from_utf8_lossy(&refusal.raw).into_owned();
    let raw = raw
        .replace("content-type", "")
        .replace("type.googleapis.com", "");
    for never in NEVER_TOLD {
        assert!(!refusal.message.contains(never), "{never}: {refusal:?}");
    }
    for never in ["Trace ID", "127.0.0.1", "3e1f0a52", "error_description"] {
        assert!(!raw.contains(never), "{never}: {raw}");
    }
    refusal
}

fn disabled() -> Attributes {
    Attributes {
        enabled: Some(false),
        ..Attributes::default()
    }
}

/// Lets the client read everything but what begins with `forbidden`.
fn permit(stage: &Stage) {
    let allowed = |pattern: &str| Permission {
        client_id: stage.emulator.ready().client_id.clone(),
        vault: VAULT.to_owned(),
        secrets: vec![pattern.to_owned()],
        operations: vec!["get".to_owned()],
    };
    let patterns = [
        "part-*",
        "fault-*",
        "db-*",
        "disabled*",
        "deleted*",
        "missing*",
    ];
    stage.emulator.set_permissions(patterns.map(allowed).into());
}

#[tokio::test]
async fn one_secret_that_cannot_be_read_leaves_nothing_of_the_others() {
    let stage = Stage::new().await;
    permit(&stage);
    for index in 0..4 {
        stage.put(&format!("part-{index}"), "x");
    }
    stage.put("forbidden", "x");
    let version = stage.put("deleted", "x");
    stage.emulator.delete_secret(VAULT, "deleted").unwrap();
    stage.put_with("disabled", "x", disabled());
    let five = |third: &str| {
        ask(&stage.token())
            .file("A", "part-0")
            .file("B", "part-1")
            .file("C", third)
            .file("D", "part-2")
            .value("E", "part-3")
    };
    let unknown = "0123456789abcdef0123456789abcdef";
    let caller = stage.caller().await;
    for (request, reason, sentence) in [
        (
            five("missing"),
            Reason::SecretNotFound,
            "C: Key Vault has no secret missing".to_owned(),
        ),
        (
            five("part-2").pinned("C", "part-2", unknown),
            Reason::SecretNotFound,
            format!("C: Key Vault has no secret part-2 in the version {unknown}"),
        ),
        (
            five("deleted"),
            Reason::SecretNotFound,
            "C: Key Vault has no secret deleted".to_owned(),
        ),
        (
            five("deleted").pinned("C", "deleted", &version),
            Reason::SecretNotFound,
            format!("C: Key Vault has no secret deleted in the version {version}"),
        ),
        (
            five("disabled"),
            Reason::SecretDisabled,
            "C: the secret disabled is disabled in Key Vault".to_owned(),
        ),
        (
            five("forbidden"),
            Reason::VaultForbidden,
            "C: Key Vault does not let this job's identity read forbidden (ForbiddenByRbac): no \
             role assignment lets it"
                .to_owned(),
        ),
    ] {
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason, reason);
        assert_eq!(told(&refusal).message, sentence);
        assert!(stage.place.left().is_empty(), "files were left behind");
    }
    // Without the third, all is well.
    assert_eq!(caller.bytes(five("part-2")).await.len(), 5);
}

/// A fault, the reason that the job gets, a part of the sentence, and how often it is tried.
type Case = (Value, Reason, &'static str, usize);

/// Switches the fault on for one vault or for Entra, and asks.
async fn fails(stage: &Stage, host: &str, request: Ask, case: &Case) -> Refusal {
    let (fault, reason, sentence, tries) = case;
    let (route, service) = if host.starts_with("login.") {
        ("token", "Microsoft Entra ID")
    } else {
        ("secret", "Key Vault")
    };
    let mut limited = fault.clone();
    limited["route"] = route.into();
    limited["host"] = host.into();
    stage.fault(limited);
    let refusal = stage.caller().await.refused(request).await;
    assert_eq!(refusal.reason, *reason, "{fault}: {refusal:?}");
    for part in [service, sentence] {
        assert!(refusal.message.contains(part), "{fault}: {refusal:?}");
    }
    told(&refusal);
    let asked = stage.requests(route).into_iter();
    let asked = asked.filter(|request| request.host.trim_end_matches(":443") == host);
    assert_eq!(asked.count(), *tries, "{fault}");
    refusal
}

/// How many stages at a time; each has a daemon and an emulator.
const STAGES: usize = 4;

/// An answer of the service's, or of something in between.
fn text(status: u16, body: Value) -> Value {
    json!({"kind": "status", "status": status, "body": body})
}

/// What the network and whatever stands in between can do to either service.
fn anybodys_faults() -> Vec<Case> {
    let (throttled, unavailable) = (Reason::UpstreamThrottled, Reason::UpstreamUnavailable);
    let elsewhere = "https://elsewhere.vault.azure.net/secrets/x?api-version=7.6";
    let kind = |kind: &str| json!({"kind": kind});
    let page = |status, words| text(status, json!(format!("<html>{words}</html>")));
    let late = json!({"kind": "throttle", "retry_after": 120});
    let large = json!({"kind": "oversized", "bytes": 10_000_000});
    let away = json!({"kind": "redirect", "location": elsewhere});
    vec![
        (kind("throttle"), throttled, "limiting the rate", 3),
        (late, throttled, "limiting the rate", 1),
        (text(500, json!("broken")), unavailable, "is failing", 3),
        (text(502, Value::Null), unavailable, "is failing", 3),
        (text(503, Value::Null), unavailable, "is failing", 3),
        (kind("html"), unavailable, "is failing", 3),
        (kind("reset"), unavailable, "cannot be reached", 3),
        (kind("truncated"), unavailable, "", 3),
        (large, unavailable, "too large", 3),
        (page(200, "login"), unavailable, "cannot be understood", 1),
        (page(403, "blocked"), unavailable, "not one of its own", 1),
        (kind("empty"), unavailable, "cannot be understood", 1),
        (kind("wrong_types"), unavailable, "cannot be understood", 1),
        (away, unavailable, "redirect", 1),
    ]
}

fn vault_faults() -> Vec<Case> {
    let unavailable = Reason::UpstreamUnavailable;
    let forbidden = Reason::VaultForbidden;
    let vault = |code: &str| json!({"kind": "vault_error", "code": code});
    let slow_down = text(429, json!("slow down"));
    let challenge = json!({
        "kind": "challenge",
        "authorization": "https://login.evil.test/x",
        "resource": "https://evil.test",
    });
    let missing = json!({"kind": "akv10046", "count": 100});
    let id = "https://demo.vault.azure.net/secrets/x/0123456789abcdef0123456789abcdef";
    let (no_value, no_id) = (json!({"id": id}), json!({"value": "x"}));
    let (not_found, who) = (json!("<html>not here</html>"), json!("who are you"));
    let mut cases = anybodys_faults();
    cases.extend([
        (slow_down, Reason::UpstreamThrottled, "limiting the rate", 3),
        (vault("InternalError"), unavailable, "is failing", 3),
        (vault("ServiceUnavailable"), unavailable, "is failing", 3),
        (missing, unavailable, "is failing", 3),
        (text(404, not_found), unavailable, "not one of its own", 1),
        (text(401, who), unavailable, "not one of its own", 1),
        (text(200, no_value), unavailable, "cannot be understood", 1),
        (text(200, no_id), unavailable, "cannot be understood", 1),
        (vault("AKV10022"), forbidden, "(AKV10022)", 1),
        (vault("AKV10032"), forbidden, "(AKV10032)", 1),
        (challenge, forbidden, "(AKV10000)", 1),
    ]);
    let by_name = [
        ("ForbiddenByFirewall", "(ForbiddenByFirewall)"),
        ("ForbiddenByConnection", "(ForbiddenByConnection)"),
        ("ForbiddenByPolicy", "(ForbiddenByPolicy)"),
    ];
    cases.extend(by_name.map(|(code, says)| (vault(code), forbidden, says, 1)));
    let disabled = "is disabled in Key Vault";
    cases.push((vault("SecretDisabled"), Reason::SecretDisabled, disabled, 1));
    cases
}

#[tokio::test]
async fn every_failure_of_key_vault_has_its_reason_and_reaches_no_other_host() {
    let cases = vault_faults();
    // A vault for each: what one answers counts for all its callers.
    let vault = |case: usize| format!("broken-{case}");
    let stage = Stage::with(|config| vaults(config, (0..cases.len()).map(vault))).await;
    stage.emulator.set_permissions(vec![stage.everything()]);
    let check = async |(index, case): (usize, &Case)| {
        let vault = vault(index);
        stage.put_in(&vault, "x", "x");
        let request = ask(&stage.token()).file("A", "x").file("B", "db-password");
        let request = request.server("A", &vault_url(&vault), "", "");
        let host = format!("{vault}.vault.azure.net");
        let refusal = fails(&stage, &host, request, case).await;
        if case.0["retry_after"] == 120 {
            assert_eq!(refusal.retry, Some(Duration::from_secs(120)));
        }
    };
    join_all(cases.iter().enumerate().map(check)).await;
    for request in stage.sent() {
        let host = request.host.trim_end_matches(":443");
        let known = host == "login.microsoftonline.com"
            || host == "demo.vault.azure.net"
            || host.starts_with("broken-") && host.ends_with(".vault.azure.net");
        assert!(known && !host.contains("elsewhere"), "{request:?}");
    }
    assert!(stage.place.left().is_empty());
}

/// What an answer is called says nothing of what it is: proxies rename, and a page that is none of the
/// service's has no secret in it.
#[tokio::test]
async fn a_right_answer_of_a_wrong_content_type_is_read() {
    for route in ["token", "secret"] {
        let stage = Stage::new().await;
        stage.fault(json!({"route": route, "kind": "wrong_content_type"}));
        let request = ask(&stage.token()).value("A", "db-password");
        let bytes = stage.caller().await.bytes(request).await;
        assert_eq!(bytes["A"], b"correct horse battery staple");
        assert_eq!(stage.counts(), (1, 1), "{route}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    for fault in [
        json!({"route": "secret", "kind": "status", "status": 503, "count": 2}),
        json!({"route": "secret", "kind": "akv10046"}),
        json!({"route": "secret", "kind": "reset", "count": 1}),
        json!({"route": "secret", "kind": "truncated", "count": 1}),
        json!({"route": "secret", "kind": "throttle", "retry_after": 0, "count": 1}),
        json!({"route": "token", "kind": "token_error", "code": 90033, "count": 2}),
        json!({"route": "token", "kind": "token_error", "code": 50166, "count": 1}),
        json!({"route": "token", "kind": "reset", "count": 1}),
        json!({"route": "token", "kind": "html", "count": 1}),
    ] {
        stage.fault(fault);
        let request = ask(&stage.token()).value("A", "db-password");
        let bytes = caller.bytes(request).await;
        assert_eq!(bytes["A"], b"correct horse battery staple");
    }
}

async fn quickly(caller: &Caller, request: Ask) -> Refusal {
    let since = Instant::now();
    let refusal = caller.refused(request).await;
    // Well within the deadline, on a machine with too much to do.
    assert!(since.elapsed() < Duration::from_secs(15), "{refusal:?}");
    refusal
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_quickly() {
    let stage = Stage::with(|config| {
        let vaults = r#"["https://demo.vault.azure.net", "https://nowhere.vault.azure.net"]"#;
        config.set("rule.vaults", vaults)
    })
    .await;
    let (caller, token) = (stage.caller().await, stage.token());
    caller.bytes(ask(&token).value("A", "db-password")).await;
    // No such vault: the proxy says so.
    let nowhere = ask(&token).file("A", "x");
    let nowhere = nowhere.server("A", "https://nowhere.vault.azure.net", "", "");
    let refusal = quickly(&caller, nowhere).await;
    assert_eq!(refusal.reason, Reason::UpstreamUnavailable);
    assert!(
        told(&refusal)
            .message
            .starts_with("Key Vault cannot be reached")
    );

    let new = stage.token();
    let Stage {
        emulator,
        daemon: _daemon,
        place,
    } = stage;
    emulator.stop().await;
    for token in [token, new] {
        let refusal = quickly(&caller, ask(&token).file("A", "db-password")).await;
        assert_eq!(refusal.reason, Reason::UpstreamUnavailable, "{refusal:?}");
        assert!(told(&refusal).message.contains("cannot be reached"));
    }
    assert!(place.left().is_empty());
}
