use std::{
    fmt::Write as _,
    sync::LazyLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};
use static_assertions::assert_not_impl_any;
use url::Url;

use super::{Claims, Error, KeySet, check, peek};
use crate::{
    config::issuer::{Issuer, KeySource},
    secret::IdToken,
};

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
    let source = KeySource::Url(Url::parse("https://keys.test").unwrap());
    check(&IdToken::new(token.into()), &keys, &issuer(source), now())
}

/// Checks that each token is refused for this reason with a sentence that has this text and
/// neither a part of the token nor a line break in it.
fn refused(cases: &[(&str, String, &str)]) {
    for (case, token, text) in cases {
        let error = checked(token).expect_err(case);
        let sentence = error.to_string();
        assert!(sentence.contains(text), "{case}: {sentence}");
        assert!(!sentence.contains('\n'), "{case}: {sentence}");
        assert!(sentence.len() < 1024, "{case}: {sentence}");
        for part in token.split('.').filter(|part| part.len() > 3) {
            assert!(!sentence.contains(part), "{case}: {sentence}");
        }
        let reason = match error {
            Error::Expired { .. } => Reason::TokenExpired,
            _ => Reason::TokenInvalid,
        };
        assert_eq!(error.reason(), reason, "{case}");
    }
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
fn every_algorithm_of_the_family_is_taken_where_the_key_allows_it() {
    let mut open = OURS.jwk();
    open.as_object_mut().unwrap().remove("alg");
    let keys = KeySet::parse(&key_set(&[open])).unwrap();
    let source = KeySource::Url(Url::parse("https://keys.test").unwrap());
    let issuer = issuer(source);
    let paddings: [(&str, &'static dyn RsaEncoding); 3] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
    ];
    for (name, padding) in paddings {
        let header = json!({"alg": name, "kid": "ours"}).to_string();
        let token = OURS.sign(&header, &with(&json!({})).to_string(), padding);
        assert!(
            check(&IdToken::new(token.clone()), &keys, &issuer, now()).is_ok(),
            "{name}"
        );
        if name != "RS256" {
            let error = checked(&token).unwrap_err();
            assert!(matches!(error, Error::AlgorithmOfKey { .. }), "{error}");
        }
    }
    assert!(checked(&LARGE.token(&with(&json!({})))).is_ok());
}

#[test]
fn hostile_headers_are_refused() {
    let payload = with(&json!({})).to_string();
    let rs256 = |header: &Value| OURS.sign(&header.to_string(), &payload, &RSA_PKCS1_SHA256);
    let unsigned = |header: &Value| {
        format!(
            "{}.{}.",
            BASE64.encode(header.to_string()),
            BASE64.encode(&payload)
        )
    };
    // The public key, which everybody has, as the secret of a symmetric algorithm.
    let public = OURS.key.public_key().as_ref().to_vec();
    let hs256 = |header: &Value| {
        let text = format!(
            "{}.{}",
            BASE64.encode(header.to_string()),
            BASE64.encode(&payload)
        );
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), text.as_bytes());
        format!("{text}.{}", BASE64.encode(tag))
    };
    let es256 = {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let header = json!({"alg": "ES256", "kid": "ours"}).to_string();
        let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(&payload));
        let signature = key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", BASE64.encode(signature))
    };
    let ps256 = {
        let header = json!({"alg": "PS256", "kid": "ours"}).to_string();
        OURS.sign(&header, &payload, &RSA_PSS_SHA256)
    };
    let twice = r#"{"alg":"RS256","kid":"ours","alg":"RS256"}"#;
    refused(&[
        (
            "alg none",
            unsigned(&json!({"alg": "none", "kid": "ours"})),
            "the algorithm \"none\"",
        ),
        (
            "alg None",
            unsigned(&json!({"alg": "None", "kid": "ours"})),
            "the algorithm \"None\"",
        ),
        (
            "RS256 without signature",
            unsigned(&json!({"alg": "RS256", "kid": "ours"})),
            "signature does not match",
        ),
        (
            "HS256 with the public key",
            hs256(&json!({"alg": "HS256", "kid": "ours"})),
            "the algorithm \"HS256\"",
        ),
        (
            "HS256 called RS256",
            hs256(&json!({"alg": "RS256", "kid": "ours"})),
            "signature does not match",
        ),
        ("ES256", es256, "the algorithm \"ES256\""),
        ("PS256", ps256, "the algorithm \"PS256\""),
        (
            "rs256 in lower case",
            rs256(&json!({"alg": "rs256", "kid": "ours"})),
            "the algorithm \"rs256\"",
        ),
        (
            "no alg",
            rs256(&json!({"kid": "ours"})),
            "names no algorithm",
        ),
        (
            "alg a number",
            rs256(&json!({"alg": 1, "kid": "ours"})),
            "has no text in alg",
        ),
        (
            "alg with a line break",
            rs256(&json!({"alg": "a\nb", "kid": "ours"})),
            r"a\nb",
        ),
        (
            "alg twice",
            OURS.sign(twice, &payload, &RSA_PKCS1_SHA256),
            "two members of one name",
        ),
        (
            "no kid",
            rs256(&json!({"alg": "RS256"})),
            "names no key (kid)",
        ),
        (
            "empty kid",
            rs256(&json!({"alg": "RS256", "kid": ""})),
            "names a key (kid) of no",
        ),
        (
            "kid a number",
            rs256(&json!({"alg": "RS256", "kid": 1})),
            "has no text in kid",
        ),
        (
            "long kid",
            rs256(&json!({"alg": "RS256", "kid": "k".repeat(256)})),
            "names a key (kid) of no",
        ),
        (
            "unknown kid",
            rs256(&json!({"alg": "RS256", "kid": "made up"})),
            "the key \"made up\", which",
        ),
        (
            "crit",
            rs256(&json!({"alg": "RS256", "kid": "ours", "crit": ["b64"], "b64": false})),
            "critical extension",
        ),
        (
            "empty crit",
            rs256(&json!({"alg": "RS256", "kid": "ours", "crit": []})),
            "critical extension",
        ),
        (
            "access token",
            rs256(&json!({"alg": "RS256", "kid": "ours", "typ": "at+jwt"})),
            "another typ than JWT",
        ),
        (
            "wrong key, right kid",
            NEXT.sign(
                r#"{"alg":"RS256","kid":"ours"}"#,
                &payload,
                &RSA_PKCS1_SHA256,
            ),
            "signature does not match the key \"ours\"",
        ),
        (
            "large key, right kid",
            LARGE.sign(
                r#"{"alg":"RS256","kid":"ours"}"#,
                &payload,
                &RSA_PKCS1_SHA256,
            ),
            "signature does not match",
        ),
    ]);
    // What says where to find the key is not looked at.
    let header = json!({"alg": "RS256", "kid": "ours", "typ": "jwt", "jku": "https://evil.test",
        "x5u": "https://evil.test", "jwk": NEXT.jwk(), "x5c": ["x"]});
    assert!(checked(&rs256(&header)).is_ok());
    let forged = NEXT.sign(&header.to_string(), &payload, &RSA_PKCS1_SHA256);
    assert!(matches!(checked(&forged), Err(Error::Signature { .. })));
}

