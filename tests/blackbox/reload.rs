//! SIGHUP: a good policy and another level of the log take effect, a bad file changes nothing, what
//! needs a restart is named, and what is under way goes on.

use std::{fs, time::Instant};

use runner_secrets_proto::Reason;
use rustix::process::Signal;
use serde_json::json;

use crate::{
    admin::{Admin, LISTEN},
    call::ask,
    daemon::Config,
    stage::{Stage, config},
};

fn rules(name: &str, secrets: &str) -> String {
    format!(
        "[[rule]]\nname = {name:?}\nbound_claims = {{ project_path = \"acme/shop\" }}\n\
         vaults = [\"https://demo.vault.azure.net\"]\nsecrets = {secrets}\n"
    )
}

/// Writes another configuration and has it read; it is in force, or refused, at this line.
async fn reload(stage: &mut Stage, change: impl FnOnce(Config) -> Config, line: &str) {
    let seen = stage.daemon.log().matches(line).count();
    change(config(&stage.place, &stage.emulator)).write(&stage.place.path("config.toml"));
    stage.daemon.signal(Signal::HUP);
    stage.daemon.logs_more(line, seen).await;
}

#[tokio::test]
async fn a_good_policy_takes_effect() {
    let mut stage = Stage::with(|config| config.rules(&rules("first", "[\"db-*\"]"))).await;
    let caller = stage.caller().await;
    let (db, key) = ("db-password", "api-key");
    let wanted = |stage: &Stage, name: &str| ask(&stage.token()).value("A", name);
    caller.bytes(wanted(&stage, db)).await;
    let refusal = caller.refused(wanted(&stage, key)).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied);
    let second = rules("second", "[\"api-*\"]");
    reload(
        &mut stage,
        |config| config.rules(&second),
        "policy reloaded",
    )
    .await;
    caller.bytes(wanted(&stage, key)).await;
    // On a connection that was there before, with a token that was good before.
    let refusal = caller.refused(wanted(&stage, db)).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied);
    assert!(refusal.message.contains("rule \"second\""), "{refusal:?}");
    // Both policies are on record by their hashes, and the first was when it came into force.
    let log = stage.daemon.log();
    let value = |line: &str, key: &str| {
        let line = log.lines().find(|said| said.contains(line)).unwrap();
        let (_, rest) = line.split_once(&format!(" {key}=")).unwrap();
        rest.split([' ', '\n'])
            .next()
            .unwrap()
            .trim_matches('"')
            .to_owned()
    };
    let (first, old) = (
        value("policy in force", "hash"),
        value("policy reloaded", "old"),
    );
    assert_eq!(first, old);
    assert_ne!(old, value("policy reloaded", "new"));
    assert_eq!(old.len(), 64, "{old}");
    // No rule at all is a policy too: it denies everything.
    reload(&mut stage, |config| config.rules(""), "policy reloaded").await;
    for name in [db, key] {
        let refusal = caller.refused(wanted(&stage, name)).await;
        assert_eq!(refusal.reason, Reason::PolicyDenied);
    }
    // And so is a mode.
    let audit = |config: Config| config.rules("").text("policy.mode", "audit");
    reload(&mut stage, audit, "policy reloaded").await;
    caller.bytes(wanted(&stage, db)).await;
}

