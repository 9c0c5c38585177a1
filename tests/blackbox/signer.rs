//! An issuer of our own, with its keys in a file: it signs any bytes, also those that are no JSON.

use std::{fs, path::Path, sync::OnceLock};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::daemon::{AUDIENCE, Config};

/// Our issuer. Nothing answers there.
pub(crate) const ISSUER: &str = "https://gitlab.example.com";

const KEY_ID: &str = "ours";

/// Takes our issuer's tokens, with the keys in a file in that directory, instead of the emulator's.
pub(crate) fn issued_by_us(config: Config, directory: &Path) -> Config {
    let file = directory.join("jwks.json");
    publish(&file);
    config
        .text("issuer.url", ISSUER)
        .text("issuer.jwks_file", &file.display().to_string())
}

/// Writes the key set.
pub(crate) fn publish(file: &Path) {
    fs::write(file, json!({"keys": [jwk()]}).to_string()).unwrap();
}

/// The public key as an issuer publishes it.
pub(crate) fn jwk() -> Value {
    let key = key().public_key();
    let n = URL_SAFE_NO_PAD.encode(key.modulus().big_endian_without_leading_zero());
    let e = URL_SAFE_NO_PAD.encode(key.exponent().big_endian_without_leading_zero());
    json!({"kty": "RSA", "kid": KEY_ID, "use": "sig", "alg": "RS256", "n": n, "e": e})
}

/// Made once: that takes a noticeable part of a second.
fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

/// The header of a token of ours.
pub(crate) fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": KEY_ID})
}

/// The claims of a job on main of acme/shop.
pub(crate) fn claims() -> Value {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    json!({
        "iss": ISSUER,
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "aud": AUDIENCE,
        "exp": now + 3600,
        "nbf": now - 5,
        "iat": now,
        "jti": format!("{now}"),
        "project_id": "20",
        "project_path": "acme/shop",
        "job_id": "812",
        "ref": "main",
        "ref_type": "branch",
        "ref_protected": "true",
        "environment": "production",
    })
}

/// A token of these parts, with our signature over exactly these bytes.
pub(crate) fn sign(header: &[u8], payload: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", part(header), part(payload));
    let mut signature = vec![0; key().public_modulus_len()];
    let random = SystemRandom::new();
    let signing = key().sign(
        &RSA_PKCS1_SHA256,
        &random,
        signed.as_bytes(),
        &mut signature,
    );
    signing.unwrap();
    format!("{signed}.{}", part(&signature))
}

/// A token that is good.
pub(crate) fn token() -> String {
    let (header, claims) = (header().to_string(), claims().to_string());
    sign(header.as_bytes(), claims.as_bytes())
}