#[test]
fn hostile_claims_are_refused() {
    let token = |changes: &Value| OURS.token(&with(changes));
    let text = |payload: &str| {
        OURS.sign(
            r#"{"alg":"RS256","kid":"ours"}"#,
            payload,
            &RSA_PKCS1_SHA256,
        )
    };
    let twice = with(&json!({}))
        .to_string()
        .replacen('{', r#"{"project_path":"rich/bank","#, 1);
    let deep = with(&json!({})).to_string().replacen(
        '{',
        &format!(r#"{{"a":{}{},"#, "[".repeat(100), "]".repeat(100)),
        1,
    );
    let very_deep = format!(r#"{{"a":{}"#, "[".repeat(10_000));
    refused(&[
        (
            "iss with a slash",
            token(&json!({"iss": "https://gitlab.example.com/"})),
            "issued by \"https://gitlab.example.com/\", and this daemon accepts tokens from \"https://gitlab.example.com\"",
        ),
        (
            "iss over http",
            token(&json!({"iss": "http://gitlab.example.com"})),
            "was issued by",
        ),
        (
            "iss elsewhere",
            token(&json!({"iss": "https://gitlab.example.com.evil.test"})),
            "was issued by",
        ),
        (
            "iss in capitals",
            token(&json!({"iss": "https://GitLab.example.com"})),
            "was issued by",
        ),
        (
            "iss with white space",
            token(&json!({"iss": " https://gitlab.example.com"})),
            "was issued by",
        ),
        (
            "iss with a line break",
            token(&json!({"iss": "x\ny"})),
            r"x\ny",
        ),
        ("iss long", token(&json!({"iss": "x".repeat(5000)})), "…"),
        (
            "iss a list",
            token(&json!({"iss": [ISSUER]})),
            "claim iss is no string",
        ),
        ("no iss", token(&json!({"iss": null})), "no claim iss"),
        (
            "aud elsewhere",
            token(&json!({"aud": "https://vault.test"})),
            "audience is \"https://vault.test\", and this daemon accepts \"other\" or",
        ),
        (
            "aud list without ours",
            token(&json!({"aud": ["a", "b"]})),
            "audience is \"a\" or \"b\"",
        ),
        (
            "aud empty list",
            token(&json!({"aud": []})),
            "audience is none",
        ),
        (
            "aud list of others",
            token(&json!({"aud": [AUDIENCE, 1]})),
            "claim aud is no string",
        ),
        (
            "aud begins like ours",
            token(&json!({"aud": format!("{AUDIENCE}/")})),
            "audience is",
        ),
        ("no aud", token(&json!({"aud": null})), "no claim aud"),
        ("no sub", token(&json!({"sub": null})), "no claim sub"),
        (
            "no project_id",
            token(&json!({"project_id": null})),
            "no claim project_id",
        ),
        (
            "empty project_id",
            token(&json!({"project_id": ""})),
            "claim project_id is no id",
        ),
        (
            "no job_id",
            token(&json!({"job_id": null})),
            "no claim job_id",
        ),
        ("no exp", token(&json!({"exp": null})), "no claim exp"),
        (
            "exp a string",
            token(&json!({"exp": "1800003600"})),
            "claim exp is no date",
        ),
        (
            "exp a fraction",
            token(&json!({"exp": 1_800_003_600.5})),
            "claim exp is no date",
        ),
        (
            "exp negative",
            token(&json!({"exp": -1})),
            "claim exp is no date",
        ),
        (
            "exp beyond dates",
            token(&json!({"exp": 1_u64 << 62})),
            "claim exp is no date",
        ),
        (
            "exp beyond integers",
            token(&json!({"exp": u64::MAX})),
            "claim exp is no date",
        ),
        (
            "exp in a year",
            token(&json!({"exp": NOW + 31_536_000})),
            "valid until 2028-01-15T08:00:00Z, which is further off",
        ),
        (
            "expired",
            token(&json!({"exp": NOW - 93})),
            "expired at 2027-01-15T07:58:27Z, 1m 33s ago",
        ),
        (
            "expired just now",
            token(&json!({"exp": NOW - 30})),
            "expired",
        ),
        (
            "expired in 1970",
            token(&json!({"exp": 0})),
            "expired at 1970-01-01T00:00:00Z",
        ),
        (
            "not yet valid",
            token(&json!({"nbf": NOW + 31})),
            "claim nbf is 2027-01-15T08:00:31Z, 31s from now",
        ),
        (
            "issued tomorrow",
            token(&json!({"iat": NOW + 86_400})),
            "claim iat is",
        ),
        (
            "nbf a string",
            token(&json!({"nbf": "1"})),
            "claim nbf is no date",
        ),
        (
            "protected yes",
            token(&json!({"ref_protected": "yes"})),
            "claim ref_protected is no \"true\" or \"false\"",
        ),
        (
            "protected True",
            token(&json!({"ref_protected": "True"})),
            "claim ref_protected",
        ),
        (
            "protected 1",
            token(&json!({"ref_protected": 1})),
            "claim ref_protected",
        ),
        (
            "protected null",
            text(
                &with(&json!({}))
                    .to_string()
                    .replace(r#""ref_protected":"true""#, r#""ref_protected":null"#),
            ),
            "claim ref_protected",
        ),
        (
            "project_path a list",
            token(&json!({"project_path": ["acme/shop"]})),
            "claim project_path is no string",
        ),
        (
            "runner_id negative",
            token(&json!({"runner_id": -1})),
            "claim runner_id is no whole number",
        ),
        (
            "a claim twice",
            text(&twice),
            "payload has two members of one name",
        ),
        (
            "nested",
            text(&deep),
            "payload is nested more than 8 levels deep",
        ),
        (
            "nested 10,000 deep",
            text(&very_deep),
            "payload is nested more than 8 levels deep",
        ),
        ("payload no JSON", text("hello"), "payload is not JSON"),
        ("payload a list", text("[]"), "payload is no JSON object"),
        ("payload empty", text(""), "payload is not JSON"),
    ]);
    // Within what clocks may differ.
    for changes in [
        json!({"exp": NOW - 29}),
        json!({"nbf": NOW + 30, "iat": NOW + 30}),
        json!({"exp": NOW + 31 * 86_400}),
    ] {
        assert!(checked(&token(&changes)).is_ok(), "{changes}");
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let good = OURS.token(&with(&json!({})));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else {
        panic!()
    };
    let filled = |length: usize| {
        let filler = "A".repeat((length - good.len()) * 3 / 4);
        OURS.token(&with(&json!({ "filler": filler })))
    };
    // The last character of a signature has bits to spare, which only one form has at zero.
    let mut loose = good.clone();
    let last = loose.pop().unwrap();
    let position = |byte: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            .iter()
            .position(|own| *own == byte)
            .unwrap()
    };
    loose.push(char::from(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            [position(last as u8) | 1],
    ));
    assert_ne!(loose, good);
    refused(&[
        ("nothing", String::new(), "it has not three parts"),
        (
            "a variable's name",
            "$ID_TOKEN".into(),
            "it has not three parts",
        ),
        (
            "two parts",
            format!("{header}.{payload}"),
            "it has not three parts",
        ),
        (
            "four parts",
            format!("{good}.AAAA"),
            "it has not three parts",
        ),
        (
            "encrypted",
            format!("{header}..AAAA.AAAA.AAAA"),
            "it has not three parts",
        ),
        ("only dots", "..".into(), "header is not JSON"),
        (
            "padding",
            format!("{header}.{payload}.{signature}="),
            "not base64url",
        ),
        (
            "standard alphabet",
            format!("{header}.{payload}.+/+/"),
            "not base64url",
        ),
        ("line break", format!("{good}\n"), "not base64url"),
        ("space", format!(" {good}"), "not base64url"),
        ("loose bits", loose, "not base64url"),
        (
            "not ASCII",
            format!("{header}.{payload}.ä"),
            "not base64url",
        ),
        (
            "changed payload",
            format!(
                "{header}.{}.{signature}",
                BASE64.encode(with(&json!({"project_path": "rich/bank"})).to_string())
            ),
            "signature does not match",
        ),
        (
            "empty signature",
            format!("{header}.{payload}."),
            "signature does not match",
        ),
        (
            "short signature",
            format!("{header}.{payload}.AAAA"),
            "signature does not match",
        ),
        (
            "16 KB",
            filled(17_000),
            "bytes, and this daemon reads less than 16384",
        ),
        ("1 MB", "a".repeat(1 << 20), "has 1048576 bytes"),
    ]);
    let large = filled(16_000);
    assert!((15_000..16_384).contains(&large.len()));
    assert!(checked(&large).is_ok());
}

#[test]
fn peeking_reads_the_form_only() {
    let expired = OURS.token(&with(&json!({"exp": 1, "iss": "https://elsewhere.test"})));
    let seen = peek(&IdToken::new(expired)).unwrap();
    assert_eq!(
        (seen.key_id.as_str(), seen.algorithm.name()),
        ("ours", "RS256")
    );
    assert_eq!(seen.claims().issuer, "https://elsewhere.test");
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

#[test]
fn keys_that_are_not_good_enough_are_named() {
    let mut set = vec![OURS.jwk()];
    let mut expected = Vec::new();
    let mut add = |id: &'static str, changes: Value, problem: &'static str| {
        let mut jwk = OURS.jwk();
        jwk["kid"] = id.into();
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        set.push(jwk);
        expected.push((id, problem));
    };
    let bits = |bits: usize| BASE64.encode([vec![0x80], vec![1; bits / 8 - 1]].concat());
    add("enc", json!({"use": "enc"}), "is not meant for signatures");
    add(
        "sign",
        json!({"key_ops": ["sign"]}),
        "is not meant for verifying",
    );
    add("ec", json!({"kty": "EC"}), "is no RSA key");
    add("pss", json!({"alg": "PS256"}), "is for another algorithm");
    add(
        "small",
        json!({"n": bits(1024)}),
        "has a modulus of less than 2,048",
    );
    add(
        "odd",
        json!({"n": BASE64.encode([vec![0x7f], vec![1; 255]].concat())}),
        "has a modulus of less than 2,048",
    );
    add("huge", json!({"n": bits(8200)}), "more than 8,192 bits");
    add(
        "e1",
        json!({"e": "AQ"}),
        "has an exponent that is even, below",
    );
    add(
        "e3",
        json!({"e": "Aw"}),
        "has an exponent that is even, below",
    );
    add(
        "even",
        json!({"e": BASE64.encode([1, 0, 0])}),
        "has an exponent that is even",
    );
    add(
        "long e",
        json!({"e": BASE64.encode([1; 9])}),
        "has an exponent that is even",
    );
    add("zero", json!({"n": "AAAA"}), "has no modulus");
    add("text", json!({"n": "not base64!"}), "has no modulus");
    let keys = KeySet::parse(&key_set(&set)).unwrap();
    assert_eq!(keys.usable(), 1);
    let source = KeySource::Url(Url::parse("https://keys.test").unwrap());
    let issuer = issuer(source);
    for (id, problem) in expected {
        let header = json!({"alg": "RS256", "kid": id}).to_string();
        let token = OURS.sign(&header, &with(&json!({})).to_string(), &RSA_PKCS1_SHA256);
        let error = check(&IdToken::new(token), &keys, &issuer, now()).unwrap_err();
        assert!(error.to_string().contains(problem), "{id}: {error}");
    }
    let padded = BASE64.encode(
        [
            &[0][..],
            &BASE64.decode(OURS.jwk()["n"].as_str().unwrap()).unwrap(),
        ]
        .concat(),
    );
    let mut jwk = OURS.jwk();
    jwk["n"] = padded.into();
    assert_eq!(KeySet::parse(&key_set(&[jwk])).unwrap().usable(), 1);
}

#[test]
fn key_sets_that_are_of_no_use_are_refused() {
    for (text, problem) in [
        ("", "is not JSON"),
        ("<html>", "is not JSON"),
        ("[]", "is no JSON object"),
        ("{}", "has no list `keys`"),
        (r#"{"keys":{}}"#, "has no list `keys`"),
        (r#"{"keys":[1]}"#, "has a key that is no object"),
        (r#"{"keys":[]}"#, "has no RSA signature key"),
        (
            r#"{"keys":[{"kty":"EC","kid":"x"}]}"#,
            "has no RSA signature key",
        ),
        (r#"{"keys":[],"keys":[]}"#, "has two members of one name"),
    ] {
        let error = KeySet::parse(text.as_bytes()).unwrap_err();
        assert!(error.starts_with(problem), "{text}: {error}");
    }
    let mut unnamed = OURS.jwk();
    unnamed.as_object_mut().unwrap().remove("kid");
    assert!(KeySet::parse(&key_set(&[unnamed])).is_err());
}

#[test]
fn two_keys_of_one_id_may_both_have_signed() {
    let mut next = NEXT.jwk();
    next["kid"] = "ours".into();
    let source = KeySource::Url(Url::parse("https://keys.test").unwrap());
    let issuer = issuer(source);
    let token = || IdToken::new(OURS.token(&with(&json!({}))));
    for set in [[next.clone(), OURS.jwk()], [OURS.jwk(), next.clone()]] {
        let keys = KeySet::parse(&key_set(&set)).unwrap();
        assert!(check(&token(), &keys, &issuer, now()).is_ok());
    }
    let keys = KeySet::parse(&key_set(&[next])).unwrap();
    assert!(matches!(
        check(&token(), &keys, &issuer, now()),
        Err(Error::Signature { .. })
    ));
}

#[test]
fn sentences_name_times_within_what_can_be_written() {
    let mut sentence = String::new();
    let claims = with(&json!({"exp": 253_402_300_799_u64}));
    let error = checked(&OURS.token(&claims)).unwrap_err();
    write!(sentence, "{error}").unwrap();
    assert!(sentence.contains("9999-12-31T23:59:59Z"), "{sentence}");
}