#[tokio::test]
async fn a_bad_policy_replaces_nothing_and_every_problem_of_it_is_logged() {
    let mut stage = Stage::with(|config| config.rules(&rules("good", "[\"db-*\"]"))).await;
    let caller = stage.caller().await;
    let bad = "[[rule]]\nname = \"wide\"\nbound_claims = { project_path = \"**\" }\n\
        vaults = [\"https://demo.vault.azure.net\"]\nsecrets = [\"*\"]\n\
        [[rule]]\nname = \"wide\"\nbound_claims = { environment = \"production\" }\n\
        vaults = [\"https://evil.test\", \"http://demo.vault.azure.net\"]\nsecrets = []\n\
        required_version = true\n";
    let problems = [
        "rule[1].name: \"wide\" is the name of another rule too",
        "rule[1].bound_claims: binds no project",
        "\"http://demo.vault.azure.net\" is no vault's address",
        "rule[1].secrets: is empty, so the rule grants nothing",
        "rule[1].required_version: is no key of this table",
    ];
    reload(
        &mut stage,
        |config| config.rules(bad),
        "not reloaded, the old policy stays in force",
    )
    .await;
    for problem in problems {
        stage.daemon.logs(problem).await;
    }
    let log = stage.daemon.log();
    for problem in problems {
        let line = log.lines().find(|line| line.contains(problem)).unwrap();
        assert!(line.contains("ERROR") && line.contains("line "), "{line}");
    }
    let still_good = async |stage: &Stage| {
        caller
            .bytes(ask(&stage.token()).value("A", "db-password"))
            .await;
        let refusal = caller
            .refused(ask(&stage.token()).value("A", "api-key"))
            .await;
        assert_eq!(refusal.reason, Reason::PolicyDenied);
        assert!(refusal.message.contains("rule \"good\""), "{refusal:?}");
    };
    still_good(&stage).await;
    // Rules that are good in a file that is not, no TOML at all, and no file.
    let wide = rules("wide", "[\"*\"]");
    let refused = "not reloaded, the old policy stays in force";
    let elsewhere = |config: Config| config.rules(&wide).text("listen.delivery", "by post");
    reload(&mut stage, elsewhere, refused).await;
    still_good(&stage).await;
    let vault = wide.replace("demo", "a.b");
    reload(&mut stage, |config| config.rules(&vault), refused).await;
    stage
        .daemon
        .logs("https://a.b.vault.azure.net is no vault of this cloud")
        .await;
    still_good(&stage).await;
    reload(&mut stage, |config| config.rules("[[rule"), refused).await;
    still_good(&stage).await;
    let seen = stage.daemon.log().matches(refused).count();
    fs::remove_file(stage.place.path("config.toml")).unwrap();
    stage.daemon.signal(Signal::HUP);
    stage.daemon.logs_more(refused, seen).await;
    still_good(&stage).await;
    // And a good one does, after all that.
    reload(&mut stage, |config| config.rules(&wide), "policy reloaded").await;
    caller
        .bytes(ask(&stage.token()).value("A", "api-key"))
        .await;
}

#[tokio::test]
async fn requests_that_are_under_way_are_not_affected() {
    let mut stage = Stage::with(|config| config.rules(&rules("good", "[\"db-*\"]"))).await;
    stage.fault(json!({"route": "secret", "kind": "delay", "delay_ms": 1500}));
    let caller = stage.caller().await;
    let request = ask(&stage.token())
        .value("A", "db-password")
        .file("B", "db-password");
    let under_way = tokio::spawn({
        let (caller, request) = (caller.clone(), request.clone());
        async move { caller.bytes(request).await }
    });
    stage.asked("secret").await;
    reload(&mut stage, |config| config.rules(""), "policy reloaded").await;
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied);
    let bytes = under_way.await.unwrap();
    assert_eq!(bytes["A"], b"correct horse battery staple");
    assert_eq!(bytes["A"], bytes["B"]);
}

const GRANTED: &str = "runner_secrets::provide: granted";

/// What a request adds to the log.
async fn logged(stage: &Stage) -> String {
    let before = stage.daemon.log().len();
    let caller = stage.caller().await;
    let request = ask(&stage.token()).value("A", "db-password");
    caller.bytes(request).await;
    // What is said of a request is said before its answer; this comes after it.
    let refused = caller.refused(ask("no token").value("A", "db-password"));
    let id = refused.await.request_id;
    crate::daemon::until("the refusal is in the log", || {
        stage.daemon.log().contains(&id)
    })
    .await;
    stage.daemon.log()[before..].to_owned()
}

