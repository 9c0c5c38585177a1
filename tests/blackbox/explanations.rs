//! What a job's author and the operator read of every failure, word for word: the files in
//! `golden/`. Each is driven from end to end, by a job that runs the client, a daemon, and services
//! that fail. `GOLDEN=overwrite` writes them anew, for whoever then reads the difference.

use std::{collections::BTreeSet, fs, path::Path};

use azure_emulator::{Attributes, Permission};
use serde_json::{Map, Value, json};

use crate::{
    call::ask,
    daemon::{AUDIENCE, Config},
    job::{Job, entry},
    stage::{Stage, VAULT},
};

mod authors;
mod golden;
mod names;
mod network;

use golden::{Told, golden};

/// A stage whose daemon writes a log for machines.
async fn stage() -> Stage {
    with(|config| config).await
}

async fn with(change: impl FnOnce(Config) -> Config) -> Stage {
    Stage::with(|config| change(config.text("log.format", "json"))).await
}

/// One secret, as a job on main of acme/shop wants it.
fn one(name: &str) -> Map<String, Value> {
    Map::from_iter([("DB_PASSWORD".to_owned(), entry(name, true))])
}

/// What job and operator are told when a job with this token wants this secret.
async fn told(stage: &mut Stage, token: &str, spec: Map<String, Value>) -> Told {
    let job = Job::new(stage, token, spec);
    Told::by(stage, &job).await
}

/// The same with a token that is as it should be.
async fn usual(stage: &mut Stage, spec: Map<String, Value>) -> Told {
    let token = stage.token();
    told(stage, &token, spec).await
}

/// The emulator's own list of what it can fail with.
async fn kinds(stage: &Stage) -> Value {
    let url = format!("{}/faults/kinds", stage.emulator.ready().control_url);
    let answer = reqwest::get(url).await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&answer).unwrap()
}

/// Codes that say that Entra is busy or ill: each gets a daemon of its own, which has not learned
/// yet to spare Entra.
const PASSING: [u64; 8] = [
    50_033, 50_196, 90_006, 90_012, 90_024, 90_033, 90_055, 90_090,
];

#[tokio::test]
async fn every_code_of_entra_is_explained() {
    let mut stage = stage().await;
    let kinds = kinds(&stage).await;
    for code in kinds["token_errors"].as_array().unwrap() {
        let code = code.as_u64().unwrap();
        let mut fresh = None;
        let stage = if PASSING.contains(&code) {
            fresh.insert(self::stage().await)
        } else {
            &mut stage
        };
        stage.emulator.clear_faults();
        stage.fault(json!({"route": "token", "kind": "token_error", "code": code}));
        let told = usual(stage, one("db-password")).await;
        golden(&format!("aadsts{code}"), &told);
    }
}

#[tokio::test]
async fn every_error_of_key_vault_is_explained() {
    let mut stage = stage().await;
    let kinds = kinds(&stage).await;
    for name in kinds["vault_errors"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        let mut fresh = None;
        let passing = [
            "Throttled",
            "InternalError",
            "ServiceUnavailable",
            "AKV10046",
        ];
        let stage = if passing.contains(&name) {
            fresh.insert(self::stage().await)
        } else {
            &mut stage
        };
        stage.emulator.clear_faults();
        stage.fault(json!({"route": "secret", "kind": "vault_error", "code": name}));
        let told = usual(stage, one("db-password")).await;
        golden(&format!("vault-{}", name.to_lowercase()), &told);
    }
}

/// What no fault makes: the services' own refusals of what a job asks.
#[tokio::test]
async fn what_the_vault_has_and_has_not_is_explained() {
    let mut stage = with(|config| config.set("policy.refuse_expired", true)).await;
    let attributes = |enabled, exp| Attributes {
        enabled: Some(enabled),
        exp,
        ..Attributes::default()
    };
    let pinned = stage.put_with("disabled", "x", attributes(false, None));
    stage.put_with("expired", "x", attributes(true, Some(1_500_000_000)));
    let may_read = |pattern: &str| Permission {
        client_id: stage.emulator.ready().client_id.clone(),
        vault: VAULT.to_owned(),
        secrets: vec![pattern.to_owned()],
        operations: vec!["get".to_owned()],
    };
    let all = ["disabled", "expired", "missing", "db-*"];
    stage.emulator.set_permissions(all.map(may_read).into());
    let version = |name: &str, version: &str| {
        let mut spec = one(name);
        spec["DB_PASSWORD"]["azure_key_vault"]["version"] = version.into();
        spec
    };
    let unknown = "0123456789abcdef0123456789abcdef";
    for (case, spec) in [
        ("secret-disabled", one("disabled")),
        ("secret-disabled-version", version("disabled", &pinned)),
        ("secret-expired", one("expired")),
        ("secret-missing", one("missing")),
        ("secret-version-missing", version("db-password", unknown)),
        ("secret-forbidden", one("api-key")),
    ] {
        let told = usual(&mut stage, spec).await;
        golden(case, &told.without(&pinned, "VERSION"));
    }
}

