//! Tokens that are rightly signed, so that it is not the signature that saves us, and whose JSON is
//! not what it seems.

use runner_secrets_proto::Reason;

use super::refuses;
use crate::{call::ask, signer, stage::Stage};

#[tokio::test]
async fn signed_tokens_that_are_no_plain_json_are_refused() {
    let place = crate::daemon::Place::new();
    let directory = place.path("");
    let stage = Stage::with(|config| signer::issued_by_us(config, &directory)).await;
    let header = signer::header().to_string();
    let claims = signer::claims().to_string();
    let body = |payload: &str| signer::sign(header.as_bytes(), payload.as_bytes());
    let head = |header: &str| signer::sign(header.as_bytes(), claims.as_bytes());
    // Members after those of the good one.
    let more = |members: &str| body(&claims.replacen('{', &format!("{{{members},"), 1));
    let more_head = |members: &str| head(&header.replacen('{', &format!("{{{members},"), 1));
    let invalid = |what, token, sentence| (what, token, Reason::TokenInvalid, sentence);
    let twice = "has a payload that has two members of one name";
    let deep = "has a payload that is nested more than 8 levels deep";
    let no_json = "has a payload that is not JSON";
    let open = |count| format!("\"a\":{}", "[".repeat(count));
    let nested = |count| format!("{}{}", open(count), "]".repeat(count));
    let objects = format!("{}1{}", r#"{"a":"#.repeat(1_900), "}".repeat(1_900));
    let cases = [
        invalid("aud twice", more(r#""aud":"vault""#), twice),
        invalid(
            "iss twice, the same",
            more(&format!("\"iss\":\"{}\"", signer::ISSUER)),
            twice,
        ),
        invalid(
            "a project twice",
            more(r#""project_path":"acme/other""#),
            twice,
        ),
        invalid("twice, once escaped", more(r#""\u0061ud":"vault""#), twice),
        invalid("twice further down", more(r#""a":{"b":1,"b":2}"#), twice),
        invalid(
            "alg twice",
            more_head(r#""alg":"none""#),
            "has a header that has two members of one name",
        ),
        invalid("10,000 deep", body(&format!("{{{}", open(10_000))), deep),
        invalid("5,000 deep and closed", more(&nested(5_000)), deep),
        invalid("1,900 objects deep", body(&objects), deep),
        invalid(
            "10,000 deep and closed",
            more(&nested(10_000)),
            "bytes, and this daemon reads less than 16384",
        ),
        invalid(
            "a header 10,000 deep",
            head(&format!("{{{}", open(10_000))),
            "has a header that is nested more than 8 levels deep",
        ),
        invalid("no JSON", body("no JSON"), no_json),
        invalid("nothing", body(""), no_json),
        invalid("half of it", body(&claims[..claims.len() / 2]), no_json),
        invalid("more after it", body(&format!("{claims}{claims}")), no_json),
        invalid(
            "a byte order mark",
            body(&format!("\u{feff}{claims}")),
            no_json,
        ),
        invalid(
            "a comma too many",
            body(&claims.replace('}', ",}")),
            no_json,
        ),
        invalid(
            "no UTF-8",
            signer::sign(header.as_bytes(), b"{\"a\":\"\xff\"}"),
            no_json,
        ),
        invalid(
            "a list",
            body(&format!("[{claims}]")),
            "has a payload that is no JSON object",
        ),
        invalid(
            "text",
            body("\"x\""),
            "has a payload that is no JSON object",
        ),
        invalid(
            "a header that is none",
            head("no JSON"),
            "has a header that is not JSON",
        ),
        invalid(
            "a header that is a list",
            head(&format!("[{header}]")),
            "has a header that is no JSON object",
        ),
        invalid(
            "a header critical of nothing",
            more_head(r#""crit":[]"#),
            "has a critical extension (crit)",
        ),
    ];
    refuses(&stage, &cases).await;
    // What they were made of is good, and an issuer whose keys are in a file is not called.
    let caller = stage.caller().await;
    for token in [signer::token(), more(&nested(5)), more(r#""a":{"b":1}"#)] {
        let verdicts = caller.explain(ask(&token).file("A", "db-password")).await;
        assert!(verdicts.unwrap()["A"].granted);
    }
    assert!(stage.emulator.requests().is_empty());
}
