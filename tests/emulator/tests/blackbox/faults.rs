//! Every fault, as a client meets it.

use serde_json::{Value, json};

use crate::bench::{Answer, Bench, read};

const PATH: &str = "/secrets/db-password?api-version=7.6";

/// A bench with an access token that was there before the fault.
async fn bench() -> (Bench, String) {
    let bench = Bench::new().await;
    let token = bench.access_token().await;
    (bench, token)
}

async fn send((bench, token): &(Bench, String)) -> reqwest::Result<reqwest::Response> {
    let url = format!("{}{PATH}", bench.ready().vault_url);
    bench.http.get(url).bearer_auth(token).send().await
}

async fn get(bench: &(Bench, String)) -> Answer {
    read(send(bench).await.unwrap()).await
}

#[tokio::test]
async fn status_comes_with_the_wanted_body_and_headers() {
    let bench = bench().await;
    let fault = json!({
        "route": "secret", "kind": "status", "status": 503, "count": 1,
        "body": {"error": "x"}, "headers": {"retry-after": "9"},
    });
    bench.0.fault(fault).await;
    let answer = get(&bench).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json["error"], "x");
    assert_eq!(answer.header("retry-after"), "9");
    assert_eq!(get(&bench).await.status, 200);
}

#[tokio::test]
async fn throttling_is_in_the_words_of_each_service() {
    let bench = bench().await;
    let date = "Fri, 31 Dec 2027 23:59:59 GMT";
    for (retry_after, expected) in [(json!(7), "7"), (json!(date), date)] {
        let fault =
            json!({"route": "secret", "kind": "throttle", "retry_after": retry_after, "count": 1});
        bench.0.fault(fault).await;
        let answer = get(&bench).await;
        assert_eq!(answer.status, 429);
        assert_eq!(answer.json["error"]["code"], "Throttled");
        assert_eq!(answer.header("retry-after"), expected);
    }
    bench
        .0
        .fault(json!({"route": "token", "kind": "throttle"}))
        .await;
    let answer = bench.0.exchange(&bench.0.id_token()).await;
    assert_eq!(answer.status, 429);
    assert_eq!(answer.json["error_codes"], json!([90055]));
    assert!(!answer.headers.contains_key("retry-after"));
    bench
        .0
        .fault(json!({"route": "jwks", "kind": "throttle"}))
        .await;
    let url = format!("{}/oauth/discovery/keys", bench.0.ready().issuer_url);
    let answer = read(bench.0.direct.get(url).send().await.unwrap()).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (429, "Retry later\n")
    );
}

#[tokio::test]
async fn bodies_go_wrong_in_many_ways() {
    let bench = bench().await;
    let fault = |kind: &str| json!({"route": "secret", "kind": kind, "count": 1});
    bench.0.fault(fault("html")).await;
    let answer = get(&bench).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (502, "text/html")
    );
    assert!(answer.text.contains("<h1>502 Bad Gateway</h1>"));

    bench.0.fault(fault("empty")).await;
    let answer = get(&bench).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, ""));

    bench.0.fault(fault("wrong_content_type")).await;
    let answer = get(&bench).await;
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert!(answer.json["value"].is_string());

    bench.0.fault(fault("wrong_types")).await;
    let answer = get(&bench).await;
    assert_eq!(answer.json["value"], 7);
    assert_eq!(answer.json["attributes"], "seven");

    bench.0.fault(fault("not_utf8")).await;
    let bytes = send(&bench).await.unwrap().bytes().await.unwrap();
    assert!(std::str::from_utf8(&bytes).is_err());

    let mut oversized = fault("oversized");
    oversized["bytes"] = json!(300_000);
    bench.0.fault(oversized).await;
    let answer = get(&bench).await;
    assert_eq!(answer.text.len(), 300_000);
    assert!(answer.json["value"].is_string());
}

