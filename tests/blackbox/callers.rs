//! Who calls, as the kernel says: users that may not, tokens that another user presented, and
//! tokens of several jobs in one request.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use runner_secrets_proto::{Reason, v1::Secret};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    call::{ask, origin, secret},
    daemon::{PATIENCE, Place},
    job::{CLIENT, entry, stderr},
    signer,
    stage::Stage,
};

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

#[tokio::test]
async fn users_that_may_not_call_are_turned_away_before_their_request_is_read() {
    let nobody_here = own_uid() + 54_321;
    let mut stage =
        Stage::with(|config| config.set("listen.allowed_uids", format!("[{nobody_here}]"))).await;
    let caller = stage.caller().await;
    for method in ["Resolve", "Explain", "Release"] {
        // The answer is there though nothing but the head was ever sent.
        let refusal = caller.never_ends(method).await;
        assert_eq!(refusal.reason, Reason::CallerDenied, "{method}");
        assert_eq!(
            refusal.message,
            "this user of the host may not use the daemon"
        );
        stage.daemon.logs(&refusal.request_id).await;
        let log = stage.daemon.log();
        let line = log.lines().find(|line| line.contains(&refusal.request_id));
        let who = format!("uid={} gid=", own_uid());
        assert!(line.unwrap().contains(&who), "{line:?}");
    }
    // Not even what is wrong with it is said.
    for request in [
        ask(&stage.token()).file("A", "db-password"),
        ask("x").file("PATH", "../x"),
    ] {
        let refusal = caller.refused(request.clone()).await;
        assert_eq!(refusal.reason, Reason::CallerDenied);
        let refusal = caller.explain(request).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::CallerDenied);
    }
    assert!(stage.sent().is_empty());
    // Whoever looks after the daemon may ask how it is.
    let mut health = HealthClient::with_origin(caller.connection(), origin());
    health.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn users_that_may_call_are_served() {
    let allowed = format!("[{}, {}]", own_uid() + 54_321, own_uid());
    let stage = Stage::with(|config| config.set("listen.allowed_uids", allowed)).await;
    let request = ask(&stage.token()).value("A", "db-password");
    assert_eq!(stage.caller().await.bytes(request).await.len(), 1);
}

#[tokio::test]
async fn the_same_user_may_use_a_token_again_and_that_is_on_record() {
    let mut stage = Stage::new().await;
    let caller = stage.caller().await;
    let token = stage.token();
    let request = ask(&token).value("A", "db-password");
    for _ in 0..3 {
        caller.bytes(request.clone()).await;
    }
    // And on another connection.
    let other = stage.caller().await;
    other.explain(request).await.unwrap();
    for times in 2..=4 {
        let line = format!("a token is used again times={times} job_id=\"812\"");
        stage.daemon.logs(&line).await;
    }
    let again = stage.daemon.log().matches("a token is used again").count();
    assert_eq!(again, 3);
}

/// Whether this machine lets the test be another user. Where everything has to be tested, it must.
pub(crate) fn can_be_another_user() -> bool {
    let can = rustix::process::geteuid().is_root();
    assert!(
        can || std::env::var_os("CI").is_none(),
        "this has to run as root, to call as another user"
    );
    if !can {
        println!("skipped: only root can call as another user");
    }
    can
}

pub(crate) const ANOTHER: u32 = 65_534;

/// A job of another user, which reads one secret and does nothing with it.
async fn as_another(place: &Place, token: &str) -> Output {
    let mut command = Command::new(client(place));
    command.uid(ANOTHER).gid(ANOTHER);
    ends(place, token, command).await
}

/// The client, where other users get at it.
fn client(place: &Place) -> PathBuf {
    let client = place.path("client");
    if !client.exists() {
        fs::copy(CLIENT, &client).unwrap();
    }
    client
}

/// Runs the client, or what runs it, in that job.
async fn ends(place: &Place, token: &str, mut command: Command) -> Output {
    let mut spec = Map::new();
    spec.insert("A".to_owned(), entry("db-password", false));
    command.args(["exec", "--", "/bin/true"]).env_clear();
    command.stdin(Stdio::null());
    command.env("RUNNER_SECRETS_SOCKET", place.socket());
    command.env("RUNNER_SECRETS", Value::Object(spec).to_string());
    command.env("JWT", token).env("CI_JOB_ID", "812");
    let mut command = tokio::process::Command::from(command);
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    output.expect("the client does not end").unwrap()
}

fn assert_status(output: &Output, status: i32, sentence: &str) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(said.contains(sentence), "{said}");
}

const STOLEN: &str = "another user of this host presented the same ID token before";

