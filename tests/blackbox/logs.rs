//! The daemon's log: whatever jobs and services say, a line is one line that a screen shows as it
//! is, and the request's id leads from what the caller saw to it.

use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use crate::{
    call::{Refusal, ask, secret},
    daemon::until,
    stage::Stage,
};

/// Ends lines, moves the cursor, turns the direction of writing, and hides.
const HOSTILE: &str = "a\n2026-01-01T00:00:00Z  INFO forged\r\u{1b}[2J\u{8}\0\u{7f}\u{9b}31m\u{202e}\u{2066}\u{2028}z";

/// What comes from others and ends in the log, by way of a claim, a name, a variable and an answer.
async fn refused(stage: &Stage) -> Vec<Refusal> {
    let caller = stage.caller().await;
    let claims = json!({
        "project_path": HOSTILE, "ref": HOSTILE, "user_login": HOSTILE, "environment": HOSTILE,
    });
    let mut refusals = vec![
        caller
            .refused(ask(&stage.token_but(claims)).value("A", "db-password"))
            .await,
        caller
            .refused(ask(&stage.token()).value(HOSTILE, "db-password"))
            .await,
        caller
            .refused(ask(&stage.token()).with("A", secret(HOSTILE)))
            .await,
        caller.refused(ask(HOSTILE).value("A", "db-password")).await,
    ];
    for route in ["token", "secret"] {
        let description = format!("AADSTS70021: {HOSTILE}");
        let body = json!({"error": "invalid_request", "error_description": description,
            "error_codes": [70021], "correlation_id": HOSTILE, "trace_id": HOSTILE});
        let body = if route == "token" {
            body
        } else {
            json!({"error": {"code": HOSTILE, "message": HOSTILE}})
        };
        stage.fault(
            json!({"route": route, "kind": "status", "status": 400, "body": body,
            "headers": {"x-ms-request-id": "a\u{9b}b"}}),
        );
        let request = ask(&stage.token()).value("A", "db-password");
        refusals.push(caller.refused(request).await);
        stage.emulator.clear_faults();
    }
    until("all are in the log", || {
        let log = stage.daemon.log();
        refusals
            .iter()
            .all(|refusal| log.contains(&refusal.request_id))
    })
    .await;
    refusals
}

fn is_harmless(line: &str) -> bool {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !line.chars().any(|c| c.is_control() || turns(c))
}

#[tokio::test]
async fn a_line_of_text_is_a_line_whatever_is_in_it() {
    let stage = Stage::new().await;
    let refusals = refused(&stage).await;
    let log = stage.daemon.log();
    for line in log.lines() {
        assert!(is_harmless(line), "{line:?}");
        assert!(line.starts_with("20") && line.contains("Z "), "{line:?}");
    }
    assert!(!log.contains("\n2026-01-01"), "{log}");
    for Refusal { request_id, .. } in refusals {
        let is_own = |line: &str| line.contains(&request_id) && line.contains("WARN");
        assert!(log.lines().any(is_own), "{request_id}");
    }
}

#[tokio::test]
async fn a_line_of_json_is_an_object_with_the_requests_id() {
    let stage = Stage::with(|config| config.text("log.format", "json")).await;
    let refusals = refused(&stage).await;
    let log = stage.daemon.log();
    let lines = log.lines().map(|line| {
        assert!(is_harmless(line), "{line:?}");
        serde_json::from_str::<Value>(line).unwrap()
    });
    let lines: Vec<Value> = lines.collect();
    for Refusal {
        request_id, reason, ..
    } in refusals
    {
        let mut own = lines
            .iter()
            .filter(|line| line["span"]["request_id"] == request_id);
        let said = own.find(|line| line["reason"] == reason.to_string());
        let said = said.unwrap_or_else(|| panic!("{request_id}: {log}"));
        assert_eq!(said["level"], "WARN", "{said}");
        assert_ne!(reason, Reason::Bug);
    }
}
