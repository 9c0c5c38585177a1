//! What a rule can say beyond who and what: the ids and the vault it fills in or insists on,
//! versions, forks, expired secrets, and rules that are only tried.

use azure_emulator::{Attributes, Emulator};
use runner_secrets_proto::Reason;
use serde_json::json;

use crate::{
    call::{Ask, Refusal, ask},
    daemon::Config,
    stage::{Stage, VAULT, emulator},
};

const SHOP: &str = "{ project_path = \"acme/shop\" }";

/// A rule for the secrets `secrets` of the vault that exists, with more keys.
fn rule(name: &str, claims: &str, secrets: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = {name:?}\nbound_claims = {claims}\n\
         vaults = [\"https://{VAULT}.vault.azure.net\"]\nsecrets = {secrets}\n{more}\n"
    )
}

/// Without defaults for what rules can say.
fn bare(config: Config) -> Config {
    config
        .unset("azure.tenant_id")
        .unset("azure.client_id")
        .unset("azure.vault_url")
}

fn ids(emulator: &Emulator) -> (String, String) {
    let ready = emulator.ready();
    (ready.tenant_id.clone(), ready.client_id.clone())
}

async fn denied(stage: &Stage, request: Ask) -> Refusal {
    let sent = stage.sent().len();
    let refusal = stage.caller().await.refused(request).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied, "{refusal:?}");
    assert_eq!(stage.sent().len(), sent, "somebody was asked");
    refusal
}

