//! Runners that hang up, daemons that stop or are killed, in the middle of polls, jobs and uploads.

use std::time::Duration;

use hyper::body::Bytes;
use reqwest::StatusCode;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    daemon::until,
    gitlab::{GitLab, RUNNER_TOKEN, State},
    runner::Seen,
    site::{Site, entry, payload, variable},
};

fn job(site: &Site, id: i64) {
    let variables = json!([variable("AZURE_JWT", &site.token(id))]);
    site.gitlab
        .job(id, payload(variables, json!({"DB": entry("db")})));
}

#[tokio::test]
async fn a_runner_that_hangs_up_loses_no_job() {
    let site = Site::new().await;
    site.put("db", "one");
    site.fault(json!({"route": "secret", "kind": "hang"}));
    job(&site, 7);
    let runner = site.runner();
    let asking = tokio::spawn(async move { runner.ask_once().await.map(drop) });
    site.reading().await;
    asking.abort();
    let told = || {
        site.gitlab
            .lines()
            .contains(&"PUT /api/v4/jobs/7 pending".to_owned())
    };
    until("GitLab is asked to keep the job", told).await;
    assert_eq!(site.gitlab.state(7), State::Waiting);
    let abandoned = |record: &Value| record["reason"] == "ABANDONED";
    site.place
        .recorded("that it was abandoned", abandoned)
        .await;
    // Nobody acknowledged it, so another runner gets it.
    site.emulator.clear_faults();
    site.gitlab.wait(Duration::from_secs(121));
    let runner = site.runner();
    let work = runner.ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    runner.run(&work).await;
    assert_eq!(site.gitlab.state(7), State::Success);
}

#[tokio::test]
async fn an_older_gitlab_is_told_that_nobody_runs_the_job() {
    let site = Site::new().await;
    site.gitlab.manners(|manners| manners.two_phase = false);
    site.fault(json!({"route": "secret", "kind": "hang"}));
    job(&site, 7);
    let runner = site.runner();
    let asking = tokio::spawn(async move { runner.ask_once().await.map(drop) });
    site.reading().await;
    asking.abort();
    let failed = State::Failed("runner_system_failure".to_owned());
    until("the job has failed", || site.gitlab.state(7) == failed).await;
    let trace = site.gitlab.trace(7);
    assert!(trace.contains("the runner went away"), "{trace}");
}

#[tokio::test]
async fn a_job_that_was_handed_over_is_never_touched_again() {
    let mut site = Site::new().await;
    site.put("db", "one");
    job(&site, 7);
    let runner = site.runner();
    let work = runner.ask().await.job();
    drop(runner);
    site.daemon.stop(Signal::TERM).await;
    assert!(site.gitlab.lines().is_empty(), "{:?}", site.gitlab.lines());
    site.restart().await;
    site.runner().run(&work).await;
    assert_eq!(site.gitlab.state(7), State::Success);
}

#[tokio::test]
async fn a_daemon_that_is_killed_takes_no_job_with_it() {
    let mut site = Site::new().await;
    site.put("db", "one");
    site.fault(json!({"route": "secret", "kind": "hang"}));
    job(&site, 7);
    let runner = site.runner();
    let asking = tokio::spawn(async move { runner.ask_once().await.map(drop) });
    site.reading().await;
    site.daemon.signal(Signal::KILL);
    site.daemon.ends().await;
    assert!(asking.await.unwrap().is_err());
    assert!(site.place.left().is_empty());
    site.emulator.clear_faults();
    site.restart().await;
    site.gitlab.wait(Duration::from_secs(121));
    let runner = site.runner();
    let site = site.ready(&runner).await;
    let work = runner.ask().await.job();
    runner.run(&work).await;
    assert_eq!(site.gitlab.state(7), State::Success);
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_gitlab_holds_a_poll_loses_no_job() {
    let gitlab = GitLab::new().await;
    gitlab.manners(|manners| manners.holds = true);
    let site = Site::before(gitlab, "", |config| config).await;
    let runner = site.runner();
    let mut site = site.ready(&runner).await;
    site.put("db", "one");
    let asking = tokio::spawn(async move { runner.ask_once().await.map(drop) });
    until("GitLab holds the poll", || site.gitlab.polling() == 1).await;
    site.daemon.signal(Signal::KILL);
    site.daemon.ends().await;
    assert!(asking.await.unwrap().is_err());
    until("GitLab notices", || site.gitlab.polling() == 0).await;
    // A job that comes while nobody asks waits for the next who does.
    job(&site, 7);
    site.restart().await;
    let runner = site.runner();
    let work = loop {
        let answer = runner.ask_once().await.unwrap();
        match answer.status() {
            StatusCode::CREATED => break answer.bytes().await.unwrap(),
            // The new daemon does not have the issuer's keys yet.
            status => assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE),
        }
    };
    let work: Value = serde_json::from_slice(&work).unwrap();
    assert_eq!(work["id"], 7);
    assert_eq!(site.gitlab.state(7), State::Waiting);
}

