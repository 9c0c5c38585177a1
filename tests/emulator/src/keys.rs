//! RSA keys: what the issuer and Entra sign with and publish.
//!
//! Keys are made at start and never leave the process. Making one takes a noticeable part of a
//! second, so keys that need not differ between emulators are made once for the whole process.

use std::sync::{Arc, OnceLock};

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{digest, hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::error::Error;

/// What a key is for that emulators may share.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Role {
    /// Entra signs access tokens with it.
    Entra,
    /// GitLab publishes it next to the one it signs ID tokens with.
    Second,
    /// Nobody publishes it.
    Stranger,
}

/// A key pair with the identifier it is published under.
#[derive(Debug)]
pub(crate) struct SigningKey {
    pub(crate) kid: String,
    pair: RsaPair,
}

impl SigningKey {
    /// Makes a new key; its identifier is its RFC 7638 thumbprint.
    pub(crate) fn generate() -> Result<Self, Error> {
        let pair = RsaPair::generate(KeySize::Rsa2048).map_err(|_| Error::Crypto("RSA key"))?;
        let mut key = Self {
            kid: String::new(),
            pair,
        };
        let (n, e) = key.components();
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        key.kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, thumbprint.as_bytes()));
        Ok(key)
    }

    /// The key of a role, the same in every emulator of this process.
    pub(crate) fn shared(role: Role) -> Result<Arc<Self>, Error> {
        static KEYS: [OnceLock<Arc<SigningKey>>; 3] = [const { OnceLock::new() }; 3];
        let [entra, second, stranger] = &KEYS;
        let slot = match role {
            Role::Entra => entra,
            Role::Second => second,
            Role::Stranger => stranger,
        };
        if let Some(key) = slot.get() {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(Self::generate()?);
        Ok(Arc::clone(slot.get_or_init(|| key)))
    }

    /// RS256 over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &rand::SystemRandom::new(),
                message,
                &mut out,
            )
            .map_err(|_| Error::Crypto("RS256"))?;
        Ok(out)
    }

    /// HS256 over `message` with the *public* key as the secret: the classic confusion attack.
    pub(crate) fn sign_with_public_key_as_secret(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let pem = self.public_pem()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes());
        Ok(hmac::sign(&key, message).as_ref().to_vec())
    }

    /// Whether `signature` over `message` is this key's.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = self.pair.public_key().as_ref();
        signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, public)
            .verify(message, signature)
            .is_ok()
    }

    /// The entry of a JWKS, with the members that both GitLab and Entra publish.
    pub(crate) fn jwk(&self) -> Value {
        let (n, e) = self.components();
        json!({"kty": "RSA", "kid": self.kid, "e": e, "n": n, "use": "sig"})
    }

    fn components(&self) -> (String, String) {
        let public = self.pair.public_key();
        let n = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
        let e = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
        (n, e)
    }

    fn public_pem(&self) -> Result<String, Error> {
        let der: PublicKeyX509Der<'_> = self
            .pair
            .public_key()
            .as_der()
            .map_err(|_| Error::Crypto("public key"))?;
        let body = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = (0..body.len())
            .step_by(64)
            .map(|at| &body[at..body.len().min(at + 64)])
            .collect();
        Ok(format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        ))
    }
}

/// ES256 over `message` by a P-256 key that exists for this call only.
pub(crate) fn sign_es256_once(message: &[u8]) -> Result<Vec<u8>, Error> {
    let rng = rand::SystemRandom::new();
    let key = signature::EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| Error::Crypto("P-256 key"))?;
    let signature = key
        .sign(&rng, message)
        .map_err(|_| Error::Crypto("ES256"))?;
    Ok(signature.as_ref().to_vec())
}
