use std::{
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};
use static_assertions::assert_not_impl_any;
use url::Url;

use super::{Claims, Error, KeySet, check, peek};
use crate::{
    config::issuer::{Issuer, KeySource},
    secret::IdToken,
};

mod hostile;
mod key;

assert_not_impl_any!(Claims: Clone, serde::Serialize);

pub(super) const ISSUER: &str = "https://gitlab.example.com";
const AUDIENCE: &str = "api://AzureADTokenExchange";
const NOW: u64 = 1_800_000_000;

/// A key of an issuer.
pub(super) struct Signer {
    pub(super) id: &'static str,
    key: KeyPair,
}

fn signer(id: &'static str, size: KeySize) -> Signer {
    let key = KeyPair::generate(size).unwrap();
    Signer { id, key }
}

// Making a key takes longer than any test: three are enough.
pub(super) static OURS: LazyLock<Signer> = LazyLock::new(|| signer("ours", KeySize::Rsa2048));
pub(super) static NEXT: LazyLock<Signer> = LazyLock::new(|| signer("next", KeySize::Rsa2048));
static LARGE: LazyLock<Signer> = LazyLock::new(|| signer("large", KeySize::Rsa4096));

impl Signer {
    pub(super) fn jwk(&self) -> Value {
        let public = self.key.public_key();
        let part = |bytes: &[u8]| BASE64.encode(bytes);
        json!({
            "kty": "RSA", "kid": self.id, "use": "sig", "alg": "RS256",
            "n": part(public.modulus().big_endian_without_leading_zero()),
            "e": part(public.exponent().big_endian_without_leading_zero()),
        })
    }

    fn signature(&self, text: &str, padding: &'static dyn RsaEncoding) -> Vec<u8> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                padding,
                &SystemRandom::new(),
                text.as_bytes(),
                &mut signature,
            )
            .unwrap();
        signature
    }

    /// A token of this header and payload, whatever they are.
    fn sign(&self, header: &str, payload: &str, padding: &'static dyn RsaEncoding) -> String {
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(payload));
        let signature = self.signature(&text, padding);
        format!("{text}.{}", BASE64.encode(signature))
    }

    fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": self.id});
        self.sign(&header.to_string(), &claims.to_string(), &RSA_PKCS1_SHA256)
    }

    /// A token valid when the tests of the cache run.
    pub(super) fn token_for_today(&self) -> IdToken {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let times = json!({"iat": now, "nbf": now - 5, "exp": now + 3600});
        IdToken::new(self.token(&with(&times)))
    }
}

pub(super) fn key_set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

pub(super) fn issuer(keys: KeySource) -> Issuer {
    Issuer {
        url: ISSUER.into(),
        audiences: vec!["other".into(), AUDIENCE.into()],
        keys,
        ca_file: None,
    }
}

/// An issuer whose keys are given.
fn elsewhere() -> Issuer {
    issuer(KeySource::Url(Url::parse("https://keys.test").unwrap()))
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// What GitLab sends, with these members instead; null takes one away.
fn with(changes: &Value) -> Value {
    let mut claims = json!({
        "namespace_id": "2", "namespace_path": "acme", "project_id": "20",
        "project_path": "acme/shop", "user_id": "5", "user_login": "ada",
        "user_email": "ada@example.com", "user_access_level": "developer",
        "user_identities": [{"provider": "saml", "extern_uid": "ada-extern"}],
        "pipeline_id": "100", "pipeline_source": "push", "job_id": "812", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true",
        "groups_direct": ["acme", "acme/operators"], "environment": "production",
        "environment_protected": "false", "deployment_tier": "production", "runner_id": 7,
        "runner_environment": "self-hosted", "sha": "0123", "ci_config_ref_uri": null,
        "project_visibility": "private", "job_config": {"url": "x", "sha": "y"},
        "jti": "f0f0", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 3600, "iss": ISSUER,
        "sub": "project_path:acme/shop:ref_type:branch:ref:main", "aud": AUDIENCE,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

fn checked(token: &str) -> Result<Claims, Error> {
    let keys = KeySet::parse(&key_set(&[OURS.jwk(), LARGE.jwk()])).unwrap();
    check(&IdToken::new(token.into()), &keys, &elsewhere(), now())
}

#[test]
fn token_of_gitlab_becomes_claims() {
    let claims = checked(&OURS.token(&with(&json!({})))).unwrap();
    assert_eq!(claims.issuer, ISSUER);
    assert_eq!(claims.audiences, [AUDIENCE]);
    assert_eq!(claims.expires_at, now() + Duration::from_secs(3600));
    assert_eq!(claims.issued_at, Some(now()));
    assert_eq!(
        (claims.project_id.as_str(), claims.job_id.as_str()),
        ("20", "812")
    );
    assert_eq!(
        (claims.ref_protected, claims.environment_protected),
        (Some(true), Some(false))
    );
    assert_eq!(claims.runner_id, Some(7));
    assert_eq!(claims.git_ref.as_deref(), Some("main"));
    assert_eq!(claims.ci_config_ref_uri, None);
    assert_eq!(claims.bound("runner_id").unwrap(), ["7"]);
    assert_eq!(claims.bound("ref_protected").unwrap(), ["true"]);
    assert_eq!(
        claims.bound("groups_direct").unwrap(),
        ["acme", "acme/operators"]
    );
    assert_eq!(claims.bound("project_visibility").unwrap(), ["private"]);
    for absent in [
        "job_config",
        "ci_config_ref_uri",
        "user_email",
        "user_identities",
        "no",
    ] {
        assert_eq!(claims.bound(absent), None, "{absent}");
    }
    let debug = format!("{claims:?}");
    assert!(
        !debug.contains("ada@example.com") && !debug.contains("ada-extern"),
        "{debug}"
    );
}

#[test]
fn other_types_that_mean_the_same_are_taken() {
    for changes in [
        json!({"ref_protected": true, "project_id": 20, "runner_id": "7"}),
        json!({"aud": [AUDIENCE]}),
        json!({"aud": ["https://somebody.else", AUDIENCE]}),
        json!({"aud": "other"}),
        json!({"environment": null, "environment_protected": null, "runner_id": null}),
        json!({"iat": null, "nbf": null, "jti": null}),
        json!({"unknown": 1.5, "other": [{"a": [1]}]}),
    ] {
        let claims = checked(&OURS.token(&with(&changes)));
        assert!(claims.is_ok(), "{changes}: {:?}", claims.err());
    }
}

#[test]
fn peeking_reads_the_form_only() {
    let expired = OURS.token(&with(&json!({"exp": 1, "iss": "https://elsewhere.test"})));
    let seen = peek(&IdToken::new(expired)).unwrap();
    assert_eq!(
        (seen.key_id.as_str(), seen.algorithm.name()),
        ("ours", "RS256")
    );
    assert_eq!(seen.issuer, "https://elsewhere.test");
    assert!(matches!(
        peek(&IdToken::new("x".into())),
        Err(Error::Shape { .. })
    ));
}

#[test]
fn tokens_of_one_job_share_issuer_project_and_job() {
    let claims = |changes| checked(&OURS.token(&with(&changes))).unwrap();
    let one = claims(json!({}));
    assert!(one.same_job(&claims(json!({"aud": "other", "jti": "x"}))));
    assert!(!one.same_job(&claims(json!({"job_id": "813"}))));
    assert!(!one.same_job(&claims(json!({"project_id": "21"}))));
}
