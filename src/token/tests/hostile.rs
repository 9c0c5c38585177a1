use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256,
    },
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use super::{AUDIENCE, Error, ISSUER, LARGE, NEXT, NOW, OURS, checked, with};

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
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
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
            "with the algorithm \"none\"",
        ),
        (
            "alg None",
            unsigned(&json!({"alg": "None", "kid": "ours"})),
            "the algorithm \"None\"",
        ),
        (
            "RS256 without signature",
            unsigned(&json!({"alg": "RS256", "kid": "ours"})),
            "signature that does not match",
        ),
        (
            "HS256 with the public key",
            hs256(&json!({"alg": "HS256", "kid": "ours"})),
            "the algorithm \"HS256\"",
        ),
        (
            "HS256 called RS256",
            hs256(&json!({"alg": "RS256", "kid": "ours"})),
            "signature that does not match",
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
            "with the key \"made up\", which",
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
            "signature that does not match the key \"ours\"",
        ),
        (
            "large key, right kid",
            LARGE.sign(
                r#"{"alg":"RS256","kid":"ours"}"#,
                &payload,
                &RSA_PKCS1_SHA256,
            ),
            "signature that does not match",
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
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
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
            "was issued by \"https://gitlab.example.com/\", and this daemon accepts tokens of \"https://gitlab.example.com\"",
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
            "claim iss that is no string",
        ),
        ("no iss", token(&json!({"iss": null})), "no claim iss"),
        (
            "aud elsewhere",
            token(&json!({"aud": "https://vault.test"})),
            "is for the audience \"https://vault.test\", and this daemon accepts \"other\" or",
        ),
        (
            "aud list without ours",
            token(&json!({"aud": ["a", "b"]})),
            "the audience \"a\" or \"b\"",
        ),
        (
            "aud empty list",
            token(&json!({"aud": []})),
            "the audience none",
        ),
        (
            "aud list of others",
            token(&json!({"aud": [AUDIENCE, 1]})),
            "claim aud that is no string",
        ),
        (
            "aud begins like ours",
            token(&json!({"aud": format!("{AUDIENCE}/")})),
            "is for the audience",
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
            "claim project_id that is no id",
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
            "claim exp that is no date",
        ),
        (
            "exp a fraction",
            token(&json!({"exp": 1_800_003_600.5})),
            "claim exp that is no date",
        ),
        (
            "exp negative",
            token(&json!({"exp": -1})),
            "claim exp that is no date",
        ),
        (
            "exp beyond dates",
            token(&json!({"exp": 1_u64 << 62})),
            "claim exp that is no date",
        ),
        (
            "exp beyond integers",
            token(&json!({"exp": u64::MAX})),
            "claim exp that is no date",
        ),
        (
            "exp in 32 days",
            token(&json!({"exp": NOW + 32 * 86_400})),
            "which is further off",
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
        ("expired just now", token(&json!({"exp": NOW})), "expired"),
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
            "claim nbf that is no date",
        ),
        (
            "protected yes",
            token(&json!({"ref_protected": "yes"})),
            "claim ref_protected that is no \"true\" or \"false\"",
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
            "claim project_path that is no string",
        ),
        (
            "runner_id negative",
            token(&json!({"runner_id": -1})),
            "claim runner_id that is no whole number",
        ),
        (
            "a claim twice",
            text(&twice),
            "payload that has two members of one name",
        ),
        (
            "nested",
            text(&deep),
            "payload that is nested more than 8 levels deep",
        ),
        (
            "nested 10,000 deep",
            text(&very_deep),
            "payload that is nested more than 8 levels deep",
        ),
        ("payload no JSON", text("hello"), "payload that is not JSON"),
        (
            "payload a list",
            text("[]"),
            "payload that is no JSON object",
        ),
        ("payload empty", text(""), "payload that is not JSON"),
    ]);
    // Within what clocks may differ.
    for changes in [
        json!({"exp": NOW + 1}),
        json!({"nbf": NOW + 30, "iat": NOW + 30}),
        json!({"exp": NOW + 31 * 86_400}),
    ] {
        assert!(checked(&token(&changes)).is_ok(), "{changes}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
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
        ("only dots", "..".into(), "header that is not JSON"),
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
            "signature that does not match",
        ),
        (
            "empty signature",
            format!("{header}.{payload}."),
            "signature that does not match",
        ),
        (
            "short signature",
            format!("{header}.{payload}.AAAA"),
            "signature that does not match",
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
fn sentences_name_times_within_what_can_be_written() {
    let claims = with(&json!({"exp": 253_402_300_799_u64}));
    let error = checked(&OURS.token(&claims)).unwrap_err();
    let sentence = error.to_string();
    assert!(sentence.contains("9999-12-31T23:59:59Z"), "{sentence}");
}