/// What the job named itself is in its commands; the rest is in the operator's only.
#[tokio::test]
async fn what_the_job_named_itself_is_in_its_commands() {
    let mut stage = stage().await;
    let ready = stage.emulator.ready().clone();
    let server = json!({
        "url": ready.vault_url, "tenant_id": ready.tenant_id, "client_id": ready.client_id,
    });
    let mut spec = one("db-password");
    spec["DB_PASSWORD"]["server"] = server;
    let branch = json!({"sub": "project_path:acme/shop:ref_type:branch:ref:feature"});
    let token = stage.token_but(branch);
    golden(
        "named-subject",
        &told(&mut stage, &token, spec.clone()).await,
    );
    for code in [
        "ForbiddenByRbac",
        "ForbiddenByPolicy",
        "ForbiddenByFirewall",
        "AKV10032",
    ] {
        stage.emulator.clear_faults();
        stage.fault(json!({"route": "secret", "kind": "vault_error", "code": code}));
        let told = usual(&mut stage, spec.clone()).await;
        golden(&format!("named-{}", code.to_lowercase()), &told);
    }
}

/// Refused by the daemon, before anybody else hears of it.
#[tokio::test]
async fn what_the_daemon_refuses_is_explained() {
    let mut stage = with(|config| {
        let config = config.set("rule.bound_claims", "{ project_path = \"acme/shop\" }");
        let config = config.set("rule.secrets", "[\"db-*\"]");
        let nobody =
            format!("[[issuer]]\nurl = \"https://localhost:1\"\naudiences = [{AUDIENCE:?}]\n");
        config.copy("rule.issuer", "issuer.url").more(&nobody)
    })
    .await;
    let other = json!({"project_path": "acme/other", "job_project_path": "acme/other"});
    for (case, claims, name) in [
        ("policy-other-secret", json!({}), "api-key"),
        ("policy-other-project", other, "db-password"),
        ("token-audience", json!({"aud": "sigstore"}), "db-password"),
        ("token-expired", json!({"exp": 1}), "db-password"),
        (
            "token-early",
            json!({"nbf": 4_102_444_800_u64}),
            "db-password",
        ),
        (
            "token-issuer",
            json!({"iss": "https://gitlab.test"}),
            "db-password",
        ),
        ("token-incomplete", json!({"sub": null}), "db-password"),
        (
            "keys-unavailable",
            json!({"iss": "https://localhost:1"}),
            "db-password",
        ),
    ] {
        let token = stage.token_but(claims);
        golden(case, &told(&mut stage, &token, one(name)).await);
    }
    let forged = stage.token_by(azure_emulator::KeyChoice::Wrong, json!({}));
    golden(
        "token-forged",
        &told(&mut stage, &forged, one("db-password")).await,
    );
    let mut spec = one("db-password");
    spec["DB_PASSWORD"]["server"] = json!({"url": "https://vault.example.com"});
    let token = stage.token();
    golden("request-invalid", &told(&mut stage, &token, spec).await);
    let caller = stage.caller().await;
    for _ in 0..30 {
        let request = ask(&token).file("A", "db-password");
        caller.explain(request).await.unwrap();
    }
    let job = Job::new(&stage, &token, one("db-password"));
    golden(
        "overloaded",
        &Told::of(&mut stage, &job, &["explain"]).await,
    );
    fs::remove_dir_all(stage.place.leases()).unwrap();
    golden(
        "files-failed",
        &told(&mut stage, &token, one("db-password")).await,
    );
}

/// Refused before anything of the request is read, or before anything is done.
#[tokio::test]
async fn what_the_daemon_cannot_do_is_explained() {
    let mut stage = with(|config| config.set("listen.allowed_uids", "[4294967294]")).await;
    golden(
        "caller-denied",
        &usual(&mut stage, one("db-password")).await,
    );

    let mut stage = self::stage().await;
    // A directory where the file was: what is written next has nowhere to go.
    let trail = stage.place.trail();
    fs::remove_file(&trail).unwrap();
    fs::create_dir(&trail).unwrap();
    golden("audit-failed", &usual(&mut stage, one("db-password")).await);
}

/// The page says of a code what a job's log says.
#[test]
fn the_page_says_of_every_code_what_a_job_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let mut known = 0;
    for told in golden::all() {
        let Some((_, code)) = told.split_once(" (AADSTS") else {
            continue;
        };
        let Some((code, says)) = code.split_once("): ") else {
            continue;
        };
        let says = says.split(" (EXCHANGE_REFUSED").next().unwrap();
        let row = format!("| <a id=\"aadsts{code}\"></a>{code} | {says} | ");
        assert!(page.contains(&row), "the page has no row {row}");
        known += 1;
    }
    assert!(known > 50, "{known}");
}

/// Every row that a message links to is there, and every row is of some use.
#[test]
fn every_link_leads_to_a_row_and_every_row_has_a_cause() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/troubleshooting.md")).unwrap();
    let anchors: Vec<&str> = page
        .split("<a id=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let rows: BTreeSet<&str> = anchors.iter().copied().collect();
    assert_eq!(rows.len(), anchors.len(), "an anchor is there twice");
    let mut linked: BTreeSet<String> = golden::links();
    linked.insert(golden::NO_WAY.to_owned());
    let linked: BTreeSet<&str> = linked.iter().map(String::as_str).collect();
    let missing: Vec<_> = linked.difference(&rows).collect();
    assert!(missing.is_empty(), "there is no row for {missing:?}");
    let unused: Vec<_> = rows.difference(&linked).collect();
    assert!(unused.is_empty(), "nothing leads to {unused:?}");
}
