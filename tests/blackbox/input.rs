//! Bad input is refused in our own words, naming the field, before anybody is asked anything.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runner_secrets_proto::{Reason, v1::Secret};
use serde_json::{Value, json};
use tonic::{Code, Request};

use crate::{
    call::{Ask, ask, azure, secret},
    stage::Stage,
};

/// Refused for the reason, naming the field, and nobody was asked.
async fn refuses(stage: &Stage, reason: Reason, cases: Vec<(String, Ask, &str)>) {
    let caller = stage.caller().await;
    for (what, request, field) in cases {
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason, reason, "{what}: {refusal:?}");
        let [(named, problem)] = &refusal.violations[..] else {
            panic!("{what}: one field is wrong, not {:?}", refusal.violations);
        };
        assert_eq!(named, field, "{what}");
        assert!(refusal.message.starts_with(field), "{what}: {refusal:?}");
        assert!(refusal.message.contains(problem), "{what}: {refusal:?}");
        let asked = stage.sent();
        assert!(asked.is_empty(), "{what}: {asked:?}");
    }
}

#[tokio::test]
async fn requests_of_a_wrong_size_are_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let token = stage.token();
    let many = |count: usize| {
        let each = |request: Ask, index| request.file(&format!("V{index}"), "db-password");
        (0..count).fold(ask(&token), each)
    };
    let long = "a".repeat(2 * 1024 * 1024);
    let cases = vec![
        ("nothing".into(), ask(&token), "secrets"),
        ("101 secrets".into(), many(101), "secrets"),
        ("1000 secrets".into(), many(1000), "secrets"),
        (
            "2 MB of token".into(),
            ask(&long).file("A", "db-password"),
            "the request",
        ),
        (
            "2 MB of name".into(),
            ask(&token).file("A", &long),
            "the request",
        ),
        (
            "2 MB of variable".into(),
            ask(&token).file(&long, "db-password"),
            "the request",
        ),
    ];
    refuses(&stage, Reason::RequestInvalid, cases).await;
    // What is beyond the decoder is refused as well, though not in our words.
    let huge = ask(&"a".repeat(5 * 1024 * 1024)).file("A", "db-password");
    let caller = stage.caller().await;
    let refused = caller.try_send(Request::new(huge.0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    // 100 are not too many.
    let caller = stage.caller().await;
    assert_eq!(caller.bytes(many(100)).await.len(), 100);
}

#[tokio::test]
async fn limits_are_the_operators() {
    let stage = Stage::with(|config| {
        config
            .set("limits.secrets", 2)
            .set("limits.request_bytes", 8192)
    })
    .await;
    let two = ask(&stage.token())
        .file("A", "db-password")
        .file("B", "api-key");
    let three = two.clone().file("C", "api-key");
    let large = two.clone().file("B", &"a".repeat(8192));
    let cases = vec![
        ("three".into(), three, "secrets"),
        ("8 KB".into(), large, "the request"),
    ];
    refuses(&stage, Reason::RequestInvalid, cases).await;
    assert_eq!(stage.caller().await.bytes(two).await.len(), 2);
}

#[tokio::test]
async fn variables_that_are_no_names_or_reserved_are_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let token = stage.token();
    let long = "A".repeat(129);
    let names = [
        "",
        "2A",
        "A-B",
        "A B",
        "A=B",
        "A.B",
        "A/B",
        "../A",
        "ÄB",
        "A\0B",
        "A\nB",
        "$A",
        &long,
        // They would change how the job itself runs.
        "PATH",
        "ENV",
        "BASH_ENV",
        "IFS",
        "LD_PRELOAD",
        "CI_JOB_TOKEN",
        "GITLAB_ENV",
        "RUNNER_SECRETS_SOCKET",
        "FF_USE_X",
    ];
    let caller = stage.caller().await;
    for name in names {
        let refusal = caller.refused(ask(&token).file(name, "db-password")).await;
        assert_eq!(refusal.reason, Reason::RequestInvalid, "{name:?}");
        let (field, _) = &refusal.violations[0];
        assert!(field.starts_with("secrets.\""), "{name:?}: {field}");
        let plain = refusal.message.bytes().all(|byte| byte >= b' ');
        assert!(plain, "{name:?}: {:?}", refusal.message);
    }
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn names_versions_and_sources_are_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let token = stage.token();
    let mut cases = Vec::new();
    let long = "a".repeat(128);
    for name in [
        "",
        "a/b",
        "/",
        "..",
        "../x",
        "a..b/",
        "a?b",
        "a?api-version=1",
        "a#b",
        "a%2fb",
        "a b",
        "a_b",
        "a.b",
        "ä",
        "a\0",
        "a\n",
        "a\\b",
        "a:b",
        "a@b",
        &long,
    ] {
        let request = ask(&token).file("A", name);
        cases.push((name.to_owned(), request, "secrets.A.azure_key_vault.name"));
    }
    let digits = "0123456789abcdef0123456789abcdef";
    for version in [
        "latest",
        "1",
        "/",
        "..",
        "?",
        " ",
        &digits[1..],
        &format!("{digits}0"),
        &digits.replace('a', "g"),
        &digits.replace('a', "/"),
        &digits.replace("ab", "ä"),
    ] {
        let request = ask(&token).pinned("A", "db-password", version);
        let field = "secrets.A.azure_key_vault.version";
        cases.push((version.to_owned(), request, field));
    }
    let none = ask(&token).with("A", Secret::default());
    cases.push(("no source".into(), none, "secrets.A.azure_key_vault"));
    refuses(&stage, Reason::RequestInvalid, cases).await;
}

