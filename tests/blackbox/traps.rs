//! Traps: sockets that listen where a job, a vault or Entra would like the daemon to go. No access
//! token and no ID token ever comes there, because nothing does.

use azure_emulator::Request;
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use crate::{
    call::ask,
    daemon::{Config, until},
    stage::{Stage, emulator},
    trap::Trap,
};

/// Without a proxy, so that a connection goes where the address says: everything of Azure is the
/// emulator under its own name. Nothing is left to the policy, which lets everything pass.
async fn direct(also: &[&str]) -> Stage {
    let emulator = emulator().await;
    let url = emulator.ready().issuer_url.clone();
    let host = url.trim_start_matches("https://");
    let hosts: Vec<&str> = [host].into_iter().chain(also.iter().copied()).collect();
    Stage::beside(emulator, |config| {
        config
            .unset("azure.proxy_url")
            .text("azure.cloud", "custom")
            .text("azure.authority_host", &url)
            .set("azure.vault_suffixes", format!("[{host:?}]"))
            .set("azure.vault_hosts", format!("{hosts:?}"))
            .text("azure.vault_url", &url)
            .text("policy.mode", "audit")
            .rules("")
    })
    .await
}

/// Addresses that end at the trap when they are read in some way or other, and addresses of
/// vaults that are none of this cloud's.
fn hostile(port: u16) -> Vec<String> {
    let at_the_trap = [
        "https://localhost:PORT",
        "https://LOCALHOST:PORT",
        "https://localhost.:PORT",
        "https://127.0.0.1:PORT",
        "https://127.1:PORT",
        "https://2130706433:PORT",
        "https://0x7f000001:PORT",
        "https://0x7f.1:PORT",
        "https://0177.0.0.1:PORT",
        "https://0:PORT",
        "https://[::1]:PORT",
        "https://[::ffff:127.0.0.1]:PORT",
        "https://[0:0:0:0:0:0:0:1]:PORT",
        "http://localhost:PORT",
        "http://demo.vault.azure.net:PORT",
        "ftp://localhost:PORT",
        "https://user@localhost:PORT",
        "https://demo.vault.azure.net@localhost:PORT",
        "https://demo.vault.azure.net:443@localhost:PORT",
        "https://demo.vault.azure.net%40localhost:PORT",
        "https://localhost:PORT@demo.vault.azure.net",
        "https://localhost:PORT#.vault.azure.net",
        "https://localhost:PORT#@demo.vault.azure.net",
        "https://localhost:PORT?.vault.azure.net",
        "https://localhost:PORT/.vault.azure.net",
        "https://localhost:PORT/secrets/x?.vault.azure.net",
        "https://localhost:PORT\\.vault.azure.net",
        "https://localhost:PORT\\@demo.vault.azure.net",
        "https://demo.vault.azure.net\\@localhost:PORT",
        "https:\\\\localhost:PORT",
        "https:localhost:PORT",
        "https:///localhost:PORT",
        "//localhost:PORT",
        "localhost:PORT",
        "https://%6cocalhost:PORT",
        "https://localhost%3aPORT",
        "https://localhost%00.vault.azure.net:PORT",
        "https://localhost:PORT%2f.vault.azure.net",
        "https://local\thost:PORT",
        "https://localhost:PORT\n",
        "https://localhost:PORT\r\nhost: demo.vault.azure.net",
        " https://localhost:PORT",
        "https://127\u{3002}0\u{3002}0\u{3002}1:PORT",
        "https://\u{ff4c}ocalhost:PORT",
        "https://loc\u{ad}alhost:PORT",
        "https://demo.vault.azure.net:PORT",
        "https://localhost.vault.azure.net:PORT",
    ];
    let elsewhere = [
        "https://x.vault.azure.net.evil.test",
        "https://evil.test/.vault.azure.net",
        "https://vault.azure.net",
        "https://.vault.azure.net",
        "https://a.b.vault.azure.net",
        "https://demo.vault.azure.net.",
        "https://demo.vault.azure.net..",
        "https://demo..vault.azure.net",
        "https://demovault.azure.net",
        "https://demo-vault.azure.net",
        "https://xn--dmo-bma.vault.azure.net",
        "https://d\u{e9}mo.vault.azure.net",
        "https://demo.v\u{430}ult.azure.net",
        "https://demo%2evault.azure.net",
        "https://demo.vault.azure.net%2eevil.test",
        "https://demo.vault.usgovcloudapi.net",
        "https://demo.vault.azure.cn",
        "https://demo.managedhsm.azure.net",
        "https://demo.vault.azure.net:444",
        "https://demo.vault.azure.net:0443",
        "https://demo.vault.azure.net:",
        "https://169.254.169.254",
        "https://login.microsoftonline.com",
        "https://management.azure.com",
        "https://demo.vault.azure.net/secrets/x?api-version=7.4#",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:,x",
        "x",
        " ",
    ];
    let port = port.to_string();
    let at_the_trap = at_the_trap.iter().map(|url| url.replace("PORT", &port));
    at_the_trap.chain(elsewhere.map(str::to_owned)).collect()
}