#[tokio::test]
async fn truncated_body_ends_with_the_connection() {
    for http1 in [false, true] {
        let bench = bench().await;
        let fault = json!({"route": "secret", "kind": "truncated"});
        bench.0.fault(fault).await;
        let response = if http1 {
            let pem = std::fs::read(&bench.0.ready().ca_file).unwrap();
            let client = reqwest::Client::builder()
                .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
                .proxy(reqwest::Proxy::all(&bench.0.ready().proxy_url).unwrap())
                .http1_only()
                .build()
                .unwrap();
            let url = format!("{}{PATH}", bench.0.ready().vault_url);
            client.get(url).bearer_auth(&bench.1).send().await.unwrap()
        } else {
            send(&bench).await.unwrap()
        };
        assert_eq!(response.status(), 200);
        assert!(response.content_length().unwrap() > 100);
        assert!(response.bytes().await.is_err());
    }
}

#[tokio::test]
async fn dripping_body_never_ends() {
    let bench = bench().await;
    let fault = json!({"route": "secret", "kind": "drip", "delay_ms": 1});
    bench.0.fault(fault).await;
    let mut response = send(&bench).await.unwrap();
    for _ in 0..5 {
        assert!(response.chunk().await.unwrap().is_some());
    }
    let entry = &bench.0.requests("secret")[0];
    assert!(entry.in_flight);
    assert_eq!(entry.status, Some(200));
}

#[tokio::test]
async fn connection_is_reset_without_an_answer() {
    let bench = bench().await;
    bench
        .0
        .fault(json!({"route": "secret", "kind": "reset", "count": 1}))
        .await;
    assert!(send(&bench).await.is_err());
    let entry = &bench.0.requests("secret")[0];
    assert_eq!((entry.status, entry.cancelled), (None, false));
    assert_eq!(get(&bench).await.status, 200);
}

#[tokio::test]
async fn redirect_goes_where_it_is_told() {
    let bench = bench().await;
    let location = "https://evil.example/";
    bench
        .0
        .fault(json!({"route": "secret", "kind": "redirect", "location": location}))
        .await;
    let answer = get(&bench).await;
    assert_eq!((answer.status, answer.header("location")), (307, location));
}

#[tokio::test]
async fn challenge_is_as_given_even_with_a_token() {
    let bench = bench().await;
    let tenant = bench.0.ready().tenant_id.clone();
    let own = format!(r#"Bearer authorization="https://login.windows.net/{tenant}""#);
    for (fields, expected) in [
        (
            json!({}),
            format!(r#"{own}, resource="https://vault.azure.net""#),
        ),
        (
            json!({"resource": "https://x"}),
            format!(r#"{own}, resource="https://x""#),
        ),
        (json!({"omit_resource": true}), own.clone()),
        (
            json!({"authorization": "https://y/z", "omit_resource": true}),
            r#"Bearer authorization="https://y/z""#.to_owned(),
        ),
        (
            json!({"claims": "e30="}),
            format!(
                r#"{own}, resource="https://vault.azure.net", error="insufficient_claims", claims="e30=""#
            ),
        ),
    ] {
        let mut fault = json!({"route": "secret", "kind": "challenge", "count": 1});
        let members = fault.as_object_mut().unwrap();
        members.extend(fields.as_object().unwrap().clone());
        bench.0.fault(fault).await;
        let answer = get(&bench).await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), expected);
    }
}

#[tokio::test]
async fn lifetime_of_a_token_can_be_anything_or_missing() {
    let bench = bench().await;
    for (value, expected) in [
        (json!("3599"), json!("3599")),
        (json!(0), json!(0)),
        (Value::Null, Value::Null),
    ] {
        let fault = json!({"route": "token", "kind": "expires_in", "value": value, "count": 1});
        bench.0.fault(fault).await;
        let answer = bench.0.exchange(&bench.0.id_token()).await;
        assert_eq!(
            answer.json.get("expires_in").cloned().unwrap_or_default(),
            expected
        );
        assert!(answer.json["access_token"].is_string());
    }
}

#[tokio::test]
async fn every_token_error_can_be_produced() {
    let bench = Bench::new().await;
    let kinds = bench.control("GET", "/faults/kinds", &json!({})).await.json;
    let codes = kinds["token_errors"].as_array().unwrap().clone();
    assert!(codes.len() > 50);
    for code in codes {
        let fault = json!({"route": "token", "kind": "token_error", "code": code, "count": 1});
        bench.fault(fault).await;
        let answer = bench.exchange(&bench.id_token()).await;
        assert_eq!(answer.json["error_codes"][0], code, "{}", answer.text);
        let error = answer.json["error"].as_str().unwrap();
        let status = match error {
            "invalid_client" => 401,
            "temporarily_unavailable" => 503,
            "invalid_grant" => 429,
            _ => 400,
        };
        assert_eq!(answer.status, status, "{code}");
        let description = answer.json["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{code}: ")));
        assert!(
            !description.contains(['{', '}']) && !description.contains("''"),
            "{description}"
        );
        let retry = if code == 50196 { "60" } else { "" };
        assert_eq!(answer.header("retry-after"), retry);
    }
}

