//! `policy explain`: what one job gets and why, by claims that somebody vouches for or not.

use serde_json::{Value, json};

use crate::{
    operator::{Operator, RULES, is_harmless},
    signer::token,
};

const SPEC: &str = "DB_PASSWORD:\n  token: $AZURE_JWT\n  azure_key_vault: {name: db-password}\n";
const BOTH: &str = "secrets:\n  DB_PASSWORD: {azure_key_vault: {name: db-password}}\n  STRIPE_KEY: {azure_key_vault: {name: stripe-key}}\n";

#[test]
fn what_is_granted_is_explained_rule_by_rule() {
    let operator = Operator::new(RULES);
    let ran = operator.explain(&(token(&json!({})) + "\n"), SPEC, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        r#"the token is verified; of its claims, those that rules go by:
  iss              "https://gitlab.example.com"
  project_path     "acme/shop"
  job_id           "812"
  ref              "main"
  ref_type         "branch"
  ref_protected    "true"
  environment      "production"
  pipeline_source  "push"

granted  DB_PASSWORD
  rule "shop production" grants the secret db-password of https://acme-prod.vault.azure.net (variable DB_PASSWORD)
    shop production  grants it
"#
    );
}

#[test]
fn what_is_denied_is_explained_with_every_rule() {
    let operator = Operator::new(RULES);
    let ran = operator.explain(&token(&json!({"environment": "review/7"})), BOTH, &[]);
    assert_eq!((ran.status, ran.stderr.as_str()), (77, ""));
    let expected = r#"
denied   STRIPE_KEY
  no rule grants the secret stripe-key (variable STRIPE_KEY): rule "shop production" wants environment to be "production", and the token has "review/7"
    shop production  wants environment to be "production", and the token has "review/7"
    somebody else    wants project_path to be "rich/bank", and the token has "acme/shop"
"#;
    assert!(ran.stdout.ends_with(expected), "{}", ran.stdout);
    assert!(ran.stdout.contains("\ndenied   DB_PASSWORD\n"));
}

#[test]
fn a_token_that_nobody_vouches_for_is_marked() {
    let operator = Operator::new(RULES);
    let good = token(&json!({}));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { "B" } else { "A" };
    let forged = format!("{signed}.{other}{}", &signature[1..]);
    for (token, problem) in [
        (
            token(&json!({"exp": 1_700_000_000})),
            "it expired at 2023-11-14",
        ),
        (
            token(&json!({"aud": "other"})),
            "it is for the audience \"other\"",
        ),
        (
            token(&json!({"iss": "https://evil.test"})),
            "it was issued by \"https://evil.test\"",
        ),
        (forged, "it has a signature that does not match"),
    ] {
        let ran = operator.explain(&token, SPEC, &[]);
        let first = ran.stdout.lines().next().unwrap();
        let start = format!("the token is unverified: {problem}");
        assert!(first.starts_with(&start), "{first}");
        assert!(
            first.ends_with("; the daemon would not ask the policy"),
            "{first}"
        );
        assert!(
            ran.stdout.contains("\nunverified claims, "),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("DB_PASSWORD  (by unverified claims)\n"));
        let granted = !problem.contains("evil");
        assert_eq!(ran.status, if granted { 0 } else { 77 }, "{problem}");

        let ran = operator.explain(&token, SPEC, &["--json"]);
        let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(answer["verified"], false, "{problem}");
        let reason = answer["reason"].as_str().unwrap();
        assert!(
            ["TOKEN_EXPIRED", "TOKEN_INVALID"].contains(&reason),
            "{reason}"
        );
    }
}

#[test]
fn keys_that_cannot_be_had_leave_a_token_unverified() {
    let operator = Operator::new(RULES);
    operator.file("jwks.json", "no keys");
    let ran = operator.explain(&token(&json!({})), SPEC, &["--json"]);
    assert_eq!(ran.status, 0);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["reason"], "KEYS_UNAVAILABLE");
    let problem = answer["problem"].as_str().unwrap();
    assert!(problem.contains("jwks.json"), "{problem}");
}