#[tokio::test]
async fn no_connection_is_made_to_a_vault_that_a_job_made_up() {
    let trap = Trap::new();
    let direct = direct(&[]).await;
    let audit = |config: Config| config.rules("").text("policy.mode", "audit");
    let proxied = Stage::with(audit).await;
    for stage in [&direct, &proxied] {
        let caller = stage.caller().await;
        let token = stage.token();
        for url in hostile(trap.port()) {
            let request = ask(&token)
                .value("A", "db-password")
                .server("A", &url, "", "");
            for refusal in [
                caller.refused(request.clone()).await,
                caller.explain(request).await.unwrap_err(),
            ] {
                assert_eq!(
                    refusal.reason,
                    Reason::RequestInvalid,
                    "{url:?}: {refusal:?}"
                );
                let [(field, _)] = &refusal.violations[..] else {
                    panic!("{url:?}: {:?}", refusal.violations);
                };
                assert_eq!(field, "secrets.A.azure_key_vault.server.url", "{url:?}");
            }
            let sent = stage.sent();
            assert!(sent.is_empty(), "{url:?}: {sent:?}");
            assert_eq!(trap.visits(), 0, "{url:?}");
        }
        // Without them, both daemons reach the vault that the operator meant.
        let bytes = caller.bytes(ask(&token).value("A", "db-password")).await;
        assert_eq!(bytes["A"], b"correct horse battery staple");
    }
    assert_eq!(trap.visits(), 0);
}

/// The trap works: a daemon whose operator lists it goes there.
#[tokio::test]
async fn a_trap_that_the_operator_lists_is_gone_to() {
    let trap = Trap::new();
    let stage = direct(&[&trap.host()]).await;
    let url = format!("https://{}", trap.host());
    let request = ask(&stage.token())
        .value("A", "db-password")
        .server("A", &url, "", "");
    let caller = stage.caller().await;
    let call = tokio::spawn(async move { caller.refused(request).await });
    until("the trap is visited", || trap.visits() > 0).await;
    // Each further try is hung up on as well.
    until("the request has ended", || {
        trap.visits();
        call.is_finished()
    })
    .await;
    assert_eq!(call.await.unwrap().reason, Reason::UpstreamUnavailable);
}

/// The bearer tokens and assertions that were sent, by where they went.
fn assert_only_home(requests: &[Request], home: &str) {
    for request in requests {
        assert_eq!(request.host, home, "{request:?}");
        if request.route == "token" {
            let form = url::form_urlencoded::parse(request.body.as_bytes());
            let scopes: Vec<_> = form.filter(|(name, _)| name == "scope").collect();
            let [(_, scope)] = &scopes[..] else {
                panic!("{scopes:?}");
            };
            let wanted = scope.split(' ').next().unwrap();
            assert_eq!(wanted, format!("https://{home}/.default"));
        }
    }
}

