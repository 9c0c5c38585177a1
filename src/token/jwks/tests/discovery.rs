//! Where the keys are, by the issuer's own word.

use std::{
    future,
    sync::{Arc, Mutex},
};

use runner_secrets_proto::Reason;
use serde_json::json;
use url::Url;

use super::verify;
use crate::{
    config::issuer::KeySource,
    token::{
        Fetch, Fetched, Verifier,
        tests::{ISSUER, OURS, issuer, key_set},
    },
};

/// Answers discovery with `document` and anything else with keys.
fn discovering(document: &str) -> (Verifier, Arc<Mutex<Vec<String>>>) {
    let url = Url::parse(&format!("{ISSUER}/.well-known/openid-configuration")).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let (log, document) = (Arc::clone(&asked), document.to_owned());
    let fetch = Fetch::new(move |url: Url| {
        log.lock().unwrap().push(url.to_string());
        let body = match url.path() {
            "/.well-known/openid-configuration" => document.clone().into_bytes(),
            _ => key_set(&[OURS.jwk()]),
        };
        let cache_control = None;
        future::ready(Ok(Fetched {
            body,
            cache_control,
        }))
    });
    let verifier = Verifier::new(vec![(issuer(KeySource::Discovery(url)), fetch)]);
    (verifier, asked)
}

#[tokio::test(start_paused = true)]
async fn discovery_leads_to_the_keys() {
    let document = json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/oauth/discovery/keys")});
    let (verifier, asked) = discovering(&document.to_string());
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    assert_eq!(
        *asked.lock().unwrap(),
        [
            "https://gitlab.example.com/.well-known/openid-configuration",
            "https://gitlab.example.com/oauth/discovery/keys",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn discovery_that_leads_elsewhere_is_not_followed() {
    let uri = |uri: &str| json!({"issuer": ISSUER, "jwks_uri": uri}).to_string();
    for (document, problem) in [
        (uri("https://evil.test/keys"), "on another server"),
        (uri("http://gitlab.example.com/keys"), "on another server"),
        (
            uri("https://gitlab.example.com:8443/keys"),
            "on another server",
        ),
        (
            uri("https://gitlab.example.com.evil.test/keys"),
            "on another server",
        ),
        (
            uri("https://gitlab.example.com@evil.test/keys"),
            "on another server",
        ),
        (uri("/oauth/keys"), "is no URL"),
        (json!({"issuer": ISSUER}).to_string(), "names no jwks_uri"),
        (
            json!({"issuer": ISSUER, "jwks_uri": 1}).to_string(),
            "names no jwks_uri",
        ),
        (
            json!({"issuer": format!("{ISSUER}/"), "jwks_uri": ISSUER}).to_string(),
            "names another issuer",
        ),
        (
            json!({"jwks_uri": ISSUER}).to_string(),
            "names another issuer",
        ),
        ("<html>".to_owned(), "is not JSON"),
    ] {
        let (verifier, asked) = discovering(&document);
        let error = verify(&verifier, &OURS.token_for_today())
            .await
            .unwrap_err();
        assert_eq!(error.reason(), Reason::KeysUnavailable, "{document}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains(problem), "{document}: {cause}");
        assert_eq!(asked.lock().unwrap().len(), 1, "{document}");
    }
}
