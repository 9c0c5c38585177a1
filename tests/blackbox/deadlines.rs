//! The caller's deadline, the operator's, and the caller's hanging up all reach the services.

use std::time::{Duration, Instant};

use runner_secrets_proto::Reason;
use serde_json::json;
use tonic::Request;

use crate::{
    call::{Ask, ask},
    crowd::is_full,
    daemon::until,
    stage::Stage,
};

/// As tonic's clients do it.
fn with_timeout(ask: Ask, timeout: Duration) -> Request<runner_secrets_proto::v1::ResolveRequest> {
    let mut request = Request::new(ask.0);
    request.set_timeout(timeout);
    request
}

async fn nobody_is_asked_any_more(stage: &Stage) {
    until("no request is active", || {
        stage.emulator.active_requests() == 0
    })
    .await;
}

#[tokio::test]
async fn the_callers_deadline_ends_a_request_with_our_answer() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    // One that the issuer's keys are known for, and that has bought its access token.
    let warm = stage.token();
    caller.bytes(ask(&warm).value("A", "db-password")).await;
    let cold = stage.token();
    for (route, token, service) in [
        ("token", cold, "Microsoft Entra ID"),
        ("secret", warm, "Key Vault"),
    ] {
        stage.fault(json!({"route": route, "kind": "hang"}));
        for timeout in [Duration::from_millis(200), Duration::from_millis(700)] {
            let request = ask(&token).file("A", "db-password");
            let since = Instant::now();
            let refusal = caller.send(with_timeout(request, timeout)).await;
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.reason, Reason::DeadlineExceeded, "{refusal:?}");
            assert!(since.elapsed() < timeout + Duration::from_secs(15));
            let waiting = format!("ran out while waiting for {service}");
            assert!(refusal.message.contains(&waiting), "{refusal:?}");
        }
        stage.emulator.clear_faults();
        nobody_is_asked_any_more(&stage).await;
    }
    assert!(stage.place.left().is_empty());
    // A long one changes nothing.
    let request = ask(&stage.token()).file("A", "db-password");
    let request = with_timeout(request, Duration::from_secs(3600));
    assert!(caller.send(request).await.is_ok());
}

#[tokio::test]
async fn the_operators_deadline_ends_a_request_whatever_the_caller_allows() {
    let stage = Stage::with(|config| config.text("limits.request_timeout", "700ms")).await;
    let caller = stage.caller().await;
    for route in ["token", "secret"] {
        stage.fault(json!({"route": route, "kind": "hang"}));
        for timeout in [None, Some(Duration::from_secs(3600))] {
            let request = ask(&stage.token()).file("A", "db-password");
            let mut request = Request::new(request.0);
            if let Some(timeout) = timeout {
                request.set_timeout(timeout);
            }
            let since = Instant::now();
            let refusal = caller.send(request).await.unwrap_err();
            assert_eq!(refusal.reason, Reason::DeadlineExceeded, "{refusal:?}");
            assert!(since.elapsed() < Duration::from_secs(15));
        }
        stage.emulator.clear_faults();
        nobody_is_asked_any_more(&stage).await;
    }
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn an_answer_that_drips_ends_at_the_deadline_as_well() {
    for route in ["token", "secret"] {
        let stage = Stage::with(|config| config.text("limits.request_timeout", "700ms")).await;
        stage.fault(json!({"route": route, "kind": "drip", "delay_ms": 100}));
        let request = ask(&stage.token()).file("A", "tls-cert");
        let refusal = stage.caller().await.refused(request).await;
        assert_eq!(refusal.reason, Reason::DeadlineExceeded, "{refusal:?}");
        nobody_is_asked_any_more(&stage).await;
        assert!(stage.place.left().is_empty());
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_what_was_asked_for_it() {
    let mut stage = Stage::new().await;
    let other = stage.caller().await;
    for route in ["token", "secret"] {
        stage.emulator.clear_requests();
        stage.fault(json!({"route": route, "kind": "hang"}));
        let caller = stage.caller().await;
        let request = ask(&stage.token())
            .file("A", "db-password")
            .file("B", "api-key");
        let call = tokio::spawn(async move { caller.resolve(request).await });
        stage.asked(route).await;
        call.abort();
        nobody_is_asked_any_more(&stage).await;
        let cancelled = stage.requests(route);
        assert!(cancelled.iter().all(|request| request.cancelled));
        stage.emulator.clear_faults();
    }
    stage.daemon.logs("abandoned: the caller hung up").await;
    assert!(stage.place.left().is_empty());
    let request = ask(&stage.token()).value("A", "db-password");
    assert_eq!(other.bytes(request).await.len(), 1);
}

/// A machine with other work is late now and then: half of the times count, and all of them where
/// nothing else runs, with `RUNNER_SECRETS_FULL=1`.
#[tokio::test]
async fn what_was_asked_for_a_caller_is_over_a_tenth_of_a_second_after_it_hung_up() {
    const SOON: Duration = Duration::from_millis(100);
    const TIMES: usize = 9;
    let stage = Stage::new().await;
    for route in ["token", "secret"] {
        stage.fault(json!({"route": route, "kind": "hang"}));
        let mut took = Vec::new();
        for _ in 0..TIMES {
            stage.emulator.clear_requests();
            let caller = stage.caller().await;
            let request = ask(&stage.token())
                .file("A", "db-password")
                .file("B", "api-key");
            let call = tokio::spawn(async move { caller.resolve(request).await });
            stage.asked(route).await;
            let since = Instant::now();
            call.abort();
            nobody_is_asked_any_more(&stage).await;
            took.push(since.elapsed());
        }
        took.sort_unstable();
        println!("{route}: over after {took:?}");
        let late = if is_full() { TIMES - 1 } else { TIMES / 2 };
        assert!(took[late] < SOON, "{route}: {took:?}");
        stage.emulator.clear_faults();
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_takes_nobody_else_with_it() {
    let stage = Stage::new().await;
    // Only the first token request hangs; who waits for what comes of it, asks again.
    stage.fault(json!({"route": "token", "kind": "hang", "count": 1}));
    let token = stage.token();
    let request = ask(&token).value("A", "db-password");
    let (first, second) = (stage.caller().await, stage.caller().await);
    let call = tokio::spawn({
        let request = request.clone();
        async move { first.resolve(request).await }
    });
    stage.asked("token").await;
    let waiting = tokio::spawn(async move { second.bytes(request).await });
    call.abort();
    assert_eq!(waiting.await.unwrap().len(), 1);
    assert_eq!(stage.counts(), (2, 1));
}
