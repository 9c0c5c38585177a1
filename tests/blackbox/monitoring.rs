//! What the operator's machines ask over HTTP, and health checks over gRPC.

use std::fs;

use azure_emulator::Attributes;
use runner_secrets_proto::Reason;
use serde_json::json;
use tokio::{io::AsyncReadExt as _, net::TcpStream};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    admin::{Admin, LISTEN},
    call::{ask, origin},
    daemon::{PATIENCE, until},
    stage::Stage,
};

/// A stage whose daemon has a monitoring address, and the address.
async fn stage() -> (Stage, Admin) {
    let stage = Stage::with(|config| config.text("admin.listen", LISTEN)).await;
    let admin = Admin::of(&stage.daemon);
    (stage, admin)
}

#[tokio::test]
async fn requests_are_counted_by_reason() {
    let (stage, admin) = stage().await;
    let caller = stage.caller().await;
    for _ in 0..3 {
        let request = ask(&stage.token()).file("X", "nothing");
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason, Reason::SecretNotFound);
    }
    stage.put("db", "value");
    let request = ask(&stage.token()).file("DB", "db").file("KEY", "db");
    caller.resolve(request).await.unwrap();
    let after = admin.metrics().await;
    for line in [
        r#"runner_secrets_requests_total{call="resolve",front="socket",reason="SECRET_NOT_FOUND"} 3"#,
        r#"runner_secrets_requests_total{call="resolve",front="socket",reason="DELIVERED"} 1"#,
        r#"runner_secrets_request_duration_seconds_count{call="resolve",front="socket"} 4"#,
        r#"runner_secrets_step_duration_seconds_count{step="verify"} 4"#,
        r#"runner_secrets_step_duration_seconds_count{step="materialise"} 1"#,
        r#"runner_secrets_step_duration_seconds_count{step="audit"} 5"#,
        r#"runner_secrets_upstream_requests_total{outcome="refused",service="key_vault"} 3"#,
        r#"runner_secrets_upstream_requests_total{outcome="answered",service="key_vault"} 1"#,
        r#"runner_secrets_upstream_requests_total{outcome="answered",service="entra"} 4"#,
        r#"runner_secrets_connections{front="socket"} 1"#,
        "runner_secrets_requests_in_flight 0",
        "runner_secrets_leases 1",
        "runner_secrets_files 2",
        "runner_secrets_access_tokens 4",
        "runner_secrets_policy_rules 1",
    ] {
        assert!(after.contains(&format!("{line}\n")), "{line}\n{after}");
    }
    let last = stage.place.records().last().unwrap()["seq"]
        .as_f64()
        .unwrap();
    assert!((admin.value("runner_secrets_audit_head").await - last).abs() < 0.5);
}

/// Jobs choose what they ask for, so none of it makes a series.
#[tokio::test]
async fn ten_thousand_names_versions_and_projects_add_no_series() {
    let rules = "[[rule]]\nname = \"most\"\nbound_claims = { project_path = \"**\" }\n\
        vaults = [\"https://demo.vault.azure.net\"]\nsecrets = [\"given-*\", \"missing-*\"]\n\
        allow_forks = true\n";
    let stage = Stage::with(|config| {
        let config = config.rules(rules).set("limits.vault_reads", 100_000);
        config
            .text("admin.listen", LISTEN)
            .set("limits.caller_rate", 10_000)
    })
    .await;
    let (admin, caller) = (Admin::of(&stage.daemon), stage.caller().await);
    let before = admin.series().await;
    let mut asked = 0;
    for (kind, requests, expected) in [
        ("given", 10, None),
        ("missing", 40, Some(Reason::SecretNotFound)),
        ("denied", 50, Some(Reason::PolicyDenied)),
    ] {
        for project in 0..requests {
            let claims = json!({
                "project_id": format!("{asked}"), "project_path": format!("acme/{kind}-{project}"),
                "namespace_path": "acme", "job_id": format!("{asked}"),
            });
            let mut request = ask(&stage.token_but(claims));
            for secret in 0..100 {
                let name = format!("{kind}-{project}-{secret}");
                request = if kind == "given" {
                    let version = stage.put(&name, "value");
                    request.pinned(&format!("V{secret}"), &name, &version)
                } else {
                    request.pinned(&format!("V{secret}"), &name, &format!("{asked:032x}"))
                };
                asked += 1;
            }
            match (caller.resolve(request).await, expected) {
                (Ok(answer), None) => assert_eq!(answer.variables.len(), 100),
                (Err(refusal), Some(reason)) => assert_eq!(refusal.reason, reason),
                (other, _) => panic!("{kind}: {other:?}"),
            }
        }
    }
    assert_eq!(asked, 10_000);
    assert_eq!(admin.series().await, before);
    assert!(before.len() < 700, "{}", before.len());
}