#[tokio::test]
async fn servers_that_tokens_must_not_go_to_are_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let token = stage.token();
    let mut cases = Vec::new();
    for url in [
        "demo",
        "demo.vault.azure.net",
        "http://demo.vault.azure.net",
        "ftp://demo.vault.azure.net",
        "https://",
        "https://user@demo.vault.azure.net",
        "https://user:pw@demo.vault.azure.net",
        "https://demo.vault.azure.net@evil.test",
        "https://demo.vault.azure.net:8443",
        "https://demo.vault.azure.net:80",
        "https://demo.vault.azure.net/secrets",
        "https://demo.vault.azure.net//",
        "https://demo.vault.azure.net/?x=1",
        "https://demo.vault.azure.net/#x",
        "https://127.0.0.1",
        "https://[::1]",
        "https://2130706433",
        "https://0x7f.1",
        "https://localhost",
        "https://169.254.169.254",
        "https://evil.test",
        "https://evil.test/.vault.azure.net",
        "https://evil.test#.vault.azure.net",
        "https://evil.test\\.vault.azure.net",
        "https://demo.vault.azure.net.evil.test",
        "https://demo.vault.azure.net.",
        "https://demo.vault.azure.cn",
        "https://vault.azure.net",
        "https://a.b.vault.azure.net",
        "https://demovault.azure.net",
        "https://xn--dm-yja.vault.azure.net",
        "https://dèmo.vault.azure.net",
        "https://de_mo.vault.azure.net",
        "https://login.microsoftonline.com",
        " ",
    ] {
        let request = ask(&token).file("A", "x").server("A", url, "", "");
        let field = "secrets.A.azure_key_vault.server.url";
        cases.push((url.to_owned(), request, field));
    }
    for tenant in [
        "$AZURE_TENANT_ID",
        "a/b",
        "..",
        "a..b",
        ".a",
        "a?b",
        "a%2fb",
        "a b",
        "ä",
    ] {
        let request = ask(&token).file("A", "x").server("A", "", tenant, "");
        let field = "secrets.A.azure_key_vault.server.tenant_id";
        cases.push((tenant.to_owned(), request, field));
    }
    for client in [
        "$AZURE_CLIENT_ID",
        "shop",
        "8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d41",
        "8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d4133",
        "8d2b6f105a3c4e7db941c6f8a0e2d413",
        "{8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d413}",
        "8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d41g",
    ] {
        let request = ask(&token).file("A", "x").server("A", "", "", client);
        let field = "secrets.A.azure_key_vault.server.client_id";
        cases.push((client.to_owned(), request, field));
    }
    refuses(&stage, Reason::RequestInvalid, cases).await;
}

