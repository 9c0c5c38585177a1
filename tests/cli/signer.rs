//! An issuer: one key, and tokens signed with it.

use std::{
    sync::LazyLock,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://gitlab.example.com";
pub(crate) const EMAIL: &str = "ada.canary@example.com";

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

/// What the issuer publishes.
pub(crate) fn jwks() -> String {
    let public = KEY.public_key();
    let key = json!({
        "kty": "RSA", "kid": "ours", "use": "sig", "alg": "RS256",
        "n": BASE64.encode(public.modulus().big_endian_without_leading_zero()),
        "e": BASE64.encode(public.exponent().big_endian_without_leading_zero()),
    });
    json!({ "keys": [key] }).to_string()
}

/// A token of a job that deploys `acme/shop` to production, with these claims instead.
pub(crate) fn token(changes: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": "api://AzureADTokenExchange", "iat": now, "nbf": now - 5,
        "exp": now + 3600, "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "project_id": "20", "project_path": "acme/shop", "namespace_path": "acme",
        "job_id": "812", "ref": "main", "ref_type": "branch", "ref_protected": "true",
        "environment": "production", "pipeline_source": "push", "user_login": "ada",
        "user_email": EMAIL,
    });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "ours"});
    let text = [header, claims].map(|part| BASE64.encode(part.to_string()));
    let text = text.join(".");
    let mut signature = vec![0; KEY.public_modulus_len()];
    let random = SystemRandom::new();
    KEY.sign(&RSA_PKCS1_SHA256, &random, text.as_bytes(), &mut signature)
        .unwrap();
    format!("{text}.{}", BASE64.encode(signature))
}
