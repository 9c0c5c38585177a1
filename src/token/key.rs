//! The keys that an issuer publishes (RFC 7517). Only RSA signature keys of a sound size are
//! usable; the others are remembered with what is wrong with them, so that a token that names one
//! is refused for that.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

use super::{
    Error,
    compact::Compact,
    json::{self, Json, Object},
};

/// A signature algorithm that is accepted (RFC 7518 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256, the one that GitLab uses.
    Rs256,
    /// With SHA-384.
    Rs384,
    /// With SHA-512.
    Rs512,
}

impl Algorithm {
    const ALL: [Self; 3] = [Self::Rs256, Self::Rs384, Self::Rs512];

    /// The name in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    /// Refuse moduli outside of 2,048 to 8,192 bits themselves.
    fn parameters(self) -> &'static RsaParameters {
        match self {
            Self::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &RSA_PKCS1_2048_8192_SHA512,
        }
    }
}

/// The keys of one issuer by their ids.
#[derive(Debug)]
pub struct KeySet(BTreeMap<String, Vec<Result<Key, &'static str>>>);

/// A usable key, ready for each algorithm that it may be used with.
#[derive(Debug)]
struct Key(Vec<(Algorithm, ParsedPublicKey)>);

impl KeySet {
    /// Reads a JSON Web Key Set. One without any usable key is an error: nothing could be verified
    /// with it, and it must not take the place of a good one.
    pub fn parse(text: &[u8]) -> Result<Self, &'static str> {
        let members = json::object(text).map_err(json::Problem::sentence)?;
        let Some(Json::List(list)) = members.get("keys") else {
            return Err("has no list `keys`");
        };
        let mut keys = Self(BTreeMap::new());
        for member in list {
            let Json::Object(member) = member else {
                return Err("has a key that is no object");
            };
            // A key without an id cannot be named by any token.
            if let Some(key_id) = member.get("kid").and_then(Json::text) {
                let same_id = keys.0.entry(key_id.to_owned()).or_default();
                same_id.push(Key::read(member));
            }
        }
        if keys.usable() == 0 {
            return Err("has no RSA signature key of 2,048 to 8,192 bits with an id");
        }
        Ok(keys)
    }

    /// Whether there is a key of that id, usable or not.
    #[must_use]
    pub fn has(&self, key_id: &str) -> bool {
        self.0.contains_key(key_id)
    }

    /// How many keys can be used.
    #[must_use]
    pub fn usable(&self) -> usize {
        self.0.values().flatten().filter(|key| key.is_ok()).count()
    }

    /// Checks a token's signature with the key that it names.
    pub(super) fn check(&self, token: &Compact<'_>, issuer: &str) -> Result<(), Error> {
        let key_id = || token.key_id.clone();
        let issuer = || issuer.to_owned();
        let mut refused = Error::UnknownKey {
            key_id: key_id(),
            issuer: issuer(),
        };
        // Ids are meant to be unique. Where they are not, any of the keys may have signed.
        for key in self.0.get(&token.key_id).into_iter().flatten() {
            let key = match key {
                Ok(key) => key.for_algorithm(token.algorithm),
                Err(problem) => {
                    refused = Error::UnusableKey {
                        key_id: key_id(),
                        issuer: issuer(),
                        problem,
                    };
                    continue;
                }
            };
            match key.map(|key| key.verify_sig(token.signed.as_bytes(), &token.signature)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(_)) => {
                    refused = Error::Signature {
                        key_id: key_id(),
                        issuer: issuer(),
                    };
                }
                None => {
                    refused = Error::AlgorithmOfKey {
                        found: token.algorithm.name(),
                        key_id: key_id(),
                    };
                }
            }
        }
        Err(refused)
    }
}

impl Key {
    /// The key, or what is wrong with it as the end of a sentence.
    fn read(member: &Object) -> Result<Self, &'static str> {
        let text = |name: &str| member.get(name).and_then(Json::text);
        if text("kty") != Some("RSA") {
            return Err("is no RSA key");
        }
        if member.contains_key("use") && text("use") != Some("sig") {
            return Err("is not meant for signatures (use)");
        }
        if !may_verify(member) {
            return Err("is not meant for verifying (key_ops)");
        }
        let algorithms = match member.get("alg") {
            None => Algorithm::ALL.to_vec(),
            Some(name) => {
                let named = name.text().and_then(Algorithm::named);
                vec![named.ok_or("is for another algorithm than RS256, RS384 or RS512")?]
            }
        };
        let components = components(member)?;
        let parse = |algorithm: Algorithm| {
            let parsed = components.to_parsed_public_key(algorithm.parameters());
            Ok((algorithm, parsed.map_err(|_| "is no valid RSA key")?))
        };
        let parsed: Result<Vec<_>, &'static str> = algorithms.into_iter().map(parse).collect();
        Ok(Self(parsed?))
    }

    fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        let found = self.0.iter().find(|(own, _)| *own == algorithm);
        found.map(|(_, key)| key)
    }
}

fn may_verify(member: &Object) -> bool {
    match member.get("key_ops") {
        None => true,
        Some(Json::List(operations)) => operations
            .iter()
            .any(|operation| operation.text() == Some("verify")),
        Some(_) => false,
    }
}

fn components(member: &Object) -> Result<RsaPublicKeyComponents<Vec<u8>>, &'static str> {
    let number = |name: &str| {
        let text = member.get(name).and_then(Json::text)?;
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        // Some publishers keep the sign octet of ASN.1.
        let first = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(first..).map(<[u8]>::to_vec)
    };
    let n = number("n").ok_or("has no modulus")?;
    let e = number("e").ok_or("has no exponent")?;
    let unused = n.first().map_or(8, |byte| byte.leading_zeros() as usize);
    if !(2048..=8192).contains(&(n.len() * 8 - unused)) {
        return Err("has a modulus of less than 2,048 or more than 8,192 bits");
    }
    // From 2^16 + 1 up, as FIPS 186-5 asks (small exponents have been broken by sloppy padding
    // checks, though not by this library), and below 2^33, as the library bounds the work.
    let exponent = e
        .iter()
        .try_fold(0_u64, |value, byte| match value.leading_zeros() {
            0..8 => None,
            _ => Some(value << 8 | u64::from(*byte)),
        })
        .filter(|value| (65_537..1 << 33).contains(value) && value % 2 == 1);
    match exponent {
        Some(_) => Ok(RsaPublicKeyComponents { n, e }),
        None => Err("has an exponent that is even, below 65537 or above 2^33"),
    }
}