#[tokio::test]
async fn a_rule_fills_in_what_the_job_leaves_out_and_insists_on_it() {
    let emulator = emulator().await;
    let (tenant, client) = ids(&emulator);
    let pinned = format!(
        "tenant_id = {tenant:?}\nclient_id = {:?}",
        client.to_uppercase()
    );
    let rules = rule("pinned", SHOP, "[\"db-*\"]", &pinned);
    let stage = Stage::beside(emulator, |config| bare(config).rules(&rules)).await;
    let caller = stage.caller().await;
    let vault = stage.emulator.ready().vault_url.clone();
    let request = || ask(&stage.token()).value("A", "db-password");
    // Left out, said, and said in another case.
    for (vault, tenant, client) in [
        ("", "", ""),
        (&*vault, &*tenant, &*client),
        ("", "", &*client.to_uppercase()),
        (
            "HTTPS://Demo.Vault.Azure.Net:443/",
            &*tenant.to_uppercase(),
            "",
        ),
    ] {
        stage.emulator.clear_requests();
        caller
            .bytes(request().server("A", vault, tenant, client))
            .await;
        let asked = stage.requests("token");
        assert_eq!(asked.len(), 1);
        let path = format!("/{}/oauth2/v2.0/token", ids(&stage.emulator).0);
        assert_eq!(asked[0].path, path);
        let as_client = format!("client_id={}", ids(&stage.emulator).1);
        assert!(asked[0].body.contains(&as_client));
        let read = stage.requests("secret");
        assert!(read[0].host.starts_with("demo.vault.azure.net"));
    }
    let nobody = "00000000-0000-4000-8000-000000000000";
    for (server, sentence) in [
        (
            request().server("A", "", nobody, ""),
            format!("rule \"pinned\" wants tenant_id {tenant}, and the job has \"{nobody}\""),
        ),
        (
            request().server("A", "", "contoso.onmicrosoft.com", ""),
            format!("wants tenant_id {tenant}, and the job has \"contoso.onmicrosoft.com\""),
        ),
        (
            request().server("A", "", &tenant, nobody),
            format!("rule \"pinned\" wants client_id {client}, and the job has \"{nobody}\""),
        ),
        (
            request().server("A", "https://other.vault.azure.net", "", ""),
            "is for the vault \"https://demo.vault.azure.net\", not for https://other.vault.azure.net"
                .to_owned(),
        ),
    ] {
        let refusal = denied(&stage, server).await;
        assert!(refusal.message.contains(&sentence), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_rule_can_insist_on_a_version() {
    let rules = rule("pinned", SHOP, "[\"db-*\"]", "require_version = true");
    let stage = Stage::with(|config| config.rules(&rules)).await;
    let version = stage.put("db-pinned", "the first");
    stage.put("db-pinned", "the second");
    let latest = ask(&stage.token()).value("A", "db-pinned");
    let refusal = denied(&stage, latest).await;
    let sentence = "rule \"pinned\" wants a version to be named, and the job names none";
    assert!(refusal.message.contains(sentence), "{refusal:?}");
    let request = ask(&stage.token()).pinned("A", "db-pinned", &version);
    assert_eq!(stage.caller().await.bytes(request).await["A"], b"the first");
}

/// In the merge request of a fork, `project_path` is the fork's, which anybody may choose.
#[tokio::test]
async fn forks_get_what_a_rule_allows_forks_only() {
    let forks = "{ project_path = \"sam/*\" }";
    let home = "{ job_project_path = \"acme/shop\" }";
    let rules = [
        rule("no forks", forks, "[\"no-forks\"]", ""),
        rule("forks", forks, "[\"forks\"]", "allow_forks = true"),
        rule("at home", home, "[\"home\"]", ""),
        rule(
            "at home, forks",
            home,
            "[\"home-forks\"]",
            "allow_forks = true",
        ),
    ]
    .concat();
    let stage = Stage::with(|config| config.rules(&rules)).await;
    for name in ["no-forks", "forks", "home", "home-forks"] {
        stage.put(name, name);
    }
    let caller = stage.caller().await;
    let path = json!({"project_path": "sam/shop"});
    let path_and_id = json!({"project_path": "sam/shop", "project_id": "77"});
    let only_id = json!({"project_path": "sam/shop", "project_id": "77", "job_project_path": null});
    for claims in [path, path_and_id, only_id] {
        let token = stage.token_but(claims.clone());
        let fork = |name: &str| ask(&token).value("A", name);
        assert_eq!(caller.bytes(fork("forks")).await["A"], b"forks", "{claims}");
        for name in ["no-forks", "home"] {
            denied(&stage, fork(name)).await;
        }
    }
    let token = stage.token_but(json!({"project_path": "sam/shop", "project_id": "77"}));
    caller.bytes(ask(&token).value("A", "home-forks")).await;
    // No fork: a project of Sam's own, and the shop itself.
    let own = json!({"project_path": "sam/tool", "project_id": "78", "job_project_path": "sam/tool", "job_project_id": "78"});
    let own = stage.token_but(own);
    caller
        .bytes(ask(&own).value("A", "no-forks").value("B", "forks"))
        .await;
    let shop = ask(&stage.token())
        .value("A", "home")
        .value("B", "home-forks");
    assert_eq!(caller.bytes(shop).await.len(), 2);
}

#[tokio::test]
async fn expired_secrets_are_refused_where_the_operator_wants_that_and_else_warned_of() {
    let strict = rule("strict", SHOP, "[\"strict*\"]", "refuse_expired = true");
    let rules = strict + &rule("lax", SHOP, "[\"lax*\"]", "");
    let expired = Attributes {
        exp: Some(1_500_000_000),
        ..Attributes::default()
    };
    let early = Attributes {
        nbf: Some(4_000_000_000),
        ..Attributes::default()
    };
    for everywhere in [false, true] {
        let stage = Stage::with(|config| {
            let config = config.rules(&rules);
            config.set("policy.refuse_expired", everywhere)
        })
        .await;
        let caller = stage.caller().await;
        for name in ["strict", "lax"] {
            stage.put_with(name, "x", expired.clone());
            stage.put_with(&format!("{name}-early"), "x", early.clone());
            stage.put(&format!("{name}-good"), "x");
        }
        for (name, warning) in [
            ("", "expired in Key Vault on 2017-07-14"),
            ("-early", "is not valid in Key Vault before 2096-10-02"),
        ] {
            for kind in ["strict", "lax"] {
                let name = format!("{kind}{name}");
                let request = ask(&stage.token())
                    .value("A", &name)
                    .file("B", &format!("{kind}-good"));
                if kind == "lax" && !everywhere {
                    let answer = caller.resolve(request).await.unwrap();
                    assert_eq!(answer.variables["A"].warnings, [warning]);
                    assert!(answer.variables["B"].warnings.is_empty());
                    caller
                        .release(&answer.lease_id, &stage.token())
                        .await
                        .unwrap();
                    continue;
                }
                let refusal = caller.refused(request).await;
                assert_eq!(refusal.reason, Reason::SecretExpired, "{refusal:?}");
                assert_eq!(
                    refusal.message,
                    format!(
                        "A: the secret {name} {warning}, and the operator refuses such secrets"
                    )
                );
                assert!(stage.place.left().is_empty());
            }
        }
    }
}

#[tokio::test]
async fn in_audit_mode_what_would_be_denied_is_given_and_logged() {
    let rules = rule(
        "shop",
        "{ project_path = \"acme/shop\", environment = \"staging\" }",
        "[\"db-*\"]",
        "",
    );
    let mut stage = Stage::with(|config| config.rules(&rules).text("policy.mode", "audit")).await;
    assert!(stage.daemon.log().contains("mode=audit"));
    let caller = stage.caller().await;
    let request = ask(&stage.token())
        .value("A", "db-password")
        .value("B", "api-key");
    assert_eq!(caller.bytes(request.clone()).await.len(), 2);
    stage.daemon.logs("granted what would be denied").await;
    let log = stage.daemon.log();
    let line = log
        .lines()
        .find(|line| line.contains("granted what would be denied"));
    let line = line.unwrap();
    assert!(
        line.contains("WARN") && line.contains("request_id="),
        "{line}"
    );
    let denied = "no rule grants the secret db-password (variable A): rule \"shop\" wants \
        environment to be \"staging\", and the token has \"production\"; also refused: B";
    assert!(line.contains(denied), "{line}");
    // Explain says what would be.
    let verdicts = caller.explain(request).await.unwrap();
    assert!(
        !verdicts["A"].granted && !verdicts["B"].granted,
        "{verdicts:?}"
    );
    // A token that is not good is none in any mode, and neither is a vault.
    let expired = stage.token_but(json!({"exp": 1}));
    let refusal = caller
        .refused(ask(&expired).value("A", "db-password"))
        .await;
    assert_eq!(refusal.reason, Reason::TokenExpired);
    let evil = ask(&stage.token())
        .value("A", "x")
        .server("A", "https://evil.test", "", "");
    assert_eq!(caller.refused(evil).await.reason, Reason::RequestInvalid);
    // What a rule grants is no matter for a warning.
    let staging = stage.token_but(json!({"environment": "staging"}));
    caller.bytes(ask(&staging).value("A", "db-password")).await;
    let warnings = stage
        .daemon
        .log()
        .matches("granted what would be denied")
        .count();
    assert_eq!(warnings, 1);
}

#[tokio::test]
async fn the_first_rule_of_the_file_that_is_satisfied_grants() {
    let emulator = emulator().await;
    let (_, client) = ids(&emulator);
    let nobody = "00000000-0000-4000-8000-000000000000";
    let staging = "{ project_path = \"acme/shop\", environment = \"staging\" }";
    let as_client = |id: &str| format!("client_id = {id:?}");
    let rules = [
        rule("not met", staging, "[\"*\"]", &as_client(nobody)),
        rule("narrow", SHOP, "[\"db-*\"]", &as_client(&client)),
        rule(
            "wide",
            "{ project_path = \"**\" }",
            "[\"*\"]",
            &as_client(nobody),
        ),
        rule(
            "exact",
            SHOP,
            "[\"db-password\", \"api-key\"]",
            &as_client(&client),
        ),
    ]
    .concat();
    let stage = Stage::beside(emulator, |config| {
        config.unset("azure.client_id").rules(&rules)
    })
    .await;
    let caller = stage.caller().await;
    let request = ask(&stage.token())
        .value("A", "db-password")
        .value("B", "api-key");
    let verdicts = caller.explain(request.clone()).await.unwrap();
    assert_eq!(verdicts["A"].rule, "narrow");
    // A later rule that fits better changes nothing.
    assert_eq!(verdicts["B"].rule, "wide");
    caller
        .bytes(ask(&stage.token()).value("A", "db-password"))
        .await;
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::ExchangeRefused, "{refusal:?}");
    assert!(refusal.message.starts_with("B: "), "{refusal:?}");
    // A rule whose ids the job contradicts is not satisfied, and the next may be.
    let request = ask(&stage.token()).value("B", "api-key");
    let request = request.server("B", "", "", &client);
    let verdicts = caller.explain(request.clone()).await.unwrap();
    assert_eq!(verdicts["B"].rule, "exact");
    caller.bytes(request).await;
}
