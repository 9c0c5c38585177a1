//! An issuer that Entra must reach over the network: a second emulator.

use azure_emulator::{FederatedCredential, State, TrustedIssuer};
use serde_json::{Value, json};

use crate::bench::{Bench, header};

/// An emulator whose application trusts the issuer of another one.
async fn trusting(issuer: &Bench) -> Bench {
    trusting_url(&issuer.ready().issuer_url, &issuer.ready().ca_file).await
}

async fn trusting_url(issuer: &str, ca_file: &str) -> Bench {
    let mut state = State::default();
    state.federated_credentials = vec![FederatedCredential {
        issuer: Some(issuer.to_owned()),
        ..state.federated_credentials[0].clone()
    }];
    state.issuers = vec![TrustedIssuer {
        issuer: issuer.to_owned(),
        ca_file: Some(ca_file.into()),
    }];
    Bench::with(state).await
}

async fn code(bench: &Bench, token: &str) -> Value {
    bench.exchange(token).await.json["error_codes"][0].clone()
}

#[tokio::test]
async fn its_keys_are_fetched_once_and_again_for_an_unknown_one() {
    let issuer = Bench::new().await;
    let bench = trusting(&issuer).await;
    for _ in 0..2 {
        assert_eq!(bench.exchange(&issuer.id_token()).await.status, 200);
    }
    assert_eq!(issuer.requests("discovery").len(), 1);
    assert_eq!(issuer.requests("jwks").len(), 1);
    let old = issuer.id_token();
    issuer.emulator.rotate_keys(false).unwrap();
    assert_eq!(bench.exchange(&issuer.id_token()).await.status, 200);
    assert_eq!(issuer.requests("jwks").len(), 2);
    assert_eq!(code(&bench, &old).await, 7_000_272);
}

#[tokio::test]
async fn that_does_not_answer_is_50166() {
    let issuer = Bench::new().await;
    let bench = trusting(&issuer).await;
    issuer
        .fault(json!({"route": "discovery", "kind": "status", "status": 503, "count": 1}))
        .await;
    assert_eq!(code(&bench, &issuer.id_token()).await, 50166);
    issuer
        .fault(json!({"route": "jwks", "kind": "html", "count": 1}))
        .await;
    assert_eq!(code(&bench, &issuer.id_token()).await, 50166);
    assert_eq!(bench.exchange(&issuer.id_token()).await.status, 200);
}

#[tokio::test]
async fn whose_certificate_is_not_trusted_is_50166() {
    let issuer = Bench::new().await;
    let other = Bench::new().await;
    let bench = trusting_url(&issuer.ready().issuer_url, &other.ready().ca_file).await;
    assert_eq!(code(&bench, &issuer.id_token()).await, 50166);
}

#[tokio::test]
async fn whose_documents_lack_members_is_501661() {
    let issuer = Bench::new().await;
    let bench = trusting(&issuer).await;
    let empty = json!({"issuer": "x", "subject_types_supported": [], "jwks_uri": "x"});
    issuer
        .fault(json!({"route": "discovery", "kind": "status", "status": 200, "body": empty}))
        .await;
    assert_eq!(code(&bench, &issuer.id_token()).await, 501_661);
}

#[tokio::test]
async fn whose_key_is_of_another_kind_is_5002730() {
    let issuer = Bench::new().await;
    let bench = trusting(&issuer).await;
    let token = issuer.id_token();
    let keys = json!({"keys": [{"kty": "EC", "crv": "P-256", "kid": header(&token)["kid"]}]});
    issuer
        .fault(json!({"route": "jwks", "kind": "status", "status": 200, "body": keys}))
        .await;
    assert_eq!(code(&bench, &token).await, 5_002_730);
}
