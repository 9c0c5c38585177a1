//! Hostile tokens, end to end: each is refused for the one thing that is wrong with it, before
//! Entra or a vault hear of the job.

mod json;

use std::time::{SystemTime, UNIX_EPOCH};

use azure_emulator::{IdTokenRequest, KeyChoice};
use runner_secrets_proto::{Reason, v1::Secret};
use serde_json::{Value, json};

use crate::{
    call::ask,
    daemon::until,
    signer,
    stage::{Stage, object},
    trap::Trap,
};

/// What it is, the token, the reason and a part of the sentence.
type Case = (&'static str, String, Reason, &'static str);

/// Each is refused whichever way it comes, says what is wrong and nothing of the token, and nobody
/// is asked.
async fn refuses(stage: &Stage, cases: &[Case]) {
    let caller = stage.caller().await;
    let mut last = String::new();
    for (what, token, reason, sentence) in cases {
        let request = ask(token).file("A", "db-password");
        let own = |secret: &mut Secret| secret.id_token.clone_from(token);
        let as_own = ask("").file("A", "db-password").but("A", own);
        let refusals = [
            caller.refused(request.clone()).await,
            caller.refused(as_own).await,
            caller.explain(request).await.unwrap_err(),
        ];
        for refusal in refusals {
            assert_eq!(refusal.reason, *reason, "{what}: {refusal:?}");
            let field = "the ID token for A";
            let told = refusal.message.strip_prefix(field).unwrap_or_default();
            assert!(told.contains(sentence), "{what}: {refusal:?}");
            let problem = told.trim_start().to_owned();
            assert_eq!(refusal.violations, [(field.to_owned(), problem)], "{what}");
            assert_untold(what, token, &refusal.raw);
        }
        let refusal = caller.release("x", token).await.unwrap_err();
        assert_eq!(refusal.reason, *reason, "{what}: {refusal:?}");
        assert!(refusal.message.contains(sentence), "{what}: {refusal:?}");
        let sent = stage.sent();
        assert!(sent.is_empty(), "{what}: {sent:?}");
        last = refusal.request_id;
    }
    until("everything is in the log", || {
        let log = stage.daemon.log();
        log.contains(&last) && log.ends_with('\n')
    })
    .await;
    let log = stage.daemon.log().into_bytes();
    for (what, token, ..) in cases {
        assert_untold(what, token, &log);
    }
    assert!(stage.place.left().is_empty());
}

