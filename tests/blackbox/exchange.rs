//! What is sent to Entra and to Key Vault, and that nothing else is.

use std::collections::BTreeMap;

use azure_emulator::{Application, FederatedCredential, Options, Permission, State};
use serde_json::json;
use url::form_urlencoded;

use crate::{
    call::ask,
    daemon::{Daemon, Place},
    stage::{Stage, config},
};

const SUBJECT: &str = "project_path:acme/shop:ref_type:branch:ref:main";
const AUDIENCE: &str = "api://AzureADTokenExchange";

fn form(body: &str) -> BTreeMap<String, String> {
    let pairs: Vec<_> = form_urlencoded::parse(body.as_bytes()).collect();
    let form: BTreeMap<_, _> = pairs
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    assert_eq!(form.len(), pairs.len(), "a field occurs twice: {body}");
    form
}

#[tokio::test]
async fn the_token_request_is_the_documented_one_and_the_only_one() {
    let stage = Stage::new().await;
    let token = stage.token();
    let version = stage.put("pinned", "x");
    let request = ask(&token)
        .file("LATEST", "db-password")
        .pinned("PINNED", "pinned", &version);
    stage.caller().await.bytes(request).await;

    let place = stage.emulator.ready().clone();
    let [exchange] = &stage.requests("token")[..] else {
        panic!("one token request is enough");
    };
    assert_eq!(exchange.method, "POST");
    assert_eq!(exchange.host, "login.microsoftonline.com");
    let path = format!("/{}/oauth2/v2.0/token", place.tenant_id);
    assert_eq!(exchange.path, path);
    let content_type = &exchange.headers["content-type"];
    assert_eq!(content_type, "application/x-www-form-urlencoded");
    assert!(!exchange.headers.contains_key("authorization"));
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let expected = [
        ("client_assertion", token.as_str()),
        ("client_assertion_type", kind),
        ("client_id", &place.client_id),
        ("grant_type", "client_credentials"),
        ("scope", "https://vault.azure.net/.default"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(form(&exchange.body), BTreeMap::from(expected));

    let mut reads = stage.requests("secret");
    reads.sort_by(|one, other| one.path.cmp(&other.path));
    let paths = [
        "/secrets/db-password",
        &format!("/secrets/pinned/{version}"),
    ];
    assert_eq!(reads.len(), paths.len());
    for (read, path) in reads.iter().zip(paths) {
        assert_eq!((read.method.as_str(), read.body.as_str()), ("GET", ""));
        assert_eq!(read.host, "demo.vault.azure.net");
        let (asked, query) = read.path.split_once('?').unwrap();
        assert_eq!(asked.trim_end_matches('/'), path);
        assert!(query.starts_with("api-version="), "{query}");
        let bearer = read.headers["authorization"].as_str().unwrap();
        assert!(bearer.starts_with("Bearer "));
        assert!(!bearer.contains(&token), "the ID token is not for vaults");
        let agent = read.headers["user-agent"].as_str().unwrap();
        assert!(agent.contains("runner-secrets"), "{agent}");
    }

    // No discovery, of instances or of anything else; two connections through the proxy.
    let others = stage.sent().into_iter();
    let others = others.filter(|request| !matches!(request.route.as_str(), "token" | "secret"));
    let mut others: Vec<String> = others.map(|request| request.path).collect();
    others.sort();
    others.dedup();
    assert_eq!(
        others,
        ["demo.vault.azure.net:443", "login.microsoftonline.com:443"]
    );
}

#[tokio::test]
async fn jobs_with_the_same_client_never_share_an_access_token() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let tokens = [
        stage.token_but(json!({"job_id": "1"})),
        stage.token_but(json!({"job_id": "2"})),
        // The same job, another token of it.
        stage.token_but(json!({"job_id": "2"})),
    ];
    let mut bearers = Vec::new();
    for _ in 0..2 {
        for token in &tokens {
            stage.emulator.clear_requests();
            caller.bytes(ask(token).value("A", "db-password")).await;
            let reads = stage.requests("secret");
            bearers.push(reads[0].headers["authorization"].to_string());
        }
    }
    // Each keeps its own when it comes again.
    assert_eq!(bearers[..3], bearers[3..]);
    bearers.sort();
    bearers.dedup();
    assert_eq!(bearers.len(), 3);
}

/// The state out of the box and another client of the same project.
fn with_client(id: &str) -> State {
    let mut world = State::default();
    world.applications.push(Application {
        client_id: id.to_owned(),
        name: "other".to_owned(),
        tenant_id: None,
        object_id: None,
        enabled: true,
        service_principal: true,
        blocked: false,
    });
    world.federated_credentials.push(FederatedCredential {
        client_id: id.to_owned(),
        subject: Some(SUBJECT.to_owned()),
        audience: AUDIENCE.to_owned(),
        ..FederatedCredential::default()
    });
    world.permissions.push(Permission {
        client_id: id.to_owned(),
        vault: "demo".to_owned(),
        secrets: vec!["*".to_owned()],
        operations: vec!["get".to_owned()],
    });
    world
}

#[tokio::test]
async fn secrets_of_one_request_may_have_tokens_and_clients_of_their_own() {
    const OTHER: &str = "0c9f4c2e-7a43-4d0b-8a0f-5f6a2d3b1c4e";
    let mut options = Options::default();
    options.state = Some(with_client(OTHER));
    let emulator = azure_emulator::start(options).await.unwrap();
    let place = Place::new();
    let path = place.path("config.toml");
    config(&place, &emulator).write(&path);
    let stage = Stage {
        daemon: Daemon::start(&path).await,
        emulator,
        place,
    };
    let (first, second) = (stage.token(), stage.token());
    let request = ask(&first)
        .value("USUAL", "db-password")
        .value("OWN_TOKEN", "db-password")
        .but("OWN_TOKEN", |secret| secret.id_token.clone_from(&second))
        .value("SAME_TOKEN", "db-password")
        .but("SAME_TOKEN", |secret| secret.id_token.clone_from(&first))
        .value("OWN_CLIENT", "db-password")
        .server("OWN_CLIENT", "", "", OTHER);
    let bytes = stage.caller().await.bytes(request).await;
    assert_eq!(bytes.len(), 4);
    // Three identities, each with its exchange and its read.
    assert_eq!(stage.counts(), (3, 3));
    let exchanges = stage.requests("token");
    let mut bought: Vec<(bool, String)> = exchanges
        .iter()
        .map(|exchange| form(&exchange.body))
        .map(|form| (form["client_assertion"] == first, form["client_id"].clone()))
        .collect();
    bought.sort();
    let usual = stage.emulator.ready().client_id.clone();
    let mut expected = [
        (false, usual.clone()),
        (true, usual),
        (true, OTHER.to_owned()),
    ];
    expected.sort();
    assert_eq!(bought, expected);
}

#[tokio::test]
async fn an_access_token_that_is_about_to_expire_is_not_used_again() {
    let stage = Stage::new().await;
    stage.fault(json!({"route": "token", "kind": "expires_in", "value": 45}));
    let (caller, token) = (stage.caller().await, stage.token());
    for round in 1..=3 {
        caller.bytes(ask(&token).value("A", "db-password")).await;
        assert_eq!(stage.counts(), (round, round));
    }
}

#[tokio::test]
async fn national_clouds_have_their_own_hosts_and_scopes() {
    for (cloud, login, vault, scope) in [
        (
            "us_government",
            "login.microsoftonline.us",
            "demo.vault.usgovcloudapi.net",
            "https://vault.usgovcloudapi.net/.default",
        ),
        (
            "china",
            "login.partner.microsoftonline.cn",
            "demo.vault.azure.cn",
            "https://vault.azure.cn/.default",
        ),
    ] {
        let stage = Stage::with(|config| {
            config
                .text("azure.cloud", cloud)
                .text("azure.vault_url", &format!("https://{vault}"))
                .set("rule.vaults", format!("[\"https://{vault}\"]"))
        })
        .await;
        let request = ask(&stage.token()).value("A", "db-password");
        stage.caller().await.bytes(request).await;
        let exchange = &stage.requests("token")[0];
        assert_eq!(exchange.host, login);
        assert_eq!(form(&exchange.body)["scope"], scope);
        assert_eq!(stage.requests("secret")[0].host, vault);
    }
}

/// The authority is the emulator's own address, directly, with the CA file alone.
#[tokio::test]
async fn a_custom_cloud_is_reached_at_its_own_authority() {
    let stage = Stage::with(|config| {
        config
            .text("azure.cloud", "custom")
            .text("azure.authority_host", "https://login.microsoftonline.com")
            .set("azure.vault_suffixes", r#"["vault.azure.net"]"#)
    })
    .await;
    let request = ask(&stage.token()).value("A", "db-password");
    stage.caller().await.bytes(request).await;
    assert_eq!(stage.counts(), (1, 1));
}

/// Without `azure.proxy_url` the usual variables count, for the issuer too.
#[tokio::test]
async fn the_proxy_variables_are_honoured() {
    let place = Place::new();
    let emulator = crate::stage::emulator().await;
    let config = crate::stage::config(&place, &emulator).unset("azure.proxy_url");
    config.write(&place.path("config.toml"));
    let mut command = crate::daemon::serve(&place.path("config.toml"));
    command.env("HTTPS_PROXY", &emulator.ready().proxy_url);
    let mut daemon = Daemon::run(command);
    daemon.listens().await;
    let stage = Stage {
        daemon,
        emulator,
        place,
    };
    let request = ask(&stage.token()).value("A", "db-password");
    stage.caller().await.bytes(request).await;
    assert_eq!(stage.counts(), (1, 1));
    let through: Vec<String> = stage
        .requests("proxy")
        .into_iter()
        .map(|asked| asked.path)
        .collect();
    for host in [
        "demo.vault.azure.net",
        "localhost",
        "login.microsoftonline.com",
    ] {
        let tunnels = through.iter().filter(|tunnel| tunnel.starts_with(host));
        assert!(tunnels.count() > 0, "{host}: {through:?}");
    }
}

#[tokio::test]
async fn an_expired_id_token_reaches_nobody() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let live = stage.token();
    caller.bytes(ask(&live).value("A", "db-password")).await;
    stage.emulator.clear_requests();
    let token = stage.token_but(json!({"exp": 1_700_000_000}));
    let expired = ask(&token).value("A", "db-password");
    let among_others = ask(&live)
        .value("A", "db-password")
        .value("B", "db-password")
        .but("B", |secret| secret.id_token = token);
    for request in [expired, among_others] {
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason.name(), "TOKEN_EXPIRED");
        assert!(refusal.message.contains("the ID token for"), "{refusal:?}");
    }
    assert!(stage.sent().is_empty());
}
