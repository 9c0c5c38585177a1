//! `setup azure`: what it prints can be run, parsed and read; and Entra, given what the commands
//! would create, takes exactly the tokens that were meant, which the printed rule then grants.

mod terraform;

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, process::Stdio};

use azure_emulator::FederatedCredential;
use runner_secrets_proto::Reason;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    call::ask,
    daemon::{PROGRAM, Place},
    stage::Stage,
};

const GITLAB: &str = "https://gitlab.example.com";

/// An `az` that writes down what it is asked and answers with an id.
const AZ: &str = r#"#!/bin/sh
for word in "$@"; do printf '%s\0' "$word"; done >> "$LOG"
printf '\n\0' >> "$LOG"
case "$*" in
  *tenantId*) echo 3e1f0a52-7c4b-4d8e-9a16-b0c2d4e6f801 ;;
  *query*) echo 8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d413 ;;
esac
"#;

async fn printed(arguments: &[&str]) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(["setup", "azure", "--gitlab", GITLAB]);
    let output = command.args(arguments).env_clear().output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a script asked of `az`, and what it printed.
async fn run(script: &str) -> (Vec<Vec<String>>, String) {
    let place = Place::new();
    let (bin, log) = (place.path("bin"), place.path("log"));
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("az"), AZ).unwrap();
    fs::set_permissions(bin.join("az"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.path("script"), script).unwrap();
    let check = Command::new("bash")
        .arg("-n")
        .arg(place.path("script"))
        .status();
    assert!(check.await.unwrap().success(), "{script}");
    let mut command = Command::new("sh");
    command
        .arg(place.path("script"))
        .env_clear()
        .env("LOG", &log);
    command.env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{script}{output:?}");
    let log = String::from_utf8(fs::read(log).unwrap()).unwrap();
    let calls = log.split("\0\n\0").filter(|call| !call.is_empty());
    let calls = calls.map(|call| call.split('\0').map(str::to_owned).collect());
    (calls.collect(), String::from_utf8(output.stdout).unwrap())
}

fn after<'a>(call: &'a [String], option: &str) -> Option<&'a str> {
    let at = call.iter().position(|word| word == option)?;
    call.get(at + 1).map(String::as_str)
}

/// The federated credential that a call of `az` would create.
fn credential(call: &[String], client: &str) -> Option<FederatedCredential> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of =
        |subject: Option<String>, expression: Option<String>, audience: String, issuer: &str| {
            assert_eq!(issuer, GITLAB);
            Some(FederatedCredential {
                client_id: client.to_owned(),
                issuer: None,
                subject,
                audience,
                expression,
            })
        };
    if let Some(parameters) = after(call, "--parameters").or(after(call, "--body")) {
        let body: Value = serde_json::from_str(parameters).unwrap();
        assert_eq!(body["audiences"].as_array().unwrap().len(), 1);
        let audience = text(&body["audiences"][0]);
        let expression = &body["claimsMatchingExpression"]["value"];
        let expression = (!expression.is_null()).then(|| text(expression));
        let subject = (!body["subject"].is_null()).then(|| text(&body["subject"]));
        return of(
            subject,
            expression,
            audience,
            body["issuer"].as_str().unwrap(),
        );
    }
    let subject = after(call, "--subject")?.to_owned();
    let audience = after(call, "--audiences").unwrap().to_owned();
    of(
        Some(subject),
        None,
        audience,
        after(call, "--issuer").unwrap(),
    )
}

fn subject(project: &str, kind: &str, name: &str) -> String {
    format!("project_path:{project}:ref_type:{kind}:ref:{name}")
}

/// Claims of a job in which subject and parts agree.
fn claims(project: &str, kind: &str, name: &str, more: &Value) -> Value {
    let mut claims = json!({
        "project_path": project, "job_project_path": project, "ref_type": kind, "ref": name,
        "sub": subject(project, kind, name),
    });
    for (claim, value) in more.as_object().unwrap() {
        claims[claim] = value.clone();
    }
    claims
}

