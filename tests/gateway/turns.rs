//! Jobs wait for their turn like any other request, and none is taken from GitLab while there is no
//! room for it to wait.

use std::time::Instant;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    daemon::{PATIENCE, until},
    gitlab::{GitLab, State},
    runner::{Runner, Seen},
    site::{Site, entry, payload, variable},
};

fn job(site: &Site, id: i64) {
    let variables = json!([variable("AZURE_JWT", &site.token(id))]);
    site.gitlab
        .job(id, payload(variables, json!({"DB": entry("db")})));
}

/// Polls until that is answered with `status`.
async fn answered(runner: &Runner, status: StatusCode) {
    let since = Instant::now();
    while runner.ask_once().await.unwrap().status() != status {
        assert!(since.elapsed() < PATIENCE, "never {status}");
    }
}

#[tokio::test]
async fn a_job_waits_for_its_turn_and_stays_in_gitlab_where_there_is_no_room_to_wait() {
    let bounded =
        |config: crate::daemon::Config| config.set("limits.requests", 1).set("limits.queue", 1);
    let site = Site::before(GitLab::new().await, "", bounded).await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    site.put("db", "one");
    site.fault(json!({"route": "secret", "kind": "hang"}));
    job(&site, 7);
    let asking = tokio::spawn({
        let runner = site.runner();
        async move { runner.ask_once().await.map(drop) }
    });
    site.reading().await;
    job(&site, 8);
    let waiting = tokio::spawn({
        let runner = site.runner();
        async move { runner.ask().await.job() }
    });
    let taken = || site.gitlab.state(8) == State::Waiting;
    until("the second job is taken", taken).await;
    answered(&runner, StatusCode::SERVICE_UNAVAILABLE).await;
    job(&site, 9);
    answered(&runner, StatusCode::SERVICE_UNAVAILABLE).await;
    assert_eq!(site.gitlab.state(9), State::Queued);
    assert_eq!(site.counts().1, 1, "the second job did not wait");

    // The first gives its place up, and the second has it.
    site.emulator.clear_faults();
    asking.abort();
    let work = waiting.await.unwrap();
    assert_eq!(work.id(), 8);
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    let work = runner.ask().await.job();
    assert_eq!(work.id(), 9);
}

#[tokio::test]
async fn no_rate_fails_a_job_that_gitlab_has_handed_out() {
    let slow = |config: crate::daemon::Config| config.set("limits.caller_rate", 1);
    let site = Site::before(GitLab::new().await, "", slow).await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    site.put("db", "one");
    // Ten at once are what a rate of one a second lets a caller have.
    for id in 1..=25 {
        job(&site, id);
        let work = runner.ask().await.job();
        let variables: Vec<Value> = work.variables();
        assert!(variables.iter().any(|variable| variable["key"] == "DB"));
    }
}
