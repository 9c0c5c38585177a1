//! What a vault says to one job counts for all: pauses, failures, and access tokens that it does not
//! take any more.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use runner_secrets_proto::Reason;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Request;

use crate::{
    call::ask,
    crowd::{is_full, scaled},
    stage::{Stage, vault_url, vaults},
};

/// When the requests to one vault arrived, in order.
fn arrivals(stage: &Stage, vault: &str) -> Vec<OffsetDateTime> {
    let host = format!("{vault}.vault.azure.net");
    let requests = stage.requests("secret").into_iter();
    let requests = requests.filter(|request| request.host.trim_end_matches(":443") == host);
    requests
        .map(|request| OffsetDateTime::parse(&request.time, &Rfc3339).unwrap())
        .collect()
}

#[tokio::test]
async fn during_a_pause_nothing_is_sent_to_that_vault_and_then_all_are_served() {
    let stage = Stage::with(|config| vaults(config, ["other".to_owned()])).await;
    stage.emulator.set_permissions(vec![stage.everything()]);
    stage.put_in("other", "x", "x");
    let caller = stage.caller().await;
    stage.fault(json!({
        "route": "secret", "kind": "throttle", "retry_after": 3, "count": 1,
        "host": "demo.vault.azure.net",
    }));
    let first = tokio::spawn({
        let (caller, token) = (caller.clone(), stage.token());
        async move { caller.bytes(ask(&token).value("A", "db-password")).await }
    });
    crate::daemon::until("the vault was asked", || {
        stage
            .requests("secret")
            .iter()
            .any(|request| request.status == Some(429))
    })
    .await;
    // Whoever cannot wait is told so at once, and when to come back.
    let mut impatient = Request::new(ask(&stage.token()).value("A", "db-password").0);
    impatient.set_timeout(Duration::from_millis(1500));
    let refusal = caller.send(impatient).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::UpstreamThrottled, "{refusal:?}");
    let retry = refusal.retry.unwrap();
    assert!(
        retry > Duration::from_secs(1) && retry <= Duration::from_secs(3),
        "{retry:?}"
    );
    // It is no matter of another vault.
    let since = Instant::now();
    let other = ask(&stage.token()).value("A", "x");
    caller
        .bytes(other.server("A", &vault_url("other"), "", ""))
        .await;
    assert!(since.elapsed() < Duration::from_secs(2));
    let jobs = (0..20).map(|_| {
        let token = stage.token();
        let caller = caller.clone();
        async move { caller.bytes(ask(&token).value("A", "db-password")).await }
    });
    join_all(jobs).await;
    first.await.unwrap();
    let arrivals = arrivals(&stage, "demo");
    assert_eq!(arrivals.len(), 22);
    let pause = arrivals[1] - arrivals[0];
    assert!(pause >= Duration::from_millis(2990), "{pause}");
}

#[tokio::test]
async fn without_a_word_on_how_long_pauses_grow_and_end() {
    let stage = Stage::new().await;
    stage.fault(json!({"route": "secret", "kind": "throttle", "count": 2}));
    let caller = stage.caller().await;
    caller
        .bytes(ask(&stage.token()).value("A", "db-password"))
        .await;
    let arrivals = arrivals(&stage, "demo");
    assert_eq!(arrivals.len(), 3);
    for (pair, most) in arrivals.windows(2).zip([1.0, 2.0]) {
        let pause = (pair[1] - pair[0]).as_seconds_f64();
        // Half of it at least, and no more than a busy machine adds.
        assert!(pause >= most / 2.0 && pause < most + 1.0, "{pause}");
    }
    // It does not go on for ever.
    stage.emulator.clear_requests();
    stage.fault(json!({"route": "secret", "kind": "throttle"}));
    let refusal = caller
        .refused(ask(&stage.token()).value("A", "db-password"))
        .await;
    assert_eq!(refusal.reason, Reason::UpstreamThrottled);
    assert_eq!(stage.counts(), (1, 3));
}

