//! Which ID token goes with a request, as the daemon sees it.

use crate::{
    job::{Job, id_token, spec, stderr, token},
    provider::Provider,
};

#[test]
fn the_jobs_only_token_is_found() {
    let provider = Provider::with_files(&[]);
    let job = Job::new(&provider.socket(), &spec(&["A", "B"], true))
        .with("OTHER_JOBS", &id_token("811"))
        .with("CI_JOB_JWT", &token(r#"{"sub":"old"}"#));
    assert!(job.client(&["env"]).status.success());
    let calls = provider.calls();
    assert_eq!(calls.resolved[0].id_token, id_token("812"));
    assert!(calls.resolved[0].secrets["A"].id_token.is_empty());
}

/// GitLab expands variables in variables, unless they have `expand: false`.
#[test]
fn a_token_that_gitlab_expanded_is_taken_as_it_is() {
    let provider = Provider::with_files(&[]);
    let literal = token(r#"{"job_id":"812","aud":"literal"}"#);
    let text = format!("A: {{azure_key_vault: {{name: a}}, token: {literal}}}");
    let job = Job::new(&provider.socket(), &text);
    assert!(job.client(&["env"]).status.success());
    assert_eq!(provider.calls().resolved[0].id_token, literal);
}

#[test]
fn several_tokens_go_with_their_secrets() {
    let provider = Provider::with_files(&[]);
    let other = token(r#"{"job_id":"812","aud":"other"}"#);
    let text = "A: {azure_key_vault: {name: a}, token: $AZURE_JWT}\n\
                B: {azure_key_vault: {name: b}, token: $OTHER_JWT}\n";
    let job = Job::new(&provider.socket(), text).with("OTHER_JWT", &other);
    assert!(job.client(&["env"]).status.success());
    let calls = provider.calls();
    assert!(calls.resolved[0].id_token.is_empty());
    assert_eq!(calls.resolved[0].secrets["A"].id_token, id_token("812"));
    assert_eq!(calls.resolved[0].secrets["B"].id_token, other);
}

#[test]
fn no_token_and_two_tokens_are_explained_with_the_lines_to_add() {
    let provider = Provider::with_files(&[]);
    let job = Job::new(&provider.socket(), &spec(&["A"], true)).without("AZURE_JWT");
    let output = job.client(&["env"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        stderr(&output),
        "runner-secrets: A.token: no variable holds an ID token of job 812 (REQUEST_INVALID)
  refused by  runner-secrets itself; nothing was sent
  to fix      the job itself needs these lines in .gitlab-ci.yml:
              id_tokens:
                AZURE_JWT:
                  aud: api://AzureADTokenExchange
  see         docs/troubleshooting.md#no-id-token
"
    );
    let second = token(r#"{"job_id":"812","aud":"sigstore"}"#);
    let job = Job::new(&provider.socket(), &spec(&["A"], true)).with("SIGSTORE_JWT", &second);
    let output = job.client(&["env"]);
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(
        stderr(&output),
        "runner-secrets: A.token: there are 2 ID tokens of job 812 (AZURE_JWT, SIGSTORE_JWT) \
         (REQUEST_INVALID)
  refused by  runner-secrets itself; nothing was sent
  to fix      say in the spec which one to use:
              A:
                token: $AZURE_JWT
  see         docs/troubleshooting.md#no-id-token
"
    );
    assert!(provider.calls().resolved.is_empty());
}