#[test]
fn what_is_no_token_is_refused() {
    let operator = Operator::new(RULES);
    for text in ["", "hello", "e30.e30.c2ln", "a.b", "\u{1b}[31m.e30.x"] {
        let ran = operator.explain(text, SPEC, &[]);
        assert_eq!((ran.status, ran.stdout.as_str()), (65, ""), "{text:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(is_harmless(&ran.stderr));
    }
    let (token, spec) = (
        operator.file("token", [0xff, 0xfe]),
        operator.file("s", SPEC),
    );
    let binary = ["policy", "explain", "--token", &token, "--spec", &spec];
    assert_eq!(operator.run(&binary).status, 65);
    let huge = format!("e30.{}.c2ln", "a".repeat(2_000_000));
    assert_eq!(operator.explain(&huge, SPEC, &[]).status, 65);
}

#[test]
fn wrong_files_have_their_statuses() {
    let operator = Operator::new(RULES);
    let good = token(&json!({}));
    for (spec, problem) in [
        ("", "spec.yml"),
        (
            "A: {azure_key_vault: {name: a_b}}",
            "A.azure_key_vault.name",
        ),
        (
            "A: {azure_key_vault: {name: $CI_NAME}}",
            "expands to nothing",
        ),
        (
            "A: {azure_key_vault: {name: a}, server: {url: https://evil.test}}",
            "secrets.A.azure_key_vault.server.url \"https://evil.test\"",
        ),
        (
            "A: {azure_key_vault: {name: a}, server: {client_id: x}}",
            "secrets.A.azure_key_vault.server.client_id \"x\" is no GUID",
        ),
        ("A: {vault: {}}", "spec.yml"),
    ] {
        let ran = operator.explain(&good, spec, &[]);
        assert_eq!((ran.status, ran.stdout.as_str()), (64, ""), "{spec}");
        assert!(ran.stderr.contains(problem), "{problem}: {}", ran.stderr);
    }
    let spec = operator.file("spec.yml", SPEC);
    let missing = [
        "policy",
        "explain",
        "--token",
        "/nowhere/t",
        "--spec",
        &spec,
    ];
    assert_eq!(operator.run(&missing).status, 64);
    operator.file("config.toml", "[[listen]]\n");
    assert_eq!(operator.explain(&good, SPEC, &[]).status, 78);
}

#[test]
fn hostile_claims_are_text_in_every_form() {
    let operator = Operator::new(RULES);
    let token = token(&json!({
        "ref": "a\n\u{1b}[2Jgranted  DB_PASSWORD\r\u{9b}31m",
        "environment": "=cmd()\n\"',\u{202e}",
        "pipeline_source": "\u{7}\u{8}",
    }));
    let ran = operator.explain(&token, SPEC, &[]);
    assert_eq!(ran.status, 77);
    assert!(is_harmless(&ran.stdout), "{}", ran.stdout);
    let verdicts = ran
        .stdout
        .lines()
        .filter(|line| line.starts_with("granted"));
    assert_eq!(verdicts.count(), 0, "{}", ran.stdout);
    let ran = operator.explain(&token, SPEC, &["--json"]);
    assert!(is_harmless(&ran.stdout), "{}", ran.stdout);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["claims"]["environment"][0], "=cmd()\n\"',\u{202e}");
    assert_eq!(answer["verified"], true);
}

#[test]
fn machines_get_the_whole_account() {
    let operator = Operator::new(RULES);
    let ran = operator.explain(&token(&json!({})), BOTH, &["--json"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (77, ""));
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["granted"], false);
    assert_eq!(answer["problem"], Value::Null);
    assert_eq!(
        answer["secrets"][0],
        json!({
            "variable": "DB_PASSWORD", "name": "db-password", "granted": true,
            "rule": "shop production", "vault": "https://acme-prod.vault.azure.net",
            "tenant_id": null, "client_id": "22222222-2222-2222-2222-222222222222",
            "sentence": "rule \"shop production\" grants the secret db-password of \
                         https://acme-prod.vault.azure.net (variable DB_PASSWORD)",
            "account": [{"rule": "shop production", "says": "grants it"}],
        })
    );
    assert_eq!(answer["secrets"][1]["granted"], false);
    assert_eq!(answer["secrets"][1]["account"].as_array().unwrap().len(), 2);
}