#[tokio::test]
async fn an_outage_causes_no_storm_and_its_end_is_noticed_within_seconds() {
    let (callers, seconds) = (scaled(200), scaled(30));
    let stage = Stage::with(|config| config.set("limits.upstream_requests", 16)).await;
    let outage = Duration::from_secs(u64::try_from(seconds).unwrap());
    // Their access tokens are bought before: it is the vault that fails.
    let mut jobs = Vec::new();
    for _ in 0..callers {
        let (caller, token) = (stage.caller().await, stage.token());
        caller.bytes(ask(&token).value("A", "db-password")).await;
        jobs.push((caller, token));
    }
    stage.emulator.clear_requests();
    stage.fault(json!({"route": "secret", "kind": "status", "status": 503, "delay_ms": 20}));
    let since = Instant::now();
    let served = jobs.into_iter().map(|(caller, token)| async move {
        loop {
            let request = ask(&token).value("A", "db-password");
            match caller.resolve(request).await {
                Ok(_) => return since.elapsed(),
                Err(refusal) => assert!(
                    [Reason::UpstreamUnavailable, Reason::Overloaded].contains(&refusal.reason),
                    "{refusal:?}"
                ),
            }
        }
    });
    let mut served = std::pin::pin!(join_all(served));
    let ended = tokio::select! {
        _ = &mut served => panic!("nobody can be served during the outage"),
        () = tokio::time::sleep(outage) => since.elapsed(),
    };
    let asked = stage.counts().1;
    stage.emulator.clear_faults();
    let last = served.await.into_iter().max().unwrap();
    // What was under way, what shows that it is an outage, and one a second.
    let bound = 16 + 5 + seconds + 1;
    assert!(
        asked <= bound,
        "{asked} requests, and {bound} would be right"
    );
    let took = last.checked_sub(ended).unwrap();
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn an_access_token_that_the_vault_does_not_take_any_more_is_replaced_once() {
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let request = ask(&token).value("A", "db-password").value("B", "api-key");
    caller.bytes(request.clone()).await;
    assert_eq!(stage.counts(), (1, 2));
    stage.emulator.clear_requests();
    let refused = json!({"route": "secret", "kind": "vault_error", "code": "AKV10022", "count": 2});
    stage.fault(refused.clone());
    assert_eq!(caller.bytes(request.clone()).await.len(), 2);
    // Both were refused, one bought a new token for both.
    assert_eq!(stage.counts(), (1, 4));
    stage.emulator.clear_requests();
    caller.bytes(request.clone()).await;
    assert_eq!(stage.counts(), (0, 2));
    // One that is refused whatever it is shown is not asked twice, and its tokens are not kept.
    let mut always = refused;
    always["count"] = 100.into();
    stage.fault(always);
    let single = ask(&token).value("A", "db-password");
    for expected in [(1, 2), (1, 1), (1, 1)] {
        stage.emulator.clear_requests();
        let refusal = caller.refused(single.clone()).await;
        assert_eq!(refusal.reason, Reason::VaultForbidden, "{refusal:?}");
        assert_eq!(stage.counts(), expected);
    }
}

#[tokio::test]
async fn the_reads_of_a_vault_stay_within_the_operators_budget() {
    let stage = Stage::with(|config| config.set("limits.vault_reads", 90)).await;
    let (caller, token) = (stage.caller().await, stage.token());
    // 40 at once, and then five a second.
    let jobs = (0..48).map(|_| caller.bytes(ask(&token).value("A", "db-password")));
    join_all(jobs).await;
    let arrivals = arrivals(&stage, "demo");
    let took = arrivals[47] - arrivals[0];
    assert!(took >= Duration::from_millis(1500), "{took}");
    assert!(took < Duration::from_secs(8), "{took}");
}

#[tokio::test]
async fn a_matrix_of_jobs_that_starts_at_once_is_served_and_throttles_nobody() {
    let (jobs, secrets) = if is_full() { (100, 30) } else { (100, 10) };
    let stage = Stage::new().await;
    for index in 0..secrets {
        stage.put(&format!("matrix-{index}"), "x");
    }
    let started = (0..jobs).map(|job| {
        let token = stage.token_but(json!({"job_id": job.to_string()}));
        let request = (0..secrets).fold(ask(&token), |request, index| {
            request.file(&format!("V{index}"), &format!("matrix-{index}"))
        });
        let stage = &stage;
        async move { stage.caller().await.bytes(request).await.len() }
    });
    let started: Vec<_> = started.collect();
    stage.emulator.clear_requests();
    assert_eq!(join_all(started).await, vec![secrets; jobs]);
    assert_eq!(stage.counts(), (jobs, jobs * secrets));
    let arrivals = arrivals(&stage, "demo");
    // Key Vault takes 4,000 in ten seconds.
    for window in arrivals.windows(3601) {
        assert!(window[3600] - window[0] > Duration::from_secs(10));
    }
}

#[tokio::test]
async fn connections_that_the_services_close_cost_nothing() {
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let request = ask(&token).value("A", "db-password").value("B", "api-key");
    caller.bytes(request.clone()).await;
    for _ in 0..3 {
        stage.emulator.close_connections();
        crate::daemon::until("all connections are closed", || {
            stage.emulator.connections().open == 0
        })
        .await;
        stage.emulator.clear_requests();
        caller.bytes(request.clone()).await;
        assert_eq!(stage.counts(), (0, 2));
        let requests = stage.requests("secret");
        assert!(requests.iter().all(|request| request.status == Some(200)));
    }
}

/// Takes a minute, and so `RUNNER_SECRETS_FULL=1`.
#[tokio::test]
async fn after_a_quiet_minute_connections_are_still_there() {
    if !is_full() {
        println!("skipped: RUNNER_SECRETS_FULL=1 waits for a minute");
        return;
    }
    let stage = Stage::new().await;
    let (caller, token) = (stage.caller().await, stage.token());
    let request = ask(&token).value("A", "db-password");
    caller.bytes(request.clone()).await;
    let before = stage.emulator.connections().accepted;
    tokio::time::sleep(Duration::from_secs(61)).await;
    // The caller's own is closed by then.
    let caller = stage.caller().await;
    caller.bytes(request).await;
    caller
        .bytes(ask(&stage.token()).value("A", "db-password"))
        .await;
    assert_eq!(stage.emulator.connections().accepted, before);
}
