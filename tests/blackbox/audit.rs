//! What is on record of every way in which a request can end, and of what the daemon itself does.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use azure_emulator::Attributes;
use runner_secrets_proto::Reason;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{call::ask, daemon::Place, stage::Stage};

/// The outcome of a request.
async fn outcome(place: &Place, request_id: &str) -> Value {
    let is = |record: &Value| record["event"] == "outcome" && record["request_id"] == request_id;
    place.recorded("the outcome", is).await
}

/// The records of the last request that something was read for.
fn last(place: &Place, event: &str) -> Value {
    let records = place.records();
    let mut found = records
        .into_iter()
        .filter(|record| record["event"] == event);
    found.next_back().unwrap()
}

#[tokio::test]
async fn a_delivery_says_who_read_what_and_by_which_right() {
    let stage = Stage::new().await;
    let latest = stage.put("db", "value");
    let pinned = stage.put("api", "value");
    stage.put("api", "newer");
    let expired = Attributes {
        exp: Some(1_000_000_000),
        ..Attributes::default()
    };
    stage.put_with("old", "value", expired);
    let caller = stage.caller().await;
    let token = stage.token_but(json!({
        "environment": "production", "user_login": "ann", "user_email": "ann@example.com",
        "runner_id": 7, "sha": "0123abcd", "pipeline_source": "push", "jti": "the-token's-id",
    }));
    let request = ask(&token)
        .file("DB", "db")
        .pinned("API", "api", &pinned)
        .file("OLD", "old");
    let answer = caller.resolve(request).await.unwrap();

    let (intent, outcome) = (last(&stage.place, "intent"), last(&stage.place, "outcome"));
    assert_eq!(outcome["reason"], "DELIVERED");
    assert!(intent.get("reason").is_none());
    assert!(intent["seq"].as_u64() < outcome["seq"].as_u64());
    for record in [&intent, &outcome] {
        assert_eq!(record["call"], "resolve");
        assert_eq!(record["caller"]["uid"], rustix::process::geteuid().as_raw());
        assert_eq!(record["caller"]["pid"], std::process::id());
        assert_eq!(record["delivery"], "files");
        let job = &record["job"];
        assert_eq!(job["issuer"], stage.emulator.ready().issuer_url);
        assert_eq!(job["project_path"], "acme/shop");
        assert_eq!(
            job["subject"],
            "project_path:acme/shop:ref_type:branch:ref:main"
        );
        assert_eq!(job["audience"], json!(["api://AzureADTokenExchange"]));
        for (claim, value) in [
            ("ref", json!("main")),
            ("ref_type", json!("branch")),
            ("environment", json!("production")),
            ("user", json!("ann")),
            ("runner_id", json!(7)),
            ("sha", json!("0123abcd")),
            ("pipeline_source", json!("push")),
            ("jti_sha256", json!(sha256("the-token's-id"))),
        ] {
            assert_eq!(job[claim], value, "{claim}");
        }
        assert_eq!(record["policy"]["mode"], "enforce");
        assert!(!record.to_string().contains("ann@example.com"));
        let secrets = record["secrets"].as_array().unwrap();
        let variables: Vec<_> = secrets.iter().map(|secret| &secret["variable"]).collect();
        assert_eq!(variables, ["API", "DB", "OLD"]);
        for secret in secrets {
            assert_eq!(secret["vault"], stage.emulator.ready().vault_url);
            assert_eq!(secret["rule"], "everything");
        }
        assert_eq!(secrets[0]["version"], pinned);
        assert!(secrets[1].get("version").is_none());
    }
    let secrets = outcome["secrets"].as_array().unwrap();
    assert_eq!(secrets[0]["version_read"], pinned);
    assert_eq!(secrets[1]["version_read"], latest);
    let warning = secrets[2]["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("expired"), "{warning}");
    assert_eq!(outcome["lease_id"], answer.lease_id);
    assert_ids_join(&stage, secrets);
}

/// Each read is found in Key Vault's own log by both ids.
fn assert_ids_join(stage: &Stage, secrets: &[Value]) {
    let sent: BTreeSet<String> = stage
        .requests("secret")
        .iter()
        .map(|request| {
            request.headers["x-ms-client-request-id"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let ours = secrets
        .iter()
        .map(|secret| secret["client_request_id"].as_str().unwrap());
    assert_eq!(ours.map(str::to_owned).collect::<BTreeSet<_>>(), sent);
    let theirs: BTreeSet<&str> = secrets
        .iter()
        .map(|secret| secret["key_vault_request_id"].as_str().unwrap())
        .collect();
    assert_eq!(theirs.len(), secrets.len());
}

#[tokio::test]
async fn a_failed_read_names_what_was_read_before_it_failed() {
    let stage = Stage::new().await;
    stage.put("db", "value");
    let caller = stage.caller().await;
    let request = ask(&stage.token()).file("DB", "db").file("NONE", "none");
    let refusal = caller.refused(request).await;
    let record = outcome(&stage.place, &refusal.request_id).await;
    assert_eq!(record["reason"], "SECRET_NOT_FOUND");
    assert_eq!(record["message"], refusal.message);
    let none = &record["secrets"][1];
    assert_eq!(none["variable"], "NONE");
    assert!(none["key_vault_request_id"].is_string());
    assert!(none.get("version_read").is_none());
    assert!(record.get("lease_id").is_none());
}

#[tokio::test]
async fn a_denial_has_no_intent_and_names_whom_it_was_denied() {
    let stage = Stage::with(|config| {
        config.rules("[[rule]]\nname = 'r'\nbound_claims = { project_path = 'acme/shop', ref = 'prod' }\nvaults = ['https://demo.vault.azure.net']\nsecrets = ['*']\n")
    })
    .await;
    let caller = stage.caller().await;
    let refusal = caller.refused(ask(&stage.token()).file("DB", "db")).await;
    let record = outcome(&stage.place, &refusal.request_id).await;
    assert_eq!(record["reason"], "POLICY_DENIED");
    assert_eq!(record["job"]["project_path"], "acme/shop");
    assert_eq!(record["secrets"][0]["name"], "db");
    assert!(record["secrets"][0].get("rule").is_none());
    let intents = stage.place.records();
    assert!(intents.iter().all(|record| record["event"] != "intent"));
}

#[tokio::test]
async fn what_nobody_verified_is_called_unverified() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let expired = stage.token_but(json!({"exp": 1, "sub": "x".repeat(1000)}));
    let refusal = caller.refused(ask(&expired).file("DB", "db")).await;
    let record = outcome(&stage.place, &refusal.request_id).await;
    assert_eq!(record["reason"], "TOKEN_EXPIRED");
    assert!(record.get("job").is_none());
    let says = &record["unverified"];
    assert_eq!(says["issuer"], stage.emulator.ready().issuer_url);
    assert_eq!(says["subject"], "x".repeat(200));
    let garbage = caller.refused(ask("garbage").file("DB", "db")).await;
    let record = outcome(&stage.place, &garbage.request_id).await;
    assert!(record.get("job").is_none() && record.get("unverified").is_none());
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_abandoned_and_no_file() {
    let stage = Stage::new().await;
    stage.put("db", "value");
    stage.fault(json!({"route": "secret", "kind": "hang"}));
    let (caller, token) = (stage.caller().await, stage.token());
    let call = tokio::spawn(async move { caller.resolve(ask(&token).file("DB", "db")).await });
    stage.asked("secret").await;
    let intent = last(&stage.place, "intent");
    call.abort();
    let record = outcome(&stage.place, intent["request_id"].as_str().unwrap()).await;
    assert_eq!(record["reason"], "ABANDONED");
    assert_eq!(record["job"], intent["job"]);
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn explanations_and_releases_are_on_record_and_so_is_the_end_of_a_lease() {
    let mut stage = Stage::new().await;
    stage.put("db", "value");
    let (caller, token) = (stage.caller().await, stage.token());
    caller.explain(ask(&token).file("DB", "db")).await.unwrap();
    let is_explained = |record: &Value| record["call"] == "explain";
    let explained = stage.place.recorded("explain", is_explained).await;
    assert_eq!(explained["reason"], "DELIVERED");
    assert_eq!(explained["secrets"][0]["rule"], "everything");

    let released = caller.resolve(ask(&token).file("DB", "db")).await.unwrap();
    let granted = last(&stage.place, "outcome");
    caller.release(&released.lease_id, &token).await.unwrap();
    let is_release = |record: &Value| record["call"] == "release";
    let release = stage.place.recorded("release", is_release).await;
    assert_eq!(release["lease_id"], released.lease_id);
    assert_eq!(release["job"]["project_path"], "acme/shop");
    let is_end = |record: &Value| record["event"] == "lease";
    let end = stage.place.recorded("the end of the lease", is_end).await;
    assert_eq!(
        (&end["end"], &end["lease_id"]),
        (&json!("RELEASED"), &json!(released.lease_id))
    );
    assert_eq!(end["request_id"], granted["request_id"]);

    let stopped = caller.resolve(ask(&token).file("DB", "db")).await.unwrap();
    stage.daemon.stop(Signal::TERM).await;
    let end = last(&stage.place, "lease");
    assert_eq!(
        (&end["end"], &end["lease_id"]),
        (&json!("STOPPED"), &json!(stopped.lease_id))
    );
}

#[tokio::test]
async fn starts_stops_and_policies_are_on_record_with_the_policies_text() {
    let mut stage = Stage::new().await;
    let is_policy = |record: &Value| record["event"] == "policy";
    let loaded = stage.place.recorded("the policy", is_policy).await;
    let path = stage.place.path("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"everything\"", "\"all\"")).unwrap();
    stage.daemon.signal(Signal::HUP);
    stage.daemon.logs("policy reloaded").await;
    let is_second = |record: &Value| record["previous"] == loaded["policy_hash"];
    let second = stage.place.recorded("the second policy", is_second).await;
    for (policy, rule) in [(&loaded, "rule 10:everything\n"), (&second, "rule 3:all\n")] {
        let hash = policy["policy_hash"].as_str().unwrap();
        let kept = stage.place.path(&format!("audit/policies/{hash}.txt"));
        let text = fs::read_to_string(&kept).unwrap();
        assert_eq!(sha256(&text), hash);
        assert!(text.contains(rule), "{text}");
        assert_eq!(
            fs::metadata(&kept).unwrap().permissions().mode() & 0o7777,
            0o640
        );
    }
    stage.daemon.stop(Signal::TERM).await;
    let records = stage.place.records();
    let events: Vec<&str> = records
        .iter()
        .map(|record| record["event"].as_str().unwrap())
        .collect();
    assert_eq!(events[..3], ["header", "start", "policy"]);
    assert_eq!(events[events.len() - 2..], ["stop", "checkpoint"]);
    let start = &records[1];
    assert_eq!(start["version"], env!("CARGO_PKG_VERSION"));
    let listen = &start["config"]["listen"][0]["socket"];
    assert_eq!(*listen, stage.place.socket().display().to_string());
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(start["boot_id"], boot_id.trim());
}

/// A policy whose text cannot be kept does not come into force.
#[tokio::test]
async fn a_policy_that_cannot_be_kept_is_not_put_in_force() {
    let mut stage = Stage::new().await;
    stage.put("db", "value");
    let policies = stage.place.path("audit/policies");
    fs::remove_dir_all(&policies).unwrap();
    fs::write(&policies, "in the way").unwrap();
    let path = stage.place.path("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[\"*\"]", "[\"other\"]")).unwrap();
    stage.daemon.signal(Signal::HUP);
    stage.daemon.logs("the old policy stays in force").await;
    let caller = stage.caller().await;
    caller
        .resolve(ask(&stage.token()).file("DB", "db"))
        .await
        .unwrap();
}

#[tokio::test]
async fn in_audit_mode_the_record_says_what_would_be_denied() {
    let stage = Stage::with(|config| {
        config
            .text("policy.mode", "audit")
            .set("rule.secrets", "[\"other\"]")
    })
    .await;
    stage.put("db", "value");
    let caller = stage.caller().await;
    caller
        .resolve(ask(&stage.token()).file("DB", "db"))
        .await
        .unwrap();
    let record = last(&stage.place, "intent");
    assert_eq!(record["policy"]["mode"], "audit");
    assert!(
        record["policy"]["would_deny"]
            .as_str()
            .unwrap()
            .contains("DB")
    );
    assert!(record["secrets"][0].get("rule").is_none());
}

#[tokio::test]
async fn people_are_named_as_configured() {
    let key = tempfile::NamedTempFile::new().unwrap();
    fs::write(key.path(), [7; 32]).unwrap();
    for form in ["login", "id", "hmac"] {
        let stage = Stage::with(|config| {
            let config = config.text("audit.user", form);
            match form {
                "hmac" => config.text("audit.user_key", &key.path().display().to_string()),
                _ => config,
            }
        })
        .await;
        let caller = stage.caller().await;
        stage.put("db", "value");
        let token = stage.token_but(json!({"user_login": "ann", "user_id": "77"}));
        caller.resolve(ask(&token).file("DB", "db")).await.unwrap();
        let record = last(&stage.place, "outcome");
        let user = record["job"]["user"].as_str().unwrap();
        match form {
            "login" => assert_eq!(user, "ann"),
            "id" => assert_eq!(user, "77"),
            _ => assert!(user.len() == 64 && !record.to_string().contains("ann")),
        }
    }
}

/// Refusals of nobody in particular are counted when they are many, and a flood fills nothing.
#[tokio::test]
async fn a_flood_of_bad_tokens_is_summed_up() {
    let mut stage = Stage::new().await;
    let caller = stage.caller().await;
    for _ in 0..400 {
        let refusal = caller.refused(ask("garbage").file("DB", "db")).await;
        assert_eq!(refusal.reason, Reason::TokenInvalid);
    }
    stage.daemon.stop(Signal::TERM).await;
    let records = stage.place.records();
    let outcomes = records
        .iter()
        .filter(|record| record["event"] == "outcome")
        .count();
    assert_eq!(outcomes, 100);
    let refused = last(&stage.place, "refused");
    assert_eq!(refused["count"], 300);
    let uid = rustix::process::geteuid().as_raw();
    assert_eq!(
        refused["by"],
        json!([{"uid": uid, "reason": "TOKEN_INVALID", "count": 300}])
    );
}

fn sha256(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}
