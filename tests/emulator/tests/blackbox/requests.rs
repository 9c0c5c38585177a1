//! The request log and the counters.

use serde_json::json;

use crate::bench::{Bench, until};

#[tokio::test]
async fn every_request_is_logged_with_its_route() {
    let bench = Bench::new().await;
    bench.read("/secrets/db-password?api-version=7.6").await;
    let log = bench.control("GET", "/requests", &json!({})).await.json;
    let log = log.as_array().unwrap();
    let of = |route: &str| log.iter().filter(|entry| entry["route"] == route).count();
    assert_eq!((of("token"), of("secret"), of("proxy")), (1, 1, 2));
    let secret = log.iter().find(|entry| entry["route"] == "secret").unwrap();
    assert_eq!(secret["host"], "demo.vault.azure.net");
    assert_eq!(secret["method"], "GET");
    assert_eq!(secret["path"], "/secrets/db-password?api-version=7.6");
    assert_eq!(secret["status"], 200);
    assert_eq!(secret["in_flight"], false);
    assert_eq!(secret["cancelled"], false);
    let authorization = secret["headers"]["authorization"].as_str().unwrap();
    assert!(authorization.starts_with("Bearer ey"));
    let token = log.iter().find(|entry| entry["route"] == "token").unwrap();
    assert!(
        token["body"]
            .as_str()
            .unwrap()
            .contains("grant_type=client_credentials")
    );
    bench.control("DELETE", "/requests", &json!({})).await;
    assert!(bench.emulator.requests().is_empty());
}

#[tokio::test]
async fn client_that_goes_away_is_seen() {
    for http2 in [true, false] {
        let bench = Bench::new().await;
        bench
            .fault(json!({"route": "discovery", "kind": "hang"}))
            .await;
        let pem = std::fs::read(&bench.ready().ca_file).unwrap();
        let builder = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
            .proxy(reqwest::Proxy::all(&bench.ready().proxy_url).unwrap());
        let builder = if http2 { builder } else { builder.http1_only() };
        let client = builder.build().unwrap();
        let url = format!(
            "{}/.well-known/openid-configuration",
            bench.ready().issuer_url
        );
        let asking = tokio::spawn(async move { client.get(url).send().await });
        until(|| bench.emulator.active_requests() == 1).await;
        let active = bench.control("GET", "/requests/active", &json!({})).await;
        assert_eq!(active.json, 1);
        let entry = &bench.requests("discovery")[0];
        assert!(entry.in_flight && entry.status.is_none());
        asking.abort();
        until(|| bench.emulator.active_requests() == 0).await;
        until(|| bench.requests("discovery")[0].cancelled).await;
        assert!(!bench.requests("discovery")[0].in_flight);
    }
}

#[tokio::test]
async fn connections_are_counted() {
    let bench = Bench::new().await;
    bench.access_token().await;
    let counts = bench.control("GET", "/connections", &json!({})).await.json;
    assert_eq!(counts, json!({"accepted": 1, "open": 1}));
    let Bench { emulator, http, .. } = bench;
    drop(http);
    until(|| emulator.connections().open == 0).await;
    assert_eq!(emulator.connections().accepted, 1);
}