#[tokio::test]
async fn the_level_of_the_log_takes_effect_both_ways() {
    let mut stage = Stage::new().await;
    let quiet = logged(&stage).await;
    assert!(quiet.contains(GRANTED), "{quiet}");
    assert!(!quiet.contains("DEBUG"), "{quiet}");
    let level = |level: &'static str| move |config: Config| config.text("log.level", level);
    let changed = "log.level changed old=\"info\" new=\"debug\"";
    reload(&mut stage, level("debug"), changed).await;
    let loud = logged(&stage).await;
    assert!(loud.contains("DEBUG") && loud.contains(GRANTED), "{loud}");
    // What says that it changed is of the level that is in force by then, so nothing does.
    reload(&mut stage, level("warn"), "policy reloaded").await;
    let since = Instant::now();
    let silent = loop {
        let said = logged(&stage).await;
        if !said.contains("DEBUG") && !said.contains("INFO") {
            break said;
        }
        assert!(since.elapsed() < crate::daemon::PATIENCE, "{said}");
    };
    assert!(silent.contains("WARN"), "the refusal: {silent}");
    let changed = "log.level changed old=\"warn\" new=\"info\"";
    reload(&mut stage, level("info"), changed).await;
    let again = logged(&stage).await;
    assert!(
        again.contains(GRANTED) && !again.contains("DEBUG"),
        "{again}"
    );
}

#[tokio::test]
async fn the_level_that_the_environment_sets_goes_on_deciding() {
    let mut stage = Stage::loud("info", |config| config.text("log.level", "error")).await;
    let said = "RUST_LOG is set, so log.level has no effect";
    reload(&mut stage, |config| config.text("log.level", "trace"), said).await;
    let log = logged(&stage).await;
    assert!(log.contains(GRANTED) && !log.contains("TRACE"), "{log}");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_does_not_change() {
    let mut stage = Stage::new().await;
    let elsewhere = stage.place.path("elsewhere").display().to_string();
    let change = |config: Config| {
        let config = config.text("files.directory", &elsewhere);
        config
            .set("limits.secrets", 1)
            .text("log.format", "json")
            .text("log.level", "debug")
    };
    let said = "changed, and takes effect with the next start only \
        keys=\"files.directory, limits.secrets, log.format\"";
    reload(&mut stage, change, said).await;
    let caller = stage.caller().await;
    let request = ask(&stage.token()).file("A", "db-password");
    let answer = caller.bytes(request.file("B", "api-key")).await;
    assert_eq!(answer.len(), 2, "still more than one secret");
    assert_eq!(stage.place.left().len(), 1, "and still there");
    // Back to what it started with: nothing is left to name.
    let seen = stage.daemon.log().len();
    reload(
        &mut stage,
        |config| config,
        "log.level changed old=\"debug\"",
    )
    .await;
    reload(&mut stage, |config| config, "policy reloaded").await;
    let log = stage.daemon.log()[seen..].to_owned();
    assert!(!log.contains("with the next start only"), "{log}");
}

#[tokio::test]
async fn a_file_with_mistakes_is_counted_and_changes_neither_policy_nor_level() {
    let listen = |config: Config| config.text("admin.listen", LISTEN);
    let mut stage = Stage::with(listen).await;
    let admin = Admin::of(&stage.daemon);
    let series = "runner_secrets_last_reload_successful";
    assert!(admin.value(series).await > 0.5);
    let hash = |series: &str| series.contains("policy_info");
    let before: Vec<String> = admin.series().await.into_iter().collect();
    let bad = |config: Config| {
        let config = listen(config).text("log.level", "debug");
        config.rules("").set("limits.secrets", "\"many\"")
    };
    let refused = "not reloaded, the old policy stays in force";
    for _ in 0..2 {
        reload(&mut stage, bad, refused).await;
        assert!(admin.value(series).await < 0.5);
        let log = logged(&stage).await;
        assert!(log.contains(GRANTED) && !log.contains("DEBUG"), "{log}");
    }
    let after: Vec<String> = admin.series().await.into_iter().collect();
    let policy = |all: &[String]| all.iter().find(|one| hash(one)).cloned();
    assert_eq!(policy(&before), policy(&after));
    reload(&mut stage, listen, "policy reloaded").await;
    let repaired = async { while admin.value(series).await < 0.5 {} };
    tokio::time::timeout(crate::daemon::PATIENCE, repaired)
        .await
        .unwrap();
}
