//! `strip_id_tokens`: a job that cannot go to Entra itself.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use crate::{
    runner::{Seen, Work},
    site::{Site, entry, payload, variable},
};

const STRIP: &str = "strip_id_tokens = true";

/// Looks for the claims and the signature, and for every long part of them.
fn assert_absent(work: &Work, token: &str) {
    let text = String::from_utf8(work.bytes.clone()).unwrap();
    for part in token.split('.').skip(1) {
        for start in (0..part.len() - 24).step_by(8) {
            let piece = &part[start..start + 24];
            assert!(!text.contains(piece), "{piece} of the token is left");
        }
    }
}

#[tokio::test]
async fn no_byte_of_the_token_is_left() {
    let site = Site::with(STRIP).await;
    site.put("db", "one");
    let (token, second) = (site.token(7), site.token(7));
    let claims = URL_SAFE_NO_PAD.encode(r#"{"aud":"https://vault.example.com"}"#);
    let others = format!("eyJhbGciOiJSUzI1NiJ9.{claims}.c2lnbmF0dXJl");
    let variables = json!([
        variable("AZURE_JWT", &token),
        variable("SECOND", &second),
        variable("VAULT_JWT", &others),
        variable("EXPANDED", &format!("Bearer {token}; {second}")),
        variable(
            "RUNNER_SECRETS",
            &json!({"API": {"token": second, "azure_key_vault": {"name": "db"}}}).to_string()
        ),
    ]);
    let mut job = payload(
        variables,
        json!({"DB": entry("db"), "V": {"vault": {"jwt": token}}}),
    );
    job["services"] = json!([{"name": "s", "variables": [{"key": "T", "value": token}]}]);
    job["steps"][0]["script"] = json!([format!("curl -H 'Authorization: Bearer {token}'")]);
    site.gitlab.job(7, job);
    let runner = site.runner();
    let work = runner.ask().await.job();
    assert_absent(&work, &token);
    assert_absent(&work, &second);
    let seen = work.environment();
    assert_eq!(seen["EXPANDED"], Seen::Value("Bearer ; ".to_owned()));
    assert_eq!(seen["VAULT_JWT"], Seen::Value(others));
    assert_eq!(seen["DB"], Seen::File("one".to_owned()));
    assert!(!seen.contains_key("AZURE_JWT") && !seen.contains_key("SECOND"));
    runner.run(&work).await;
}

#[tokio::test]
async fn a_job_that_asks_for_nothing_loses_its_token_too() {
    let site = Site::with(STRIP).await;
    let token = site.token(7);
    let variables = json!([variable("AZURE_JWT", &token), variable("A", "b")]);
    site.gitlab.job(7, payload(variables, json!({})));
    let work = site.runner().ask().await.job();
    assert_absent(&work, &token);
    assert_eq!(work.environment()["A"], Seen::Value("b".to_owned()));
}

/// A job whose failure GitLab does not take from us runs on the runner, to fail there.
#[tokio::test]
async fn a_job_that_only_fails_has_no_token_either() {
    let site = Site::with(STRIP).await;
    site.gitlab
        .manners(|manners| manners.refuses = Some(reqwest::StatusCode::BAD_REQUEST));
    let token = site.token(7);
    let variables = json!([variable("AZURE_JWT", &token)]);
    site.gitlab
        .job(7, payload(variables, json!({"DB": entry("missing")})));
    let work = site.runner().ask().await.job();
    assert_absent(&work, &token);
}
