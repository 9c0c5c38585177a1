use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RsaEncoding};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use serde_json::{Value, json};

use super::{
    Error, IdToken, KeySet, LARGE, NEXT, OURS, check, checked, elsewhere, key_set, now, with,
};

#[test]
fn every_algorithm_of_the_family_is_taken_where_the_key_allows_it() {
    let mut open = OURS.jwk();
    open.as_object_mut().unwrap().remove("alg");
    let keys = KeySet::parse(&key_set(&[open])).unwrap();
    let issuer = elsewhere();
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
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
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
    let issuer = elsewhere();
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
    let issuer = elsewhere();
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
