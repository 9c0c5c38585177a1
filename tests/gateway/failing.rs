//! Jobs that cannot have their secrets: they fail, in GitLab's order, with a log that says why, and
//! the runner hears of none of it.

use std::{fs, time::Duration};

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    gitlab::State,
    site::{Site, entry, payload, variable},
    stage::object,
};

/// What a job asks for, and how that must end.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) secrets: Value,
    pub(crate) claims: Value,
    pub(crate) fault: Value,
    says: &'static str,
    reason: &'static str,
    advice: &'static str,
}

impl Case {
    fn of(name: &'static str, reason: &'static str, says: &'static str) -> Self {
        Self {
            name,
            secrets: json!({"DB": entry("db")}),
            claims: json!({}),
            fault: Value::Null,
            says,
            reason,
            advice: "  to fix      ",
        }
    }

    fn secrets(self, secrets: Value) -> Self {
        Self { secrets, ..self }
    }

    fn claims(self, claims: Value) -> Self {
        Self { claims, ..self }
    }

    fn fault(self, fault: Value) -> Self {
        let advice = "; try again in ";
        Self {
            fault,
            advice,
            ..self
        }
    }
}

/// The claims of a job's token, with others.
pub(crate) fn of_job(id: i64, others: Value) -> Value {
    let mut claims = object(others);
    let id = id.to_string().into();
    claims.entry("job_id").or_insert(id);
    claims.into()
}

pub(crate) fn cases() -> Vec<Case> {
    const CONFIGURATION: &str = "runner_configuration_error";
    const DEPENDENCY: &str = "runner_external_dependency_failure";
    vec![
        Case::of("policy", CONFIGURATION, "POLICY_DENIED")
            .claims(json!({"project_path": "other/project"})),
        Case::of("no such secret", CONFIGURATION, "SECRET_NOT_FOUND")
            .secrets(json!({"DB": entry("missing")})),
        Case::of(
            "another job's token",
            CONFIGURATION,
            "is of another job than the one that GitLab handed out",
        )
        .claims(json!({"job_id": "8"})),
        Case::of("expired", CONFIGURATION, "TOKEN_EXPIRED").claims(json!({"exp": 1_000_000_000})),
        Case::of("no token", CONFIGURATION, "TOKEN_INVALID")
            .secrets(json!({"DB": {"azure_key_vault": {"name": "db"}}})),
        Case::of(
            "no text",
            CONFIGURATION,
            "secrets.DB.azure_key_vault.name is no text",
        )
        .secrets(json!({"DB": {"azure_key_vault": {"name": 5}}})),
        Case::of(
            "no object",
            CONFIGURATION,
            "secrets.DB.azure_key_vault is no object",
        )
        .secrets(json!({"DB": {"azure_key_vault": "db"}})),
        Case::of("a name that acts", CONFIGURATION, "is reserved")
            .secrets(json!({"LD_PRELOAD": entry("db")})),
        Case::of("Entra", CONFIGURATION, "EXCHANGE_REFUSED")
            .claims(json!({"sub": "somebody else"})),
        Case::of("Entra is down", DEPENDENCY, "UPSTREAM_UNAVAILABLE")
            .fault(json!({"route": "token", "kind": "status", "status": 503})),
        Case::of("the vault hangs", DEPENDENCY, "DEADLINE_EXCEEDED")
            .fault(json!({"route": "secret", "kind": "hang"})),
        // Last, because the daemon remembers it.
        Case::of("the vault throttles", DEPENDENCY, "UPSTREAM_THROTTLED")
            .fault(json!({"route": "secret", "kind": "throttle", "retry_after": 120})),
    ]
}