#[tokio::test]
async fn vaults_that_the_operator_lists_are_taken() {
    let stage = Stage::with(|config| {
        let hosts = r#"["kv.corp.example", "kv.corp.example:8443"]"#;
        let vaults = r#"["https://kv.corp.example", "https://kv.corp.example:8443"]"#;
        config
            .set("azure.vault_hosts", hosts)
            .set("rule.vaults", vaults)
    })
    .await;
    let token = stage.token();
    let caller = stage.caller().await;
    let asks = |url: &str| ask(&token).file("A", "x").server("A", url, "", "");
    for (url, place) in [
        ("https://kv.corp.example", "kv.corp.example:443"),
        ("https://kv.corp.example:8443", "kv.corp.example:8443"),
    ] {
        stage.emulator.clear_requests();
        // The emulated proxy does not know them; that it was asked is what counts.
        let refusal = caller.refused(asks(url)).await;
        assert_eq!(refusal.reason, Reason::UpstreamUnavailable);
        let asked = stage.requests("proxy").into_iter().map(|proxy| proxy.path);
        assert!(asked.into_iter().any(|path| path == place), "{url}");
    }
    stage.emulator.clear_requests();
    for url in ["https://kv.corp.example:9443", "https://x.kv.corp.example"] {
        let refusal = caller.refused(asks(url)).await;
        assert_eq!(refusal.reason, Reason::RequestInvalid, "{url}");
    }
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn a_server_that_nobody_names_is_missed_by_name() {
    let stage = Stage::with(|config| {
        config
            .unset("azure.tenant_id")
            .unset("azure.client_id")
            .unset("azure.vault_url")
            .set(
                "rule.vaults",
                r#"["https://demo.vault.azure.net", "https://other.vault.azure.net"]"#,
            )
    })
    .await;
    let token = stage.token();
    let ready = stage.emulator.ready().clone();
    let (url, tenant, client) = (&*ready.vault_url, &*ready.tenant_id, &*ready.client_id);
    let mut cases = Vec::new();
    for (url, tenant, client, field) in [
        (
            url,
            "",
            client,
            "secrets.A.azure_key_vault.server.tenant_id",
        ),
        (
            url,
            tenant,
            "",
            "secrets.A.azure_key_vault.server.client_id",
        ),
    ] {
        let request = ask(&token).file("A", "db-password");
        cases.push((
            field.to_owned(),
            request.server("A", url, tenant, client),
            field,
        ));
    }
    refuses(&stage, Reason::RequestInvalid, cases).await;
    let request = ask(&token).file("A", "db-password");
    let request = request.server("A", url, tenant, client);
    assert_eq!(stage.caller().await.bytes(request).await.len(), 1);
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[tokio::test]
async fn tokens_that_are_none_are_refused_before_anybody_is_asked() {
    let stage = Stage::new().await;
    let good = stage.token();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("a JWT has three parts");
    };
    let claims = |claims: Value| format!("{header}.{}.{signature}", encoded(&claims));
    let job =
        json!({"iss": "https://g", "project_id": "1", "job_id": "2", "exp": 4_000_000_000_u64});
    let without = |claim: &str, value: Value| {
        let mut job = job.clone();
        job[claim] = value;
        claims(job)
    };
    let tokens = [
        String::new(),
        "x".to_owned(),
        "$AZURE_JWT".to_owned(),
        "glpat-0123456789".to_owned(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{payload}"),
        format!("{good}.{signature}"),
        format!("{good}.{signature}.x.y"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{good}="),
        format!("{good} "),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        format!("{header}.{payload}.!"),
        format!("!.{payload}.{signature}"),
        format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode("no JSON")),
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode("[1]")),
        claims(json!([1])),
        claims(json!({})),
        without("exp", Value::Null),
        without("exp", json!("4000000000")),
        without("exp", json!(-1)),
        without("exp", json!(u64::MAX)),
        without("iss", Value::Null),
        without("iss", json!("")),
        without("job_id", json!([2])),
        without("project_id", json!({"a": 1})),
        "a".repeat(16 * 1024 + 1),
        format!("{header}.{payload}.{}", "a".repeat(16 * 1024)),
        "a".repeat(1_000_000),
    ];
    let mut cases = Vec::new();
    for token in tokens {
        let what: String = token.chars().take(80).collect();
        let request = ask(&token).file("A", "db-password");
        cases.push((what.clone(), request, "the ID token for A"));
        // As the token of one secret; an empty one there is none.
        if !token.is_empty() {
            let own = |secret: &mut Secret| secret.id_token.clone_from(&token);
            let request = ask(&good).file("A", "db-password").but("A", own);
            cases.push((what, request, "the ID token for A"));
        }
    }
    // Of two jobs.
    let other = stage.token_but(json!({"job_id": "813"}));
    let mut cross = secret("api-key");
    cross.id_token = other;
    azure(&mut cross).name = "api-key".to_owned();
    refuses(&stage, Reason::TokenInvalid, cases).await;
    let request = ask(&good).file("A", "db-password").with("B", cross);
    let refusal = stage.caller().await.refused(request).await;
    assert_eq!(refusal.reason, Reason::TokenInvalid);
    assert!(refusal.message.contains("another job"), "{refusal:?}");
    assert!(stage.sent().is_empty());
}
