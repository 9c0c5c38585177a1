//! `explain`: what the policy would say, printed for people and for machines, and never more than
//! was asked.

use std::path::Path;

use runner_secrets_proto::{
    Reason,
    v1::{ExplainResponse, Verdict},
};
use tonic::Code;

use crate::{
    job::{Job, id_token, spec, stderr, stdout},
    provider::{Provider, refusal},
};

fn granted(rule: &str) -> Verdict {
    Verdict {
        granted: true,
        rule: rule.to_owned(),
        sentence: format!("rule \"{rule}\" grants it"),
    }
}

fn denied(sentence: &str) -> Verdict {
    Verdict {
        sentence: sentence.to_owned(),
        ..Verdict::default()
    }
}

fn saying(verdicts: Vec<(&'static str, Verdict)>) -> Provider {
    let pairs = verdicts.into_iter();
    let verdicts = pairs.map(|(name, verdict)| (name.to_owned(), verdict));
    let answer = ExplainResponse {
        verdicts: verdicts.collect(),
    };
    Provider::explaining(move |_| Ok(answer.clone()))
}

#[test]
fn what_is_granted_is_said_with_its_rule() {
    let provider = saying(vec![
        ("A", granted("shop production")),
        ("STRIPE_KEY", granted("shop production")),
    ]);
    let job = Job::new(&provider.socket(), &spec(&["A", "STRIPE_KEY"], true));
    let output = job.client(&["explain"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stdout(&output),
        "granted  A           shop production\ngranted  STRIPE_KEY  shop production\n"
    );
    assert_eq!(stderr(&output), "");
    let calls = provider.calls();
    assert_eq!(calls.explained[0].id_token, id_token("812"));
    assert_eq!(calls.explained[0].owner_pid, 0);
    assert!(calls.resolved.is_empty() && calls.released.is_empty());
}

#[test]
fn what_is_denied_is_said_with_the_reason() {
    let provider = saying(vec![
        ("A", granted("shop production")),
        ("B", denied("no rule grants the secret b (variable B)")),
    ]);
    let job = Job::new(&provider.socket(), &spec(&["A", "B"], true));
    let output = job.client(&["explain"]);
    assert_eq!(output.status.code(), Some(77));
    assert_eq!(
        stdout(&output),
        "granted  A  shop production\ndenied   B\n    no rule grants the secret b (variable B)\n"
    );
}

#[test]
fn machines_get_json() {
    let provider = saying(vec![
        ("A", granted("shop")),
        ("B", denied("no \u{1b}[31mrule")),
    ]);
    let job = Job::new(&provider.socket(), &spec(&["A", "B"], true));
    let output = job.client(&["explain", "--json"]);
    assert_eq!(output.status.code(), Some(77));
    assert_eq!(
        stdout(&output),
        "{\"request_id\":\"7f3a-test\",\"granted\":false,\"secrets\":[\
         {\"variable\":\"A\",\"granted\":true,\"rule\":\"shop\",\
         \"sentence\":\"rule \\\"shop\\\" grants it\"},\
         {\"variable\":\"B\",\"granted\":false,\"rule\":null,\
         \"sentence\":\"no \\u001b[31mrule\"}]}\n"
    );
}

#[test]
fn an_answer_to_something_else_is_not_printed() {
    for (verdicts, problem) in [
        (vec![], "leaves out A"),
        (
            vec![("A", granted("x")), ("B\nC", granted("x"))],
            "adds B\\u{a}C",
        ),
    ] {
        let provider = saying(verdicts);
        let job = Job::new(&provider.socket(), &spec(&["A"], true));
        let output = job.client(&["explain"]);
        assert_eq!(output.status.code(), Some(70), "{problem}");
        assert_eq!(stdout(&output), "");
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
}

#[test]
fn verdicts_cannot_steer_the_screen() {
    let provider = saying(vec![
        ("A", granted("\u{1b}[2J\rshop\u{202e}")),
        ("B", denied("\u{9b}2K\nA  granted")),
    ]);
    let job = Job::new(&provider.socket(), &spec(&["A", "B"], true));
    assert_eq!(
        stdout(&job.client(&["explain"])),
        "granted  A  \\u{1b}[2J\\u{d}shop\\u{202e}\ndenied   B\n    \\u{9b}2K\\u{a}A  granted\n"
    );
}

#[test]
fn an_older_daemon_is_said_to_be_one() {
    let provider = Provider::with_files(&[]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["explain"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        stderr(&output),
        format!(
            "runner-secrets: the daemon at the socket {} is older than this client and cannot \
             explain (REQUEST_INVALID)
  refused by  runner-secrets itself; nothing was sent
  to fix      have the operator update the daemon
  see         docs/troubleshooting.md#no-explain
",
            provider.socket().display()
        )
    );
}

#[test]
fn a_refusal_has_its_own_status() {
    let provider = Provider::explaining(|_| {
        let reason = Reason::TokenExpired.name();
        Err(refusal(reason, Code::Unauthenticated))
    });
    let job = Job::new(&provider.socket(), &spec(&["A"], true));
    let output = job.client(&["explain"]);
    assert_eq!(output.status.code(), Some(65));
    assert_eq!(
        stderr(&output),
        "runner-secrets: the rule says no (TOKEN_EXPIRED, request 7f3a-test)\n"
    );
}

#[test]
fn there_has_to_be_a_spec_to_explain() {
    let job = Job::new(Path::new("/nowhere/api.sock"), "").without("RUNNER_SECRETS");
    let output = job.client(&["explain"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(stderr(&output).contains("there is nothing to explain"));
}
