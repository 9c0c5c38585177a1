//! Canaries: no token and no value is in any output of a gateway, however loud the log and whatever
//! becomes of the jobs.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::{
    canaries::Canaries,
    failing::{Case, cases, of_job},
    gitlab::{GitLab, RUNNER_TOKEN},
    runner::Seen,
    site::{Site, entry, payload, variable},
};

const VALUE: &str = "Canary4712ValueOfTheSecret";

/// A gateway that says everything that it can.
async fn loud(keys: &str) -> Site {
    let site = Site::before(GitLab::new().await, keys, |config| {
        let config = config.text("log.level", "trace");
        let config = config.text("limits.request_timeout", "3s");
        config.set("rule.bound_claims", "{ project_path = 'acme/shop' }")
    })
    .await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    site.put("db", VALUE);
    site
}

/// Everything that the daemon has written by the time it has stopped.
async fn written(site: &mut Site) -> Vec<(String, Vec<u8>)> {
    site.daemon.stop(Signal::TERM).await;
    let log = site.daemon.log();
    assert!(log.contains("TRACE"), "the log is not loud");
    assert!(log.contains("hyper"), "the libraries are not heard");
    let trail = fs::read(site.place.trail()).unwrap();
    assert!(trail.len() > 1000);
    vec![
        ("the log".to_owned(), log.into_bytes()),
        ("the trail".to_owned(), trail),
    ]
}

#[tokio::test]
async fn no_canary_is_seen_whatever_becomes_of_a_job() {
    let mut site = loud("strip_id_tokens = true").await;
    let runner = site.runner();
    let mut canaries = Canaries::default();
    canaries.add(RUNNER_TOKEN);
    let mut outputs = Vec::new();

    let token = site.token(6);
    canaries.add_token(&token);
    canaries.add("token-of-job-6");
    let secrets = json!({"DB": entry("db")});
    let spec = json!({"API": {"file": false, "azure_key_vault": {"name": "db"}}});
    let variables = json!([
        variable("AZURE_JWT", &token),
        variable("RUNNER_SECRETS", &spec.to_string()),
    ]);
    site.gitlab.job(6, payload(variables, secrets));
    let work = runner.ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File(VALUE.to_owned()));
    assert_eq!(work.environment()["API"], Seen::Value(VALUE.to_owned()));
    runner.run(&work).await;

    canaries.add("token-of-job-7");
    for Case {
        name,
        secrets,
        claims,
        fault,
        ..
    } in cases()
    {
        site.emulator.clear_faults();
        if !fault.is_null() {
            site.fault(fault);
        }
        let token = site.token_but(of_job(7, claims));
        canaries.add_token(&token);
        site.gitlab.forget();
        let variables = json!([variable("AZURE_JWT", &token)]);
        site.gitlab.job(7, payload(variables, secrets));
        assert!(runner.ask().await.is_nothing(), "{name}");
        let trace = site.gitlab.trace(7).into_bytes();
        outputs.push((format!("the job's log, {name}"), trace));
    }
    canaries.add(VALUE);
    canaries.add_sent(&site.emulator);
    outputs.extend(written(&mut site).await);
    for (place, output) in &outputs {
        canaries.assert_absent(place, output);
    }
}

/// A payload that is not understood is quoted nowhere, either.
#[tokio::test]
async fn no_canary_is_seen_of_what_is_no_job() {
    let mut site = loud("").await;
    let token = site.token(7);
    let mut canaries = Canaries::default();
    canaries.add_token(&token);
    canaries.add(VALUE);
    for payload in [
        format!(
            "{{\"id\":7,\"token\":\"t\",\"variables\":[{{\"key\":\"J\",\"value\":\"{token}\"}}"
        ),
        format!(
            "{{\"id\":\"{VALUE}\",\"token\":[\"{token}\"],\"secrets\":{{\"A\":{{\"azure_key_vault\":{{\"name\":\"{VALUE}\"}}}}}}}}"
        ),
        format!(
            "{{\"id\":7,\"token\":\"{token}\",\"secrets\":{{\"A\":{{\"azure_key_vault\":\"{token}\"}}}}}}"
        ),
        token.clone(),
    ] {
        let answer = hyper::Response::builder().status(201);
        let answer = answer.header("Content-Type", "application/json");
        site.gitlab.answers(answer.body(payload.into()).unwrap());
        drop(site.runner().ask_once().await.unwrap());
    }
    for (place, output) in written(&mut site).await {
        canaries.assert_absent(&place, &output);
    }
}