#[tokio::test]
async fn a_job_fails_in_order_and_says_why() {
    let gitlab = crate::gitlab::GitLab::new().await;
    let site = Site::before(gitlab, "", |config| {
        let config = config.text("limits.request_timeout", "3s");
        config.set("rule.bound_claims", "{ project_path = 'acme/shop' }")
    })
    .await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    site.put("db", "one");
    for Case {
        name,
        secrets,
        claims,
        fault,
        says,
        reason,
        advice,
    } in cases()
    {
        site.emulator.clear_faults();
        if !fault.is_null() {
            site.fault(fault);
        }
        let variables = json!([variable("AZURE_JWT", &site.token_but(of_job(7, claims)))]);
        site.gitlab.forget();
        site.gitlab.job(7, payload(variables, secrets.clone()));
        assert!(runner.ask().await.is_nothing(), "{name}");
        assert_eq!(
            site.gitlab.lines(),
            [
                "PUT /api/v4/jobs/7 running",
                "PATCH /api/v4/jobs/7/trace",
                "PUT /api/v4/jobs/7 failed",
            ],
            "{name}"
        );
        let trace = site.gitlab.trace(7);
        assert_eq!(
            site.gitlab.state(7),
            State::Failed(reason.to_owned()),
            "{name}: {trace}"
        );
        assert!(trace.contains(says), "{name}: {trace}");
        assert!(trace.contains(advice), "{name}: {trace}");
        assert!(trace.starts_with("\u{1b}[0K\u{1b}[36;1mResolving secrets\u{1b}[0;m\u{1b}[0;m\n"));
        assert!(trace.contains(", request "), "{name}: {trace}");
        assert!(trace.contains("ERROR: Job failed ("), "{name}: {trace}");
        // The next job runs.
        site.emulator.clear_faults();
        site.gitlab.job(9, payload(json!([]), json!({})));
        runner.run(&runner.ask().await.job()).await;
        assert_eq!(site.gitlab.state(9), State::Success, "{name}");
    }
}

#[tokio::test]
async fn what_no_rule_allows_reaches_nobody() {
    let gitlab = crate::gitlab::GitLab::new().await;
    let site = Site::before(gitlab, "", |config| {
        config.set("rule.bound_claims", "{ project_path = 'other/project' }")
    })
    .await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    // The payload's own claims are nobody's.
    let mut job = payload(variables, json!({"DB": entry("db")}));
    job["job_info"]["project_full_path"] = "other/project".into();
    site.gitlab.job(7, job);
    assert!(runner.ask().await.is_nothing());
    assert_eq!(site.counts(), (0, 0));
    let trace = site.gitlab.trace(7);
    assert!(trace.contains("Resolving secret \"DB\"..."), "{trace}");
    assert!(
        trace.contains("Using \"azure-key-vault\" secret resolver..."),
        "{trace}"
    );
    assert!(trace.contains("POLICY_DENIED, request "), "{trace}");
}

/// Without a token nobody can fail the job, and with the entry in it nobody may have it.
#[tokio::test]
async fn a_job_that_cannot_be_told_is_not_handed_over() {
    let site = Site::new().await;
    for payload in [
        r#"{"secrets":{"A":{"azure_key_vault":{"name":"db"}}}}"#,
        r#"{"id":"7","token":"t","SECRETS":{"A":{"Azure_Key_Vault":{"name":"db"}}}}"#,
        r#"{"id":7,"token":null,"secrets":{"A":{"azure_key_vault":{"name":"db"}}}}"#,
    ] {
        let answer = hyper::Response::builder().status(201);
        let answer = answer.header("Content-Type", "application/json");
        site.gitlab.answers(answer.body(payload.into()).unwrap());
        let answer = site.runner().ask_once().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{payload}");
    }
    assert_eq!(site.counts(), (0, 0));
}

#[tokio::test]
async fn an_older_gitlab_is_told_what_it_knows() {
    let site = Site::new().await;
    site.gitlab.manners(|manners| {
        manners.two_phase = false;
        manners.accepted = 2;
    });
    let mut job = payload(
        json!([variable("AZURE_JWT", &site.token(7))]),
        json!({"DB": entry("missing")}),
    );
    job["features"] = Value::Null;
    site.gitlab.job(7, job);
    assert!(site.runner().ask().await.is_nothing());
    assert_eq!(
        site.gitlab.state(7),
        State::Failed("script_failure".to_owned())
    );
    let finals = site
        .gitlab
        .lines()
        .into_iter()
        .filter(|line| line.ends_with("failed"));
    assert_eq!(finals.count(), 3);
}

#[tokio::test]
async fn a_gitlab_that_stumbles_is_asked_again() {
    let site = Site::new().await;
    site.gitlab.manners(|manners| {
        manners.stumbles = [StatusCode::BAD_GATEWAY, StatusCode::TOO_MANY_REQUESTS].into();
    });
    site.gitlab.job(
        7,
        payload(
            json!([variable("AZURE_JWT", &site.token(7))]),
            json!({"DB": entry("missing")}),
        ),
    );
    assert!(site.runner().ask().await.is_nothing());
    let failed = State::Failed("runner_configuration_error".to_owned());
    assert_eq!(site.gitlab.state(7), failed);
}

