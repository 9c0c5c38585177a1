//! What a request costs: one token request and one GET for each secret, whatever their number.

use std::collections::BTreeMap;

use azure_emulator::Request;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    call::{Ask, Caller, ask},
    crowd::scaled,
    stage::Stage,
};

const SIZES: [usize; 3] = [1, 10, 50];

/// The secrets `count-0` and so on.
fn many(token: &str, count: usize) -> Ask {
    let each = |request: Ask, index| request.value(&format!("V{index}"), &format!("count-{index}"));
    (0..count).fold(ask(token), each)
}

fn put_many(stage: &Stage, count: usize) {
    for index in 0..count {
        stage.put(&format!("count-{index}"), &format!("value {index}"));
    }
}

/// Resolves and checks every value.
async fn read(caller: &Caller, token: &str, count: usize) {
    let bytes = caller.bytes(many(token, count)).await;
    assert_eq!(bytes.len(), count);
    for index in 0..count {
        assert_eq!(
            bytes[&format!("V{index}")],
            format!("value {index}").as_bytes()
        );
    }
}

/// How many requests each bearer token was used for.
fn by_bearer(requests: &[Request]) -> Vec<usize> {
    let mut uses: BTreeMap<String, usize> = BTreeMap::new();
    for request in requests {
        let bearer = &request.headers["authorization"];
        *uses.entry(bearer.to_string()).or_default() += 1;
    }
    let mut uses: Vec<usize> = uses.into_values().collect();
    uses.sort_unstable();
    uses
}

#[tokio::test]
async fn a_cold_request_for_n_secrets_costs_one_and_n_and_a_warm_one_n() {
    let stage = Stage::new().await;
    put_many(&stage, 50);
    let caller = stage.caller().await;
    for count in SIZES {
        let token = stage.token();
        stage.emulator.clear_requests();
        read(&caller, &token, count).await;
        assert_eq!(stage.counts(), (1, count), "cold");
        stage.emulator.clear_requests();
        read(&caller, &token, count).await;
        assert_eq!(stage.counts(), (0, count), "warm");
    }
}

/// 200 times over with `RUNNER_SECRETS_FULL=1`, else a tenth of that.
#[tokio::test]
async fn the_count_holds_for_concurrent_jobs_again_and_again() {
    let rounds = scaled(200);
    let stage = Stage::new().await;
    put_many(&stage, 50);
    for _ in 0..rounds {
        stage.emulator.clear_requests();
        let mut jobs = JoinSet::new();
        for (job, count) in SIZES.into_iter().enumerate() {
            let token = stage.token_but(json!({"job_id": job.to_string()}));
            let caller = stage.caller().await;
            jobs.spawn(async move {
                read(&caller, &token, count).await;
                read(&caller, &token, count).await;
            });
        }
        while let Some(done) = jobs.join_next().await {
            done.unwrap();
        }
        let all = SIZES.iter().sum::<usize>();
        assert_eq!(stage.counts(), (SIZES.len(), 2 * all));
        let requests = stage.requests("secret");
        assert_eq!(by_bearer(&requests), SIZES.map(|count| 2 * count));
        // None was challenged first.
        let answered = requests.iter().all(|request| request.status == Some(200));
        assert!(answered);
    }
}

#[tokio::test]
async fn requests_of_one_job_at_the_same_time_buy_one_access_token() {
    let stage = Stage::new().await;
    put_many(&stage, 1);
    let token = stage.token();
    let mut calls = JoinSet::new();
    for _ in 0..10 {
        let (caller, token) = (stage.caller().await, token.clone());
        calls.spawn(async move { read(&caller, &token, 1).await });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
    assert_eq!(stage.counts(), (1, 10));
}

#[tokio::test]
async fn what_is_asked_for_twice_is_read_once() {
    let stage = Stage::new().await;
    let old = stage.put("twice", "old");
    let new = stage.put("twice", "new");
    let request = ask(&stage.token())
        .file("FILE", "twice")
        .file("FILE_TOO", "twice")
        .value("VALUE", "Twice")
        .pinned("OLD", "twice", &old)
        .pinned("OLD_TOO", "TWICE", &old.to_uppercase());
    let bytes = stage.caller().await.bytes(request).await;
    assert_eq!(bytes["FILE"], b"new");
    assert_eq!(bytes["FILE_TOO"], b"new");
    assert_eq!(bytes["VALUE"], b"new");
    assert_eq!(bytes["OLD"], b"old");
    assert_eq!(bytes["OLD_TOO"], b"old");
    assert_ne!(old, new);
    assert_eq!(stage.counts(), (1, 2));
}
