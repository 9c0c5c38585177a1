//! Any bytes as a token: refused with one short sentence, never a panic, and never taken for
//! verified, because no key in the set could have signed it. To get past base64 and find the JSON
//! readers, input with dots in it is also tried as the plain text of header and payload.

#![no_main]

use std::{
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use libfuzzer_sys::fuzz_target;
use runner_secrets::{
    config::{Config, issuer::Issuer},
    name::{SecretName, VariableName},
    policy::{Asked, Policy},
    secret::IdToken,
    token::{self, KeySet},
};

const SAMPLE: &str = include_str!("../../../deploy/config/config.toml");

/// Nobody has the other half of this key: its modulus is no product of two primes that anybody
/// chose.
const MODULUS: &str = "wAAB";

static WORLD: LazyLock<(KeySet, Issuer, Policy)> = LazyLock::new(|| {
    let modulus = MODULUS.repeat(86);
    let modulus = &modulus[..342];
    let keys =
        format!(r#"{{"keys":[{{"kty":"RSA","kid":"k","use":"sig","n":"{modulus}","e":"AQAB"}}]}}"#);
    let Config {
        mut issuers,
        rules,
        defaults,
        ..
    } = Config::parse(SAMPLE).expect("the sample configuration is right");
    let policy = Policy::new(rules, defaults);
    let keys = KeySet::parse(keys.as_bytes()).expect("the key is usable");
    (keys, issuers.remove(0), policy)
});

fuzz_target!(|input: &[u8]| {
    let (keys, issuer, policy) = &*WORLD;
    if let Ok(text) = std::str::from_utf8(input) {
        refuse(text.to_owned(), keys, issuer);
    }
    let mut parts = input.splitn(2, |byte| *byte == b'.');
    if let (Some(header), Some(payload)) = (parts.next(), parts.next()) {
        let text = format!("{}.{}.AAAA", base64(header), base64(payload));
        refuse(text.clone(), keys, issuer);
        if let Ok(claims) = token::assume(&IdToken::new(text)) {
            let _ = format!("{claims:?}");
            for explanation in policy.explain(&claims, &[asked()]) {
                let lines = explanation.account.iter().map(|line| line.says.as_str());
                for said in lines.chain([explanation.sentence.as_str()]) {
                    assert!(said.len() < 16 * 1024 && !said.contains(['\n', '\r', '\u{1b}']));
                }
            }
        }
    }
    let _ = KeySet::parse(input);
});

fn refuse(text: String, keys: &KeySet, issuer: &Issuer) {
    let token = IdToken::new(text);
    let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let error = token::check(&token, keys, issuer, now).expect_err("nobody signed it");
    let sentence = error.to_string();
    assert!(sentence.len() < 16 * 1024 && !sentence.contains(['\n', '\r', '\u{1b}']));
    let _ = token::peek(&token);
}

fn asked() -> Asked {
    Asked {
        variable: VariableName::parse("DB_PASSWORD").expect("a name"),
        name: SecretName::parse("db-password").expect("a name"),
        version: None,
        vault: None,
        tenant_id: None,
        client_id: None,
    }
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(bits);
        for digit in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * digit)) & 63;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}