#[tokio::test]
async fn every_vault_error_can_be_produced() {
    let bench = bench().await;
    let kinds = bench
        .0
        .control("GET", "/faults/kinds", &json!({}))
        .await
        .json;
    let names = kinds["vault_errors"].as_array().unwrap().clone();
    assert!(names.len() > 20);
    for name in names {
        let fault = json!({"route": "secret", "kind": "vault_error", "code": name, "count": 1});
        bench.0.fault(fault).await;
        let answer = get(&bench).await;
        assert!(answer.status >= 400, "{name}");
        assert!(answer.json["error"]["code"].is_string(), "{name}");
        assert!(
            !answer.message().contains(['{', '}']),
            "{}",
            answer.message()
        );
        assert!(answer.headers.contains_key("x-ms-keyvault-service-version"));
        assert_eq!(
            answer.status == 401,
            answer.headers.contains_key("www-authenticate")
        );
    }
    assert_eq!(get(&bench).await.status, 200);
}

#[tokio::test]
async fn unresolved_signing_key_is_seen_once() {
    let bench = bench().await;
    bench
        .0
        .fault(json!({"route": "secret", "kind": "akv10046"}))
        .await;
    assert!(get(&bench).await.message().starts_with("AKV10046: "));
    assert_eq!(get(&bench).await.status, 200);
}

#[tokio::test]
async fn faults_are_restricted_by_count_skip_match_host_and_probability() {
    let bench = bench().await;
    let status = |extra: Value| {
        let mut fault = json!({"route": "secret", "kind": "status", "status": 500});
        let members = fault.as_object_mut().unwrap();
        members.extend(extra.as_object().unwrap().clone());
        fault
    };
    for (extra, expected) in [
        (json!({"count": 2}), [500, 500, 200]),
        (json!({"skip": 1}), [200, 500, 500]),
        (json!({"skip": 1, "count": 1}), [200, 500, 200]),
        (json!({"match": "db-password"}), [500, 500, 500]),
        (json!({"match": "demo.vault"}), [500, 500, 500]),
        (json!({"match": "api-key"}), [200, 200, 200]),
        (json!({"host": "demo.vault.azure.net"}), [500, 500, 500]),
        (json!({"host": "other.vault.azure.net"}), [200, 200, 200]),
        (json!({"probability": 0}), [200, 200, 200]),
        (json!({"probability": 1}), [500, 500, 500]),
    ] {
        bench.0.fault(status(extra.clone())).await;
        for expected in expected {
            assert_eq!(get(&bench).await.status, expected, "{extra}");
        }
        bench.0.control("DELETE", "/faults", &json!({})).await;
        assert_eq!(get(&bench).await.status, 200);
    }
}

#[tokio::test]
async fn delays_add_up_and_go_with_other_faults() {
    let bench = bench().await;
    for delay in [20, 30] {
        bench
            .0
            .fault(json!({"route": "secret", "kind": "delay", "delay_ms": delay}))
            .await;
    }
    bench
        .0
        .fault(json!({"route": "secret", "kind": "status", "status": 500, "delay_ms": 10}))
        .await;
    let began = std::time::Instant::now();
    assert_eq!(get(&bench).await.status, 500);
    assert!(began.elapsed().as_millis() >= 60);
}