/// Runs the script, gives Entra what it would create and the daemon the rule that it prints, and
/// sees who gets the secret.
async fn accepts(arguments: &[&str], meant: &[Value], others: &[Value]) -> Vec<Vec<String>> {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--vault", "demo", "--secret", "db-password"]);
    let (calls, said) = run(&printed(&arguments).await).await;
    let (rules, job) = said.split_once("\ndeploy:\n").unwrap();
    assert!(job.contains("name: \"db-password\""), "{job}");
    // The issuer of the tests is another one, and `az` knew the demo's ids.
    let everything = "[[rule]]\nname = \"everything\"\nbound_claims = { project_path = \"**\" }\n\
                      vaults = [\"https://demo.vault.azure.net\"]\nsecrets = [\"api-key\"]\n";
    let stage = Stage::with(|config| {
        let issuer = config.value("issuer.url");
        let rules = rules.replace(&format!("{GITLAB:?}"), &issuer);
        config.rules(&format!("{rules}\n{everything}"))
    })
    .await;
    let client = stage.emulator.ready().client_id.clone();
    let credentials: Vec<_> = calls
        .iter()
        .filter_map(|call| credential(call, &client))
        .collect();
    assert!(!credentials.is_empty());
    stage.emulator.set_federated_credentials(credentials);
    let caller = stage.caller().await;
    for claims in meant {
        let token = stage.token_but(claims.clone());
        let bytes = caller.bytes(ask(&token).value("A", "db-password")).await;
        assert_eq!(bytes["A"], b"correct horse battery staple", "{claims}");
    }
    for claims in others {
        // Entra refuses it, also where another rule lets it pass.
        let token = stage.token_but(claims.clone());
        let refusal = caller.refused(ask(&token).value("A", "api-key")).await;
        assert_eq!(
            refusal.reason,
            Reason::ExchangeRefused,
            "{claims}: {refusal:?}"
        );
        let refusal = caller.refused(ask(&token).value("A", "db-password")).await;
        assert_eq!(
            refusal.reason,
            Reason::PolicyDenied,
            "{claims}: {refusal:?}"
        );
    }
    calls
}

#[tokio::test]
async fn one_branch_is_one_subject() {
    let none = json!({});
    let calls = accepts(
        &["--project", "acme/shop", "--branch", "main"],
        &[claims("acme/shop", "branch", "main", &none)],
        &[
            claims("acme/shop", "branch", "Main", &none),
            claims("acme/shop", "branch", "feature", &none),
            claims("acme/shop", "tag", "main", &none),
            claims("acme/shop-2", "branch", "main", &none),
        ],
    )
    .await;
    // The role is on this secret, and no wider.
    let role = calls
        .iter()
        .find(|call| call.contains(&"assignment".to_owned()))
        .unwrap();
    assert_eq!(after(role, "--role"), Some("Key Vault Secrets User"));
    assert!(
        after(role, "--scope")
            .unwrap()
            .ends_with("/secrets/db-password"),
        "{role:?}"
    );
}

#[tokio::test]
async fn protected_branches_of_a_group_are_one_expression() {
    let job = |project: &str, name: &str, protected: &str| {
        let sub = subject(project, "branch", name);
        let sub = format!("{sub}:ref_protected:{protected}");
        claims(
            project,
            "branch",
            name,
            &json!({"sub": sub, "ref_protected": protected}),
        )
    };
    accepts(
        &["--group", "acme", "--branch", "*", "--protected"],
        &[
            job("acme/shop", "main", "true"),
            job("acme/tools/ci", "release/1", "true"),
        ],
        &[
            job("acme/shop", "main", "false"),
            job("other/shop", "main", "true"),
        ],
    )
    .await;
}

#[tokio::test]
async fn three_environments_are_three_rules() {
    let job = |environment: &str| {
        let more = json!({"environment": environment});
        claims("acme/shop", "branch", "main", &more)
    };
    let arguments = [
        "--project",
        "acme/shop",
        "--branch",
        "main",
        "--environment",
        "production",
        "--environment",
        "staging",
        "--environment",
        "review",
    ];
    let feature = json!({"environment": "production"});
    accepts(
        &arguments,
        &[job("production"), job("staging"), job("review")],
        &[claims("acme/shop", "branch", "feature", &feature)],
    )
    .await;
    let (_, said) = run(&printed(&[&arguments[..], &["--vault", "demo"]].concat()).await).await;
    assert_eq!(said.matches("[[rule]]").count(), 3);
}