#[tokio::test]
async fn a_token_is_of_the_user_who_presents_it_first() {
    if !can_be_another_user() {
        return;
    }
    let stage = Stage::with(|config| config.text("listen.socket_mode", "0666")).await;
    stage.place.open_to_all();
    let caller = stage.caller().await;
    let wanted = |token: &str| ask(token).value("A", "db-password");
    // Ours, by Resolve and then by Explain.
    let (resolved, explained) = (stage.token(), stage.token());
    caller.bytes(wanted(&resolved)).await;
    caller.explain(wanted(&explained)).await.unwrap();
    stage.emulator.clear_requests();
    for token in [&resolved, &explained] {
        let output = as_another(&stage.place, token).await;
        assert_status(&output, 77, STOLEN);
    }
    assert!(stage.sent().is_empty());
    // The owner goes on with it.
    caller.bytes(wanted(&resolved)).await;
    caller.bytes(wanted(&explained)).await;
    // Theirs, also when the policy denied it, and without an id too.
    let denied = stage.token_but(json!({"project_path": null}));
    let plain = stage.token_but(json!({"jti": null}));
    for (token, status) in [(stage.token(), 0), (denied, 77), (plain, 0)] {
        let output = as_another(&stage.place, &token).await;
        assert_status(&output, status, "");
        assert!(!stderr(&output).contains(STOLEN));
        stage.emulator.clear_requests();
        let refusal = caller.refused(wanted(&token)).await;
        assert_eq!(refusal.reason, Reason::CallerDenied, "{refusal:?}");
        assert_eq!(refusal.message, STOLEN);
        let refusal = caller.explain(wanted(&token)).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::CallerDenied, "{refusal:?}");
        let refusal = caller.release("x", &token).await.unwrap_err();
        assert_eq!(refusal.reason, Reason::CallerDenied, "{refusal:?}");
        assert!(stage.sent().is_empty());
        let output = as_another(&stage.place, &token).await;
        assert_status(&output, status, "");
    }
}

/// A container whose root is another user of the host, who may have whatever client it likes.
#[tokio::test]
async fn a_user_namespace_has_its_secrets_from_a_daemon_of_the_clients_owner() {
    const OUTER: u32 = 100_000;
    if !can_be_another_user() {
        return;
    }
    let stage = Stage::with(|config| {
        let config = config.text("listen.socket_mode", "0666");
        config.text("listen.delivery", "inline")
    })
    .await;
    stage.place.open_to_all();
    let client = client(&stage.place);
    let mapped = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user"]).arg(program);
        command.uid(OUTER).gid(OUTER);
        command
    };
    let output = ends(&stage.place, &stage.token(), mapped(&client)).await;
    assert_status(&output, 0, "");
    let record = stage.place.records().pop().unwrap();
    assert_eq!(record["caller"]["uid"], OUTER);
    // A program of the container's own does not trust the host's root, whom it cannot tell.
    chown(&client, Some(OUTER), Some(OUTER)).unwrap();
    let output = ends(&stage.place, &stage.token(), mapped(&client)).await;
    assert_status(&output, 77, "the owner of");
}

#[tokio::test]
async fn only_allowed_users_of_the_machine_are_served() {
    if !can_be_another_user() {
        return;
    }
    for (allowed, ours, theirs) in [(own_uid(), true, false), (ANOTHER, false, true)] {
        let stage = Stage::with(|config| {
            let allowed = format!("[{allowed}]");
            let config = config.set("listen.allowed_uids", allowed);
            config.text("listen.socket_mode", "0666")
        })
        .await;
        stage.place.open_to_all();
        let request = ask(&stage.token()).value("A", "db-password");
        let outcome = stage.caller().await.resolve(request).await;
        assert_eq!(outcome.is_ok(), ours, "{outcome:?}");
        let output = as_another(&stage.place, &stage.token()).await;
        if theirs {
            assert_status(&output, 0, "");
        } else {
            assert_status(&output, 77, "this user of the host may not use the daemon");
        }
    }
}

#[tokio::test]
async fn all_tokens_of_a_request_are_of_one_job() {
    let keys = Place::new();
    let emulator = crate::stage::emulator().await;
    let usual = emulator.ready().issuer_url.clone();
    // Two issuers: the emulator's and ours.
    signer::publish(&keys.path("jwks.json"));
    let second = format!(
        "[[issuer]]\nurl = {:?}\naudiences = [\"api://AzureADTokenExchange\"]\njwks_file = {:?}\n",
        signer::ISSUER,
        keys.path("jwks.json").display().to_string()
    );
    let stage = Stage::beside(emulator, |config| {
        config.text("rule.issuer", &usual).more(&second)
    })
    .await;
    let caller = stage.caller().await;
    let with = |own: &str| {
        let mut other = secret("api-key");
        own.clone_into(&mut other.id_token);
        ask(&stage.token())
            .file("A", "db-password")
            .with("B", other)
    };
    let another = "is of another job than the request's other tokens";
    for (what, own) in [
        ("job", stage.token_but(json!({"job_id": "813"}))),
        ("project", stage.token_but(json!({"project_id": "21"}))),
        ("issuer", signer::token()),
    ] {
        for request in [
            with(&own),
            with(&own).but("A", |secret: &mut Secret| secret.file = Some(false)),
        ] {
            let refusal = caller.refused(request.clone()).await;
            assert_eq!(refusal.reason, Reason::TokenInvalid, "{what}: {refusal:?}");
            assert!(refusal.message.ends_with(another), "{what}: {refusal:?}");
            let refusal = caller.explain(request).await.unwrap_err();
            assert!(refusal.message.ends_with(another), "{what}: {refusal:?}");
        }
    }
    assert!(stage.sent().is_empty());
    assert!(stage.place.left().is_empty());
    // Two tokens of one job are what `token:` is for.
    assert_eq!(caller.bytes(with(&stage.token())).await.len(), 2);
    assert_eq!(stage.counts(), (2, 2));
    // A daemon with several issuers still takes each one's tokens for themselves.
    let verdicts = caller.explain(ask(&signer::token()).file("A", "x")).await;
    assert!(
        !verdicts.unwrap()["A"].granted,
        "the rule is for the other issuer"
    );
}