/// No part of the token that is long enough to be one is in the output.
fn assert_untold(what: &str, token: &str, output: &[u8]) {
    let parts = token.split('.').filter(|part| part.len() >= 40);
    for part in parts {
        let part = &part.as_bytes()[part.len() - 40..];
        let told = output.windows(part.len()).any(|window| window == part);
        assert!(!told, "{what}: a part of the token is told");
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

#[tokio::test]
async fn tokens_that_the_issuer_did_not_sign_are_refused() {
    let stage = Stage::new().await;
    let headed = |header: Value| stage.token_headed(header);
    let good = stage.token();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let other = stage.token_but(json!({"project_path": "acme/other"}));
    let (other, _) = other.rsplit_once('.').unwrap();
    // A multiple of four, so that it is base64 still.
    let (shorter, _) = signature.split_at(340);
    let both = |key, header: Value| {
        let wanted = IdTokenRequest {
            key,
            header: object(header),
            ..IdTokenRequest::default()
        };
        stage.emulator.id_token(&wanted).unwrap()
    };
    let long_id = "k".repeat(256);
    let invalid = |what, token, sentence| (what, token, Reason::TokenInvalid, sentence);
    let unsigned = "is signed with the algorithm \"none\"; RS256, RS384 and RS512 are accepted";
    let mismatch = "has a signature that does not match the key";
    let cases = [
        invalid("alg none", headed(json!({"alg": "none"})), unsigned),
        invalid(
            "alg none with a signature",
            format!("{}{signature}", headed(json!({"alg": "none"}))),
            unsigned,
        ),
        invalid(
            "alg None",
            headed(json!({"alg": "None"})),
            "the algorithm \"None\"",
        ),
        invalid("alg of no text", headed(json!({"alg": 1})), "alg"),
        invalid(
            "alg empty",
            headed(json!({"alg": ""})),
            "the algorithm \"\"",
        ),
        invalid("no alg", headed(json!({"alg": null})), "names no algorithm"),
        invalid(
            "HS256 with the public key as the secret",
            headed(json!({"alg": "HS256"})),
            "the algorithm \"HS256\"",
        ),
        invalid(
            "ES256",
            headed(json!({"alg": "ES256"})),
            "the algorithm \"ES256\"",
        ),
        invalid(
            "ES256 under the issuer's name of a key",
            both(KeyChoice::Wrong, json!({"alg": "ES256"})),
            "the algorithm \"ES256\"",
        ),
        invalid(
            "PS256",
            headed(json!({"alg": "PS256"})),
            "the algorithm \"PS256\"",
        ),
        invalid(
            "another algorithm than the key's",
            headed(json!({"alg": "RS512"})),
            "is signed with RS512, which is not the algorithm of the key",
        ),
        invalid(
            "another key under the right id",
            stage.token_by(KeyChoice::Wrong, json!({})),
            mismatch,
        ),
        invalid(
            "another token's signature",
            format!("{other}.{signature}"),
            mismatch,
        ),
        invalid("no signature", format!("{signed}."), mismatch),
        invalid(
            "a shorter signature",
            format!("{signed}.{shorter}"),
            mismatch,
        ),
        invalid("no kid", headed(json!({"kid": null})), "names no key (kid)"),
        invalid(
            "an empty kid",
            headed(json!({"kid": ""})),
            "names a key (kid) of no or more than 255 characters",
        ),
        invalid(
            "a long kid",
            headed(json!({"kid": long_id})),
            "names a key (kid) of no or more than 255 characters",
        ),
        invalid(
            "a kid of no text",
            headed(json!({"kid": 7})),
            "no text in kid",
        ),
        invalid(
            "a critical extension",
            headed(json!({"crit": ["exp"], "exp": 1})),
            "has a critical extension (crit)",
        ),
        invalid(
            "an access token",
            headed(json!({"typ": "at+jwt"})),
            "has another typ than JWT",
        ),
    ];
    refuses(&stage, &cases).await;
    // One more of those would be a fetch too many for now.
    let unknown = stage.token_by(KeyChoice::Unknown, json!({}));
    let refusal = stage.caller().await;
    let refusal = refusal
        .refused(ask(&unknown).file("A", "db-password"))
        .await;
    assert_eq!(refusal.reason, Reason::TokenInvalid, "{refusal:?}");
    let publishes = format!(
        "which {} does not publish",
        stage.emulator.ready().issuer_url
    );
    assert!(refusal.message.contains(&publishes), "{refusal:?}");
    assert!(stage.sent().is_empty());
    // The token that most of these were made of is good.
    let caller = stage.caller().await;
    caller.bytes(ask(&good).value("A", "db-password")).await;
}

#[tokio::test]
async fn tokens_that_say_something_else_are_refused() {
    let stage = Stage::new().await;
    let issuer = stage.emulator.ready().issuer_url.clone();
    let now = now();
    let claims = |claims: Value| stage.token_but(claims);
    let invalid = |what, changed, sentence| {
        let token = claims(changed);
        (what, token, Reason::TokenInvalid, sentence)
    };
    let expired = |what, changed, sentence| {
        let token = claims(changed);
        (what, token, Reason::TokenExpired, sentence)
    };
    let by_another = "this daemon accepts tokens of \"https://localhost:";
    let for_another = "this daemon accepts \"api://AzureADTokenExchange\"";
    let pad = |size: usize| {
        let empty = claims(json!({"pad": ""})).len();
        // Base64 makes four bytes of three.
        claims(json!({"pad": "x".repeat((size - empty) * 3 / 4)}))
    };
    let cases = [
        expired(
            "expired an hour ago",
            json!({"exp": now - 3600}),
            "expired at ",
        ),
        expired("expired now", json!({"exp": now}), "expired at "),
        expired("expired in 1970", json!({"exp": 0}), "expired at "),
        expired(
            "expired before it began",
            json!({"exp": now - 10, "nbf": now + 3600}),
            "expired at ",
        ),
        invalid(
            "not yet valid",
            json!({"nbf": now + 3600}),
            "is from the future: its claim nbf is ",
        ),
        invalid(
            "issued tomorrow",
            json!({"iat": now + 86_400}),
            "is from the future: its claim iat is ",
        ),
        invalid("no exp", json!({"exp": null}), "has no claim exp"),
        invalid(
            "valid for ever",
            json!({"exp": 253_402_300_799_i64}),
            "is valid until 9999-12-31T23:59:59Z, which is further off than",
        ),
        invalid(
            "valid for a year",
            json!({"exp": now + 365 * 86_400}),
            "which is further off than GitLab's longest job timeout",
        ),
        invalid(
            "exp of text",
            json!({"exp": "never"}),
            "has a claim exp that is no date",
        ),
        invalid(
            "exp negative",
            json!({"exp": -1}),
            "has a claim exp that is no date",
        ),
        invalid(
            "exp with a fraction",
            json!({"exp": 4.5e9}),
            "has a claim exp that is no date",
        ),
        invalid(
            "nbf of text",
            json!({"nbf": "0"}),
            "has a claim nbf that is no date",
        ),
        invalid(
            "a slash more",
            json!({"iss": format!("{issuer}/")}),
            by_another,
        ),
        invalid(
            "http",
            json!({"iss": issuer.replace("https", "http")}),
            by_another,
        ),
        invalid(
            "HTTPS",
            json!({"iss": issuer.replace("https", "HTTPS")}),
            by_another,
        ),
        invalid(
            "another case",
            json!({"iss": issuer.replace("local", "LOCAL")}),
            by_another,
        ),
        invalid(
            "another host",
            json!({"iss": "https://gitlab.evil.test"}),
            by_another,
        ),
        invalid(
            "a longer host",
            json!({"iss": format!("{issuer}.evil.test")}),
            by_another,
        ),
        invalid(
            "another port",
            json!({"iss": "https://localhost"}),
            by_another,
        ),
        invalid(
            "another address",
            json!({"iss": issuer.replace("localhost", "127.0.0.1")}),
            by_another,
        ),
        invalid(
            "a user's name",
            json!({"iss": issuer.replace("//", "//x@")}),
            by_another,
        ),
        invalid(
            "a space more",
            json!({"iss": format!(" {issuer}")}),
            by_another,
        ),
        invalid("no issuer", json!({"iss": null}), "has no claim iss"),
        invalid(
            "two issuers",
            json!({"iss": [issuer]}),
            "has a claim iss that is no string",
        ),
        invalid(
            "another audience",
            json!({"aud": "https://gitlab.example.com"}),
            for_another,
        ),
        invalid(
            "a longer audience",
            json!({"aud": "api://AzureADTokenExchange/"}),
            for_another,
        ),
        invalid(
            "another case of it",
            json!({"aud": "api://azureadtokenexchange"}),
            for_another,
        ),
        invalid("an empty audience", json!({"aud": ""}), for_another),
        invalid(
            "audiences without ours",
            json!({"aud": ["sigstore", "vault"]}),
            for_another,
        ),
        invalid("an empty list", json!({"aud": []}), for_another),
        invalid("no audience", json!({"aud": null}), "has no claim aud"),
        invalid(
            "ours among what is no text",
            json!({"aud": ["api://AzureADTokenExchange", 1]}),
            "has a claim aud that is no string or list of strings",
        ),
        invalid(
            "an object as the audience",
            json!({"aud": {"api://AzureADTokenExchange": true}}),
            "has a claim aud that is no string or list of strings",
        ),
        invalid("no job", json!({"job_id": null}), "has no claim job_id"),
        invalid(
            "no project",
            json!({"project_id": null}),
            "has no claim project_id",
        ),
        invalid("no subject", json!({"sub": null}), "has no claim sub"),
        invalid(
            "neither protected nor not",
            json!({"ref_protected": "yes"}),
            "has a claim ref_protected that is no \"true\" or \"false\"",
        ),
        invalid(
            "two paths",
            json!({"project_path": ["acme/shop", "acme/other"]}),
            "has a claim project_path that is no string",
        ),
        (
            "16 KB",
            pad(16 * 1024 + 8),
            Reason::TokenInvalid,
            "bytes, and this daemon reads less than 16384",
        ),
        (
            "1 MB",
            pad(1_000_000),
            Reason::TokenInvalid,
            "bytes, and this daemon reads less than 16384",
        ),
    ];
    refuses(&stage, &cases).await;
    assert_eq!(stage.requests("jwks").len(), 1, "no key was looked for");
    // What lies just on the other side is taken. Entra does not take a list, so it is not asked.
    let caller = stage.caller().await;
    for token in [
        claims(json!({"aud": ["vault", "api://AzureADTokenExchange"]})),
        claims(json!({"exp": now + 30 * 86_400})),
        claims(json!({"nbf": now + 10, "iat": now + 10})),
        claims(json!({"nbf": null, "iat": null, "jti": null})),
        claims(json!({"ref_protected": true, "project_id": 20})),
        pad(15_000),
    ] {
        let verdicts = caller.explain(ask(&token).file("A", "db-password")).await;
        assert!(verdicts.unwrap()["A"].granted);
    }
}

#[tokio::test]
async fn a_token_cannot_say_where_its_key_is() {
    let stage = Stage::new().await;
    let trap = Trap::new();
    let url = format!("https://{}/keys", trap.host());
    let places = json!({
        "jku": url,
        "x5u": url,
        "jwk": signer::jwk(),
        "x5c": ["MIIB"],
        "x5t": "x",
    });
    // The issuer's own token, and ours, which the key in its own header would verify.
    let good = stage.token_headed(places.clone());
    let mut header = signer::header();
    header.as_object_mut().unwrap().append(&mut object(places));
    let mut claims = signer::claims();
    claims["iss"] = stage.emulator.ready().issuer_url.clone().into();
    let made = |kid: Option<&str>| {
        let mut header = header.clone();
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        signer::sign(header.to_string().as_bytes(), claims.to_string().as_bytes())
    };
    let kid = kid(&good);
    let caller = stage.caller().await;
    for (token, sentence) in [
        (
            made(Some(&kid)),
            "has a signature that does not match the key",
        ),
        (made(None), "does not publish"),
    ] {
        let refusal = caller.refused(ask(&token).value("A", "db-password")).await;
        assert_eq!(refusal.reason, Reason::TokenInvalid, "{refusal:?}");
        assert!(refusal.message.contains(sentence), "{refusal:?}");
    }
    assert!(stage.sent().is_empty());
    let bytes = caller.bytes(ask(&good).value("A", "db-password")).await;
    assert_eq!(bytes["A"], b"correct horse battery staple");
    assert_eq!(trap.visits(), 0, "a header was followed");
}

/// The key that a token's header names.
fn kid(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let (header, _) = token.split_once('.').unwrap();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}