#[tokio::test]
async fn reads_of_secrets_that_expire_soon_are_counted() {
    let (stage, admin) = stage().await;
    let caller = stage.caller().await;
    let day = 24 * 60 * 60;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = i64::try_from(now.unwrap().as_secs()).unwrap();
    for (name, exp, count) in [
        ("never", None, 0.0),
        ("in-31-days", Some(now + 31 * day), 0.0),
        ("in-29-days", Some(now + 29 * day), 1.0),
        ("yesterday", Some(now - day), 2.0),
    ] {
        let attributes = Attributes {
            exp,
            ..Attributes::default()
        };
        stage.put_with(name, "value", attributes);
        let request = ask(&stage.token()).value("X", name);
        caller.resolve(request).await.unwrap();
        let counted = admin.value("runner_secrets_expiring_reads_total").await;
        assert!((counted - count).abs() < 0.5, "{name}: {counted}");
        let log = stage.daemon.log();
        let said = log.matches("the secret has expired, or will within 30 days variable=X");
        assert!((f64::from(u32::try_from(said.count()).unwrap()) - count).abs() < 0.5);
    }
}

#[tokio::test]
async fn readiness_and_health_say_when_nothing_can_be_put_on_record() {
    let (stage, admin) = stage().await;
    stage.put("db", "value");
    let (caller, token) = (stage.caller().await, stage.token());
    caller.resolve(ask(&token).file("DB", "db")).await.unwrap();
    assert_eq!(admin.asked("GET /readyz").await.0, "HTTP/1.1 200 OK");
    let mut health = HealthClient::with_origin(caller.connection(), origin());
    let watching = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watching = watching.into_inner();
    assert_eq!(watching.message().await.unwrap().unwrap().status, 1);

    // In the way of the trail, so that it does not come back by itself.
    fs::remove_file(stage.place.trail()).unwrap();
    fs::create_dir(stage.place.trail()).unwrap();
    let refusal = caller.refused(ask(&token).file("DB", "db")).await;
    assert_eq!(refusal.reason, Reason::AuditFailed);
    assert_eq!(watching.message().await.unwrap().unwrap().status, 2);
    let (status, body) = admin.asked("GET /readyz").await;
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(!body.contains('/'), "a path: {body}");
    assert!(
        admin
            .value("runner_secrets_ready{dependency=\"audit\"}")
            .await
            < 0.5
    );
    assert_eq!(admin.asked("GET /livez").await.0, "HTTP/1.1 200 OK");

    fs::remove_dir(stage.place.trail()).unwrap();
    assert_eq!(watching.message().await.unwrap().unwrap().status, 1);
    caller.resolve(ask(&token).file("DB", "db")).await.unwrap();
    assert_eq!(admin.asked("GET /readyz").await.0, "HTTP/1.1 200 OK");
}

#[tokio::test]
async fn there_is_nothing_else_to_be_had_and_silence_is_hung_up_on() {
    let (stage, admin) = stage().await;
    for (request, status) in [
        ("GET /", "HTTP/1.1 404 Not Found"),
        ("GET /metrics/../readyz", "HTTP/1.1 404 Not Found"),
        ("POST /metrics", "HTTP/1.1 405 Method Not Allowed"),
        ("DELETE /readyz", "HTTP/1.1 405 Method Not Allowed"),
        ("HEAD /readyz", "HTTP/1.1 200 OK"),
    ] {
        assert_eq!(admin.asked(request).await.0, status, "{request}");
    }
    // More than are answered at once, and none of them says anything.
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(&admin.0).await.unwrap());
    }
    assert_eq!(admin.asked("GET /livez").await.0, "HTTP/1.1 200 OK");
    let mut buffer = Vec::new();
    let end = silent[0].read_to_end(&mut buffer);
    let end = tokio::time::timeout(PATIENCE, end).await.unwrap();
    assert!(
        end.is_err() || buffer.is_empty() || buffer.starts_with(b"HTTP/1.1 408"),
        "{buffer:?}"
    );
    drop(stage);
}

#[tokio::test]
async fn a_taken_address_is_said_at_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = crate::daemon::Place::new();
    let config = crate::daemon::Config::of(&place).text("admin.listen", &address);
    config.write(&place.path("config.toml"));
    let mut daemon = crate::daemon::Daemon::spawn(&place.path("config.toml"));
    assert_eq!(daemon.ends().await.code(), Some(1));
    let expected = format!("admin.listen: {address}: Address already in use");
    assert!(daemon.log().contains(&expected), "{}", daemon.log());
}

#[tokio::test]
async fn the_last_checkpoint_is_published_with_its_hash() {
    let stage = Stage::with(|config| {
        config
            .text("admin.listen", LISTEN)
            .text("audit.checkpoint_interval", "100ms")
    })
    .await;
    let admin = Admin::of(&stage.daemon);
    let is_checkpoint = |record: &serde_json::Value| record["event"] == "checkpoint";
    let checkpoint = stage.place.recorded("a checkpoint", is_checkpoint).await;
    let (seq, hash) = (&checkpoint["seq"], checkpoint["hash"].as_str().unwrap());
    let series = format!("runner_secrets_audit_checkpoint{{hash=\"{hash}\"}} {seq}");
    let published = async { while !admin.metrics().await.contains(&series) {} };
    tokio::time::timeout(PATIENCE, published).await.unwrap();
    until("the head is in the log", || {
        stage.daemon.log().contains(hash)
    })
    .await;
    assert_eq!(json!(1), stage.place.records()[0]["seq"]);
}