#[tokio::test]
async fn no_answer_of_a_vault_or_of_entra_leads_anywhere_else() {
    let trap = Trap::new();
    let stage = direct(&[]).await;
    let home = stage.emulator.ready().issuer_url.clone();
    let home = home.trim_start_matches("https://");
    let evil = format!("https://{}", trap.host());
    let location = format!("{evil}/secrets/db-password?api-version=7.6");
    let redirect = |route: &str, status: u16| {
        let headers = json!({"location": location});
        json!({"route": route, "kind": "status", "status": status, "headers": headers})
    };
    let challenge = |authorization: &str, resource: &str| json!({"route": "secret", "kind": "challenge", "authorization": authorization, "resource": resource});
    let header = |value: &str| {
        let headers = json!({"www-authenticate": value});
        json!({"route": "secret", "kind": "status", "status": 401, "headers": headers})
    };
    let claims = "eyJhY2Nlc3NfdG9rZW4iOnt9fQ==";
    let mut faults: Vec<Value> = Vec::new();
    for status in [301, 302, 303, 307, 308] {
        faults.push(redirect("secret", status));
        faults.push(redirect("token", status));
    }
    faults.extend([
        json!({"route": "secret", "kind": "redirect", "location": location}),
        json!({"route": "token", "kind": "redirect", "location": location}),
        redirect("secret", 200),
        redirect("secret", 201),
        challenge(&format!("{evil}/tenant"), &evil),
        challenge(&format!("{evil}/tenant"), "https://vault.azure.net"),
        challenge("https://login.microsoftonline.com/x", &evil),
        challenge("https://login.microsoftonline.com/x", "https://management.azure.com"),
        json!({"route": "secret", "kind": "challenge", "authorization": format!("{evil}/x"), "omit_resource": true}),
        json!({"route": "secret", "kind": "challenge", "authorization": format!("{evil}/x"), "resource": evil, "claims": claims}),
        header(&format!("Bearer authorization=\"{evil}/x\", scope=\"{evil}/.default\"")),
        header(&format!("Bearer authorization_uri={evil}/x resource={evil}")),
        header(&format!("Basic realm=\"{evil}\"")),
        json!({"route": "secret", "kind": "status", "status": 200, "body": {"value": "x", "id": format!("{evil}/secrets/x/0123456789abcdef0123456789abcdef"), "kid": evil}}),
        json!({"route": "token", "kind": "status", "status": 400, "body": {"error": "interaction_required", "error_uri": evil, "claims": "{}"}}),
    ]);
    let caller = stage.caller().await;
    for fault in faults {
        stage.emulator.clear_faults();
        stage.emulator.clear_requests();
        stage.fault(fault.clone());
        let request = ask(&stage.token()).value("A", "db-password");
        // Whatever it makes of the answer, it stays.
        let outcome = caller.resolve(request).await;
        let served = fault["body"]["value"] == "x";
        assert_eq!(outcome.is_ok(), served, "{fault}: {outcome:?}");
        assert!(
            !stage.sent().is_empty(),
            "{fault}: it was not put to the test"
        );
        assert_only_home(&stage.sent(), home);
        assert_eq!(trap.visits(), 0, "{fault}");
    }
    stage.emulator.clear_faults();
    caller
        .bytes(ask(&stage.token()).value("A", "db-password"))
        .await;
    assert_eq!(trap.visits(), 0);
}

/// A tenant can be a domain, and stays a part of the path.
#[tokio::test]
async fn a_tenant_or_a_client_leads_nowhere_else() {
    let trap = Trap::new();
    let stage = direct(&[]).await;
    let home = stage.emulator.ready().issuer_url.clone();
    let home = home.trim_start_matches("https://");
    let caller = stage.caller().await;
    let host = trap.host();
    for tenant in [
        "localhost",
        "evil.test",
        "common",
        "organizations",
        "127.0.0.1",
        "-",
        "a-b",
    ] {
        let request = ask(&stage.token()).value("A", "db-password");
        let refusal = caller.refused(request.server("A", "", tenant, "")).await;
        let reasons = [Reason::ExchangeRefused, Reason::RequestInvalid];
        assert!(reasons.contains(&refusal.reason), "{tenant}: {refusal:?}");
    }
    for tenant in [
        &*host,
        "x@localhost",
        "//localhost",
        "..",
        "%2e%2e",
        "a/../b",
        "?x",
        "#x",
    ] {
        let request = ask(&stage.token()).value("A", "db-password");
        let refusal = caller.refused(request.server("A", "", tenant, "")).await;
        assert_eq!(
            refusal.reason,
            Reason::RequestInvalid,
            "{tenant}: {refusal:?}"
        );
    }
    assert_only_home(&stage.sent(), home);
    assert_eq!(trap.visits(), 0);
}
