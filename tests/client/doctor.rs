//! `doctor` in a job: whatever is broken is named, by the first cross, with what to change under
//! it; and nothing of a token is shown.

use std::{os::unix::net::UnixListener, path::Path};

use runner_secrets_proto::{
    Reason,
    v1::{ExplainResponse, Verdict},
};
use serde_json::Value;
use tonic::Code;

use crate::{
    job::{Job, id_token, spec, stderr, stdout, token},
    provider::{Provider, refusal},
};

fn answering(granted: bool) -> Provider {
    Provider::explaining(move |request| {
        let verdict = Verdict {
            granted,
            rule: "shop".to_owned(),
            sentence: "no rule grants the secret a".to_owned(),
        };
        let names = request.secrets.keys();
        let verdicts = names.map(|name| (name.clone(), verdict.clone()));
        Ok(ExplainResponse {
            verdicts: verdicts.collect(),
        })
    })
}

/// What doctor says, which must not be any part of a token.
fn examined(job: &Job, status: i32) -> String {
    let output = job.client(&["doctor"]);
    let said = stdout(&output);
    assert_eq!(
        output.status.code(),
        Some(status),
        "{said}{}",
        stderr(&output)
    );
    assert!(!said.contains("eyJ"), "{said}");
    let json = job.client(&["doctor", "--json"]);
    assert_eq!(json.status.code(), Some(status));
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["well"], status == 0);
    // Both forms have the same steps.
    let steps = json["steps"].as_array().unwrap();
    let marks = said.lines().filter(|line| !line.starts_with(' '));
    let shown = steps.iter().map(|step| match step["state"].as_str() {
        Some("good") => '✓',
        Some("wrong") => '✗',
        _ => '-',
    });
    assert!(marks.map(|line| line.chars().next().unwrap()).eq(shown));
    said
}

#[test]
fn all_is_well() {
    let provider = answering(true);
    let claims = r#"{"iss":"https://gitlab.example.com","aud":"api://AzureADTokenExchange",
        "sub":"project_path:a/b","job_id":"812","iat":1000000000,"exp":4102444800}"#;
    let job = Job::new(&provider.socket(), &spec(&["A"], true)).with("AZURE_JWT", &token(claims));
    let said = examined(&job, 0);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "✓ spec     asks for 1 secret");
    assert!(
        lines[1].starts_with(
            "✓ token    iss https://gitlab.example.com, aud api://AzureADTokenExchange, sub \
             project_path:a/b, job_id 812; "
        ),
        "{said}"
    );
    assert!(lines[1].contains(" old, ends in "), "{said}");
    assert!(lines[2].starts_with("✓ socket   /"), "{said}");
    assert!(lines[3].starts_with("✓ daemon   answers"), "{said}");
    assert_eq!(lines[4], "✓ verdict  the daemon takes the token");
    assert_eq!(lines[5], "✓ policy   A: granted by the rule shop");
    assert_eq!(lines.len(), 6);
}

/// The step that has the first cross, and a part of what it says or advises.
fn broken(job: &Job, step: &str, part: &str) {
    let said = examined(job, 1);
    let cross = said.find("✗ ").unwrap_or_else(|| panic!("{said}"));
    let first = &said[cross + "✗ ".len()..];
    assert!(first.starts_with(step), "{step}: {said}");
    let end = first
        .find("\n✗")
        .or_else(|| first.find("\n-"))
        .unwrap_or(first.len());
    assert!(first[..end].contains(part), "{part}: {said}");
}

#[test]
fn a_broken_spec_is_named() {
    let provider = answering(true);
    let socket = provider.socket();
    let usual = || Job::new(&socket, &spec(&["A"], true));
    broken(
        &usual().without("RUNNER_SECRETS"),
        "spec",
        "RUNNER_SECRETS_FILE",
    );
    broken(
        &usual().with("RUNNER_SECRETS", "A: {vault: a}"),
        "spec",
        "leave this secret",
    );
    broken(
        &usual().with("RUNNER_SECRETS", "A: 7"),
        "spec",
        "azure_key_vault:",
    );
    broken(
        &usual().with("RUNNER_SECRETS_FILE", "/nowhere"),
        "spec",
        "/nowhere",
    );
}

#[test]
fn a_broken_token_is_named() {
    let provider = answering(true);
    let socket = provider.socket();
    let usual = || Job::new(&socket, &spec(&["A"], true));
    broken(&usual().without("AZURE_JWT"), "token", "id_tokens:");
    let second = token(r#"{"job_id":"812","aud":"sigstore"}"#);
    broken(
        &usual().with("SIGSTORE_JWT", &second),
        "token",
        "token: $AZURE_JWT",
    );
    let named = "A: {azure_key_vault: {name: a}, token: $AZURE_JWT}";
    let named = || usual().with("RUNNER_SECRETS", named);
    broken(
        &named().with("AZURE_JWT", "$OTHER"),
        "token",
        "was not expanded",
    );
    broken(
        &named().with("AZURE_JWT", "nonsense"),
        "token",
        "holds no ID token",
    );
    broken(
        &named().with("AZURE_JWT", &id_token("811")),
        "token",
        "child pipelines",
    );
    let old = token(r#"{"job_id":"812","exp":1000000000}"#);
    broken(&usual().with("AZURE_JWT", &old), "token", "expired");
    let early = token(r#"{"job_id":"812","iat":4102440000,"exp":4102444800}"#);
    broken(
        &usual().with("AZURE_JWT", &early),
        "token",
        "clock is behind",
    );
    let odd = format!("{}.bm90IGpzb24.c2ln", "eyJhbGciOiJSUzI1NiJ9");
    broken(
        &named().with("AZURE_JWT", &odd),
        "token",
        "no claims that can be read",
    );
}

#[test]
fn a_broken_way_to_the_daemon_is_named() {
    let place = tempfile::tempdir().unwrap();
    let nobody = Job::new(Path::new("/nowhere/api.sock"), &spec(&["A"], true));
    broken(&nobody, "socket", "on a runner that has the daemon");
    let relative = Job::new(Path::new("api.sock"), &spec(&["A"], true));
    broken(&relative, "socket", "is no absolute path");
    let left = place.path().join("left.sock");
    drop(UnixListener::bind(&left).unwrap());
    broken(&Job::new(&left, &spec(&["A"], true)), "socket", "refused");
    let older = Provider::with_files(&[]);
    broken(
        &Job::new(&older.socket(), &spec(&["A"], true)),
        "daemon",
        "update the daemon",
    );
}

#[test]
fn what_the_daemon_refuses_is_named() {
    let denied = answering(false);
    broken(
        &Job::new(&denied.socket(), &spec(&["A"], true)),
        "policy",
        "no rule grants the secret",
    );
    for (reason, code) in [
        (Reason::TokenInvalid, Code::Unauthenticated),
        (Reason::TokenExpired, Code::Unauthenticated),
        (Reason::KeysUnavailable, Code::Unavailable),
        (Reason::CallerDenied, Code::PermissionDenied),
    ] {
        let provider = Provider::explaining(move |_| Err(refusal(reason.name(), code)));
        let job = Job::new(&provider.socket(), &spec(&["A"], true));
        broken(&job, "verdict", reason.name());
    }
}
