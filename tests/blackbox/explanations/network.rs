//! What goes wrong between the daemon and the services, and answers that are none.

use serde_json::{Value, json};

use super::{Told, golden, names::NameServer, one, stage, usual, with};
use crate::{
    daemon::{Config, NOBODY},
    job::Job,
    stage::Stage,
};

/// Bodies that no service means, from either of them, each by a daemon that has met no other.
#[tokio::test]
async fn odd_answers_have_a_reason_and_a_sentence() {
    let html = "<html><h1>Sign in</h1></html>";
    let cases: [(&str, Value); 10] = [
        ("html", json!({"kind": "html"})),
        (
            "html-403",
            json!({"kind": "status", "status": 403, "body": html}),
        ),
        (
            "html-200",
            json!({"kind": "status", "status": 200, "body": html}),
        ),
        ("empty", json!({"kind": "empty"})),
        ("truncated", json!({"kind": "truncated"})),
        (
            "oversized",
            json!({"kind": "oversized", "bytes": 10_000_000}),
        ),
        ("wrong-types", json!({"kind": "wrong_types"})),
        (
            "redirect",
            json!({"kind": "redirect", "location": "https://evil.test/"}),
        ),
        ("reset", json!({"kind": "reset"})),
        ("throttled", json!({"kind": "throttle", "retry_after": 60})),
    ];
    for (case, fault) in cases {
        for route in ["token", "secret"] {
            let mut stage = stage().await;
            let mut fault = fault.clone();
            fault["route"] = route.into();
            stage.fault(fault);
            let told = usual(&mut stage, one("db-password")).await;
            golden(&format!("odd-{case}-{route}"), &told);
        }
    }
}

/// Errors in the services' own form whose parts are of other types, or no text.
#[tokio::test]
async fn odd_errors_have_a_reason_and_a_sentence() {
    let mut stage = stage().await;
    let said = "AADSTS700213: No matching federated identity record found";
    for (case, route, status, body) in [
        (
            "codes-as-text",
            "token",
            401,
            json!({"error_codes": ["700213"], "error_description": said}),
        ),
        (
            "codes-missing",
            "token",
            401,
            json!({"error": "invalid_client"}),
        ),
        (
            "code-unknown",
            "token",
            400,
            json!({"error_codes": [4_294_967_296_u64]}),
        ),
        (
            "inner-missing",
            "secret",
            403,
            json!({"error": {"code": "Forbidden"}}),
        ),
        (
            "inner-hostile",
            "secret",
            403,
            json!({"error": {"code": "Forbidden", "innererror": {"code": "a\u{1b}[2K$(id)"}}}),
        ),
        (
            "message-missing",
            "secret",
            401,
            json!({"error": {"code": "Unauthorized"}}),
        ),
        (
            "error-as-text",
            "secret",
            403,
            json!({"error": "Forbidden"}),
        ),
    ] {
        stage.emulator.clear_faults();
        stage.fault(json!({"route": route, "kind": "status", "status": status, "body": body}));
        let told = usual(&mut stage, one("db-password")).await;
        golden(&format!("odd-{case}"), &told);
    }
}

async fn once(mut stage: Stage, name: &str) {
    let job = Job::new(&stage, &stage.token(), one("db-password"));
    golden(name, &Told::by(&mut stage, &job).await);
}

#[tokio::test]
async fn silence_ends_with_the_time_that_the_operator_allows() {
    let mut stage = with(|config| config.text("limits.request_timeout", "1s")).await;
    for route in ["token", "secret"] {
        stage.emulator.clear_faults();
        stage.fault(json!({"route": route, "kind": "hang"}));
        let told = usual(&mut stage, one("db-password")).await;
        golden(&format!("silence-{route}"), &told);
    }
}

/// Where there is time, silence is given up three times, and is then no matter of the time.
#[tokio::test]
async fn silence_that_goes_on_is_a_network_that_is_slow() {
    let mut stage = with(|config| config.text("limits.request_timeout", "50s")).await;
    stage.fault(json!({"route": "token", "kind": "hang"}));
    let told = usual(&mut stage, one("db-password")).await;
    golden("network-slow", &told);
    assert_eq!(stage.counts(), (3, 0));
}

/// Entra and vaults under other names, without a proxy that would look them up.
fn custom(config: Config) -> Config {
    let config = config.text("azure.cloud", "custom");
    let config = config.unset("azure.proxy_url");
    config.set("azure.vault_suffixes", "[\"vault.azure.net\"]")
}

#[tokio::test]
async fn a_name_without_an_address_is_told_from_a_server_that_is_down() {
    let down = with(|config| custom(config).text("azure.authority_host", NOBODY));
    once(down.await, "network-down").await;
    let Some(names) = NameServer::start() else {
        return;
    };
    let nowhere = |config| custom(config).text("azure.authority_host", "https://entra.test");
    once(names.stage(nowhere).await, "network-dns-entra").await;
}

/// A proxy that opens TLS shows a certificate of its own.
#[tokio::test]
async fn a_certificate_of_a_stranger_is_told_from_a_server_that_is_down() {
    once(
        with(|config| config.unset("azure.ca_file")).await,
        "network-tls",
    )
    .await;
}

#[tokio::test]
async fn a_proxy_that_refuses_is_told_from_a_proxy_that_is_down() {
    let elsewhere = with(|config| {
        let config = config.text("azure.cloud", "custom");
        let config = config.text("azure.authority_host", "https://nobody.test");
        config.set("azure.vault_suffixes", "[\"vault.azure.net\"]")
    });
    once(elsewhere.await, "network-proxy-refuses").await;
    let down = with(|config| config.text("azure.proxy_url", "http://127.0.0.1:1"));
    once(down.await, "network-proxy-down").await;
}

/// A vault that does not exist is as good as a secret that does not; a name service that fails says
/// nothing of either.
#[tokio::test]
async fn a_vault_without_an_address_is_said_not_to_exist() {
    let Some(names) = NameServer::start() else {
        return;
    };
    let hosts = ["kv.test", "failing.test"];
    let mut stage = names
        .stage(|config| {
            let config = custom(config).copy("azure.authority_host", "issuer.url");
            let vaults = hosts.map(|host| format!("https://{host}"));
            config
                .set("azure.vault_hosts", format!("{hosts:?}"))
                .set("rule.vaults", format!("{vaults:?}"))
        })
        .await;
    let cases = ["network-dns-vault", "network-dns-down"];
    for (host, case) in hosts.into_iter().zip(cases) {
        let mut spec = one("db-password");
        spec["DB_PASSWORD"]["server"] = json!({"url": format!("https://{host}")});
        golden(case, &usual(&mut stage, spec).await);
    }
}