#[tokio::test]
async fn an_upload_that_a_killed_daemon_cut_off_can_be_made_again() {
    let mut site = Site::new().await;
    let runner = site.runner();
    let url = runner.api("jobs/7/artifacts");
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
    let upload = runner.http().post(&url).body(reqwest::Body::wrap(body));
    let uploading = tokio::spawn(upload.send());
    sender.send_data(Bytes::from("first")).await.unwrap();
    until("the upload has begun", || site.gitlab.uploaded() == 5).await;
    site.daemon.signal(Signal::KILL);
    site.daemon.ends().await;
    // The runner is not told that it went well, which is how it knows to try again.
    assert!(uploading.await.unwrap().is_err());
    site.restart().await;
    let again = site.runner().http().post(&url).body("first and second");
    let uploaded = again.send().await.unwrap();
    assert_eq!(uploaded.status(), StatusCode::CREATED);
    assert_eq!(uploaded.text().await.unwrap(), "16");
}

#[tokio::test]
async fn stopping_lets_an_upload_end() {
    let mut site = Site::new().await;
    let runner = site.runner();
    let (mut sender, body) = http_body_util::channel::Channel::<Bytes, std::io::Error>::new(1);
    let url = runner.api("jobs/7/artifacts");
    let upload = runner.http().post(url).body(reqwest::Body::wrap(body));
    let uploading = tokio::spawn(upload.send());
    sender.send_data(Bytes::from("first")).await.unwrap();
    until("the upload has begun", || site.gitlab.uploaded() == 5).await;
    site.daemon.signal(Signal::TERM);
    site.daemon.logs("stopping").await;
    // Nobody new is let in.
    assert!(site.runner().ask_once().await.is_err());
    sender.send_data(Bytes::from("second")).await.unwrap();
    drop(sender);
    let uploaded = uploading.await.unwrap().unwrap();
    assert_eq!(uploaded.status(), StatusCode::CREATED);
    assert_eq!(uploaded.text().await.unwrap(), "11");
    assert_eq!(site.daemon.ends().await.code(), Some(0));
}

#[tokio::test]
async fn stopping_lets_go_of_a_poll_that_gitlab_holds() {
    let gitlab = GitLab::new().await;
    gitlab.manners(|manners| manners.holds = true);
    let site = Site::before(gitlab, "", |config| {
        config.text("limits.stop_timeout", "500ms")
    })
    .await;
    let runner = site.runner();
    let mut site = site.ready(&runner).await;
    let asking = tokio::spawn(async move { runner.ask_once().await.unwrap().status() });
    until("GitLab holds the poll", || site.gitlab.polling() == 1).await;
    site.daemon.signal(Signal::TERM);
    assert_eq!(asking.await.unwrap(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        site.daemon.ends().await.code(),
        Some(0),
        "{}",
        site.daemon.log()
    );
    until("GitLab is left alone", || site.gitlab.polling() == 0).await;
}

#[tokio::test]
async fn a_held_poll_brings_the_job_that_comes() {
    let gitlab = GitLab::new().await;
    gitlab.manners(|manners| manners.holds = true);
    let site = Site::before(gitlab, "", |config| config).await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    site.put("db", "one");
    let asking = tokio::spawn(async move { runner.ask().await });
    until("GitLab holds the poll", || site.gitlab.polling() == 1).await;
    job(&site, 7);
    let work = asking.await.unwrap().job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
}

#[tokio::test]
async fn without_keys_no_job_is_asked_for() {
    let gitlab = GitLab::new().await;
    let site = Site::before(gitlab, "", |config| {
        config.text("issuer.url", crate::daemon::NOBODY)
    })
    .await;
    job(&site, 7);
    let answer = site.runner().ask_once().await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.gitlab.state(7), State::Queued);
    assert!(site.gitlab.asked().is_empty());
    // Everything else passes.
    let runner = site.runner();
    let other = runner
        .http()
        .post(runner.api("runners/verify"))
        .body(RUNNER_TOKEN);
    assert_eq!(other.send().await.unwrap().status(), StatusCode::OK);
}