#[tokio::test]
async fn tags_are_an_expression() {
    let none = json!({});
    accepts(
        &["--project", "acme/shop", "--tag", "v*"],
        &[
            claims("acme/shop", "tag", "v1.0", &none),
            claims("acme/shop", "tag", "v2", &none),
        ],
        &[
            claims("acme/shop", "branch", "v1.0", &none),
            claims("acme/shop", "tag", "1.0", &none),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_managed_identity_has_exact_subjects() {
    let none = json!({});
    let hostile = "it's-$(touch /tmp/stolen-by-setup)";
    let calls = accepts(
        &[
            "--project",
            "acme/shop",
            "--branch",
            "main",
            "--branch",
            hostile,
            "--managed-identity",
            "acme-rg",
        ],
        &[
            claims("acme/shop", "branch", "main", &none),
            claims("acme/shop", "branch", hostile, &none),
        ],
        &[claims("acme/shop", "branch", "feature", &none)],
    )
    .await;
    let created = calls
        .iter()
        .filter(|call| call.contains(&"federated-credential".to_owned()));
    assert_eq!(created.count(), 2);
    assert!(!std::path::Path::new("/tmp/stolen-by-setup").exists());
}

#[tokio::test]
async fn what_entra_cannot_have_is_refused_with_what_can_be_done() {
    let twenty_one: Vec<String> = (0..21).map(|n| format!("branch-{n}")).collect();
    let many: Vec<&str> = twenty_one
        .iter()
        .flat_map(|name| ["--branch", name])
        .collect();
    let long = "x".repeat(600);
    for (arguments, part) in [
        (many, "Entra takes 20 for one application"),
        (
            vec!["--branch", "*", "--managed-identity", "rg"],
            "exact subjects only",
        ),
        (
            vec!["--branch", "*", "--gitlab", "https://git.corp.test"],
            "expressions of https://gitlab.com",
        ),
        (vec!["--branch", &long], "600 bytes"),
        (vec!["--branch", "a\u{1b}[2K"], "cannot be shown"),
        (vec!["--branch", "a\n--gitlab"], "cannot be shown"),
        (
            vec!["--branch", "it's-*"],
            "cannot be written in an expression",
        ),
        (
            vec!["--branch", "main", "--project", "$(id)"],
            "is no path of GitLab's",
        ),
        (vec!["--branch", "main", "--secret", "a b"], "--secret"),
        (
            vec!["--branch", "main", "--gitlab", "http://gitlab.test"],
            "is no https:// address",
        ),
        (vec!["--branch", "main", "--vault", "evil.test"], "--vault"),
        (vec![], "setup needs --branch"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args([
            "setup",
            "azure",
            "--gitlab",
            GITLAB,
            "--project",
            "acme/shop",
        ]);
        command
            .args(["--vault", "demo"])
            .args(&arguments)
            .stdin(Stdio::null());
        let output = command.output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains(part), "{part}: {said}");
        assert!(!said.contains('\u{1b}'), "{said}");
        assert!(output.stdout.is_empty());
    }
}

/// Whoever gives no options is asked.
#[tokio::test]
async fn what_is_missing_is_asked_for() {
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["setup", "azure"]).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let answers = format!("{GITLAB}\nacme/shop\nmain develop\ndemo\ndb-password\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(answers.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let asked = String::from_utf8(output.stderr).unwrap();
    assert_eq!(asked.matches(": ").count(), 5, "{asked}");
    let script = String::from_utf8(output.stdout).unwrap();
    let options = [
        "--project",
        "acme/shop",
        "--branch",
        "main",
        "--branch",
        "develop",
    ];
    let more = ["--vault", "demo", "--secret", "db-password"];
    assert_eq!(script, printed(&[&options[..], &more].concat()).await);
}