/// GitLab lost half of the log, finds out by the checksum, and says what it has.
#[tokio::test]
async fn a_log_that_gitlab_has_half_of_is_sent_again() {
    let site = Site::new().await;
    site.gitlab.manners(|manners| manners.keeps = Some(20));
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    let secrets = json!({"DB": entry("missing")});
    site.gitlab.job(7, payload(variables, secrets));
    assert!(site.runner().ask().await.is_nothing());
    let trace = "PATCH /api/v4/jobs/7/trace";
    let failed = "PUT /api/v4/jobs/7 failed";
    // The whole, which GitLab does not take; the whole again, which it has the beginning of; the rest.
    assert_eq!(
        site.gitlab.lines(),
        [
            "PUT /api/v4/jobs/7 running",
            trace,
            failed,
            trace,
            trace,
            failed
        ]
    );
    let ended = State::Failed("runner_configuration_error".to_owned());
    assert_eq!(site.gitlab.state(7), ended);
    let log = site.gitlab.trace(7);
    assert!(log.contains("SECRET_NOT_FOUND"), "{log}");
    assert_eq!(log.matches("Resolving secrets").count(), 1, "{log}");
}

/// The last resort: a job that does nothing but fail, and never the one with `secrets` in it.
#[tokio::test]
async fn a_gitlab_that_refuses_has_the_runner_fail_the_job() {
    let site = Site::new().await;
    site.gitlab
        .manners(|manners| manners.refuses = Some(StatusCode::BAD_REQUEST));
    let mut job = payload(
        json!([variable("AZURE_JWT", &site.token(7))]),
        json!({"DB": entry("missing"), "V": {"vault": {}}}),
    );
    job["hooks"] = json!([{"name": "pre_get_sources_script", "script": ["rm"]}]);
    site.gitlab.job(7, job);
    let work = site.runner().ask().await.job();
    let script = work.payload["steps"][0]["script"].as_array().unwrap();
    assert!(
        script[0]
            .as_str()
            .unwrap()
            .starts_with("echo 'runner-secrets: DB: Key Vault has no secret"),
        "{script:?}"
    );
    assert_eq!(script.last().unwrap(), "exit 1");
    assert!(work.left_to_resolve().is_empty());
    assert!(work.payload["hooks"].is_null());
    assert_eq!(work.variables().last().unwrap()["key"], "GIT_STRATEGY");
}

#[tokio::test]
async fn gitlab_hears_of_a_job_that_takes_long_and_a_cancelled_one_is_let_go() {
    let site = Site::with("keep_alive = \"20ms\"").await;
    site.put("db", "one");
    site.fault(json!({"route": "secret", "kind": "hang"}));
    site.gitlab.job(
        7,
        payload(
            json!([variable("AZURE_JWT", &site.token(7))]),
            json!({"DB": entry("db")}),
        ),
    );
    let runner = site.runner();
    let asking = tokio::spawn(async move { runner.ask().await });
    let heard = || {
        site.gitlab
            .lines()
            .iter()
            .filter(|line| line.ends_with("pending"))
            .count()
    };
    crate::daemon::until("three keep-alives", || heard() >= 3).await;
    // Somebody cancels it.
    site.gitlab
        .manners(|manners| manners.refuses = Some(StatusCode::FORBIDDEN));
    assert!(asking.await.unwrap().is_nothing());
    assert_eq!(site.gitlab.state(7), State::Waiting);
    assert!(
        site.gitlab
            .lines()
            .iter()
            .all(|line| line.ends_with("pending"))
    );
}

#[tokio::test]
async fn without_an_audit_trail_no_job_is_asked_for() {
    let mut site = Site::new().await;
    site.put("db", "one");
    site.gitlab.job(
        7,
        payload(
            json!([variable("AZURE_JWT", &site.token(7))]),
            json!({"DB": entry("db")}),
        ),
    );
    // A directory where the file was: what is written next has nowhere to go.
    let trail = site.place.trail();
    fs::remove_file(&trail).unwrap();
    fs::create_dir(&trail).unwrap();
    site.daemon.signal(rustix::process::Signal::HUP);
    let runner = site.runner();
    let since = std::time::Instant::now();
    let status = loop {
        let status = runner.ask_once().await.unwrap().status();
        if status == StatusCode::SERVICE_UNAVAILABLE || since.elapsed() > Duration::from_secs(30) {
            break status;
        }
        // It noticed only when it had the job.
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(
            site.gitlab.state(7),
            State::Failed("runner_system_failure".to_owned())
        );
        assert!(site.gitlab.trace(7).contains("AUDIT_FAILED"));
    };
    assert_eq!(
        status,
        StatusCode::SERVICE_UNAVAILABLE,
        "{}",
        site.daemon.log()
    );
    assert_eq!(site.counts().1, 0);
    site.daemon.logs("not ready").await;
}
