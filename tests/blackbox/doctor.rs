//! `runner-secretsd doctor` on the host: whatever is broken is named, with what to change under it;
//! nothing is changed, nothing is handed out, and no token is needed.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Output};

use azure_emulator::Emulator;
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::{
    authority::{self, Authority, Leaf},
    daemon::{Config, NOBODY, PATIENCE, PROGRAM, Place},
    stage::{Stage, config, emulator},
};

/// A tenant that nobody has.
const NO_TENANT: &str = "00000000-0000-4000-8000-000000000000";

async fn run(place: &Place, arguments: &[&str]) -> Output {
    with(place, arguments, &[]).await
}

/// In an environment.
async fn with(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.arg("doctor").args(arguments).env_clear();
    command.envs(environment.iter().copied());
    command.arg("--config").arg(place.path("config.toml"));
    let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
    output.expect("doctor does not end").unwrap()
}

/// What it says to people, and the same to machines.
async fn examined(place: &Place, status: i32) -> String {
    let output = run(place, &[]).await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(status), "{said}");
    let json = run(place, &["--json"]).await;
    assert_eq!(json.status.code(), Some(status), "{said}");
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["well"], status == 0);
    let steps = json["steps"].as_array().unwrap();
    let marked = said.lines().filter(|line| !line.starts_with(' '));
    assert_eq!(marked.count(), steps.len(), "{said}");
    said
}

#[tokio::test]
async fn all_is_well_on_a_host_where_jobs_get_their_secrets() {
    let stage = Stage::new().await;
    stage.emulator.clear_requests();
    let said = examined(&stage.place, 0).await;
    for line in [
        "✓ configuration  ",
        "✓ socket         somebody listens at ",
        "✓ keys           https://localhost:",
        "✓ discovery      https://localhost:",
        "- public         localhost has private addresses only, seen from here",
        "                 curl -fsS https://localhost:",
        "                 what a private GitLab can do: docs/azure.md#a-private-gitlab",
        "✓ certificates   1 in ",
        "✓ proxy          azure.proxy_url: 127.0.0.1:",
        "✓ entra          login.microsoftonline.com on the tenant 3e1f0a52-",
        "✓ clock          0 s ",
        "✓ vault          https://demo.vault.azure.net answers, of the tenant 3e1f0a52-",
    ] {
        let begins = |said: &str| said.starts_with(line);
        assert!(said.lines().any(begins), "{line}: {said}");
    }
    // It has no token, and reads nothing.
    for request in stage.emulator.requests() {
        assert_ne!(request.route, "token", "{request:?}");
        assert!(
            request.headers.get("authorization").is_none(),
            "{request:?}"
        );
    }
}

/// Breaks one thing of a set-up and finds it named: by a cross at that step that says or advises
/// that.
async fn broken(
    what: &str,
    break_it: impl FnOnce(Config, &Place, &Emulator) -> Config,
    step: &str,
    part: &str,
) {
    let (place, emulator) = (Place::new(), emulator().await);
    let usual = config(&place, &emulator);
    break_it(usual, &place, &emulator).write(&place.path("config.toml"));
    let said = examined(&place, 1).await;
    let mut found = false;
    for cross in said.split("✗ ").skip(1) {
        let end = cross
            .find("\n✓")
            .or_else(|| cross.find("\n-"))
            .unwrap_or(cross.len());
        found |= cross.starts_with(step) && cross[..end].contains(part);
    }
    assert!(found, "{what}: {step}, {part}: {said}");
}

#[tokio::test]
async fn what_is_broken_on_the_host_is_named() {
    let audit = |config: Config, path: &str| config.text("audit.path", path);
    broken(
        "mistake",
        |c, _, _| c.set("azure.clod", "1"),
        "configuration",
        "azure.clod",
    )
    .await;
    broken(
        "no CA file",
        |c, _, _| c.text("azure.ca_file", "/nowhere"),
        "configuration",
        "azure.ca_file",
    )
    .await;
    broken("not started", |c, _, _| c, "socket", "start the daemon").await;
    let gone = |config, place: &Place, _: &Emulator| {
        fs::remove_dir_all(place.leases()).unwrap();
        config
    };
    broken("no directory", gone, "files", "mkdir -m 0711").await;
    let open = |config, place: &Place, _: &Emulator| {
        let all = fs::Permissions::from_mode(0o777);
        fs::set_permissions(place.leases(), all).unwrap();
        config
    };
    broken("open directory", open, "files", "make it 0711").await;
    let disk = |config: Config, _: &Place, _: &Emulator| {
        let directory = env!("CARGO_MANIFEST_DIR");
        let config = config.text("files.directory", directory);
        config.set("files.require_memory_backed", true)
    };
    broken("on a disk", disk, "files", "mount a tmpfs").await;
    broken(
        "no trail",
        |c, _, _| audit(c, "/nowhere/audit.jsonl"),
        "audit",
        "mkdir -m 0700",
    )
    .await;
    let directory = |config, place: &Place, _: &Emulator| {
        let path = place.path("trail.jsonl");
        fs::create_dir(&path).unwrap();
        audit(config, path.to_str().unwrap())
    };
    broken("a directory", directory, "audit", "no plain file").await;
    let syslog =
        |config: Config, _: &Place, _: &Emulator| config.text("audit.syslog", "tcp://127.0.0.1:1");
    broken(
        "no syslog",
        syslog,
        "audit",
        "the syslog server 127.0.0.1:1",
    )
    .await;
}

#[tokio::test]
async fn what_is_broken_at_gitlab_is_named() {
    let down = |config: Config, _: &Place, _: &Emulator| config.text("issuer.url", NOBODY);
    broken("down", down, "keys", "let the daemon's host reach GitLab").await;
    broken(
        "stranger",
        |c, _, _| c.unset("issuer.ca_file"),
        "keys",
        "invalid peer certificate",
    )
    .await;
    let empty = |config, _: &Place, emulator: &Emulator| {
        let keys = json!({"keys": []});
        let fault = json!({"route": "jwks", "kind": "status", "status": 200, "body": keys});
        emulator.fault(&fault).unwrap();
        config
    };
    broken("no keys", empty, "keys", "no RSA signature key").await;
    for (member, part) in [
        ("authorization_endpoint", "has no authorization_endpoint"),
        (
            "subject_types_supported",
            "has nothing in subject_types_supported",
        ),
        ("id_token_signing_alg_values_supported", "has no RS256"),
    ] {
        let incomplete = |config, _: &Place, emulator: &Emulator| {
            let issuer = &emulator.ready().issuer_url;
            let mut document = json!({
                "issuer": issuer,
                "jwks_uri": format!("{issuer}/oauth/discovery/keys"),
                "authorization_endpoint": format!("{issuer}/oauth/authorize"),
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            });
            document.as_object_mut().unwrap().remove(member);
            let fault =
                json!({"route": "discovery", "kind": "status", "status": 200, "body": document});
            emulator.fault(&fault).unwrap();
            config
        };
        broken(member, incomplete, "discovery", part).await;
    }
}

#[tokio::test]
async fn what_is_broken_on_the_way_to_azure_is_named() {
    let proxy = |config: Config, _: &Place, _: &Emulator| {
        config.text("azure.proxy_url", "http://somebody:secret@127.0.0.1:1")
    };
    broken("proxy down", proxy, "proxy", "127.0.0.1:1").await;
    broken(
        "TLS",
        |c, _, _| c.unset("azure.ca_file"),
        "entra",
        "azure.ca_file",
    )
    .await;
    let other = |config: Config, _: &Place, _: &Emulator| {
        let config = config.text("azure.cloud", "custom");
        let config = config.text("azure.authority_host", "https://nobody.test");
        config.set("azure.vault_suffixes", "[\"vault.azure.net\"]")
    };
    broken("proxy refuses", other, "entra", "let CONNECT through").await;
    let tenant =
        |config: Config, _: &Place, _: &Emulator| config.text("azure.tenant_id", NO_TENANT);
    broken("no tenant", tenant, "entra", "AADSTS90002").await;
    broken(
        "wrong tenant",
        tenant,
        "vault",
        "belongs to the tenant 3e1f0a52",
    )
    .await;
    let nowhere = |config: Config, _: &Place, _: &Emulator| {
        config.set("rule.vaults", "[\"https://nowhere.vault.azure.net\"]")
    };
    broken(
        "no vault",
        nowhere,
        "vault",
        "https://nowhere.vault.azure.net",
    )
    .await;
    let cloud = |config: Config, _: &Place, emulator: &Emulator| {
        let fault =
            json!({"route": "secret", "kind": "challenge", "resource": "https://vault.azure.cn"});
        emulator.fault(&fault).unwrap();
        config
    };
    broken("wrong cloud", cloud, "vault", "set azure.cloud").await;
    let page = |config: Config, _: &Place, emulator: &Emulator| {
        let page = json!({"route": "secret", "kind": "status", "status": 403, "body": "<html>"});
        emulator.fault(&page).unwrap();
        config
    };
    broken("a page", page, "vault", "not one of its own").await;
    let clock = |config: Config, _: &Place, emulator: &Emulator| {
        let headers = json!({"date": "Fri, 31 Dec 1999 23:59:59 GMT"});
        let body = json!({"token_endpoint": "https://x.test"});
        let fault = json!({"route": "openid", "kind": "status", "status": 200, "body": body, "headers": headers});
        emulator.fault(&fault).unwrap();
        config
    };
    broken("clock", clock, "clock", "ahead of Entra's").await;
}

/// The address of a proxy can hold a password.
#[tokio::test]
async fn a_password_of_a_proxy_is_not_shown() {
    let (place, emulator) = (Place::new(), emulator().await);
    let config = config(&place, &emulator);
    let config = config.text("azure.proxy_url", "http://somebody:hunter2@127.0.0.1:1");
    config.write(&place.path("config.toml"));
    let said = examined(&place, 1).await;
    assert!(!said.contains("hunter2"), "{said}");
}

/// Where the configuration has no proxy, the environment's counts, as for the daemon.
#[tokio::test]
async fn a_proxy_of_the_environment_is_looked_at() {
    let (place, emulator) = (Place::new(), emulator().await);
    let config = config(&place, &emulator).unset("azure.proxy_url");
    config.write(&place.path("config.toml"));
    for (name, address) in [
        ("HTTPS_PROXY", "http://somebody:hunter2@127.0.0.1:1"),
        ("https_proxy", "http://somebody:hunter2@127.0.0.1:1"),
        ("ALL_PROXY", "127.0.0.1:1"),
    ] {
        let output = with(&place, &[], &[(name, address)]).await;
        let said = String::from_utf8(output.stdout).unwrap();
        let line = format!("✗ proxy          {name}: 127.0.0.1:1: ");
        assert!(said.contains(&line), "{said}");
        assert!(said.contains(&format!("correct {name}")), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn what_is_broken_about_an_address_is_named() {
    let with = |leaf: fn(&Authority) -> Leaf| {
        move |config: Config, place: &Place, _: &Emulator| {
            leaf(&Authority::new("the operator")).write(place);
            let keys = authority::keys(place);
            config.more(&format!("[[listen]]\naddress = \"127.0.0.1:1\"\n{keys}"))
        }
    };
    broken(
        "not started",
        with(Authority::leaf),
        "address",
        "127.0.0.1:1",
    )
    .await;
    broken("ended", with(Authority::ended), "certificate", "has ended").await;
}

/// A gateway that nobody answers at, and a GitLab that it cannot reach.
#[tokio::test]
async fn what_is_broken_about_a_gateway_is_named() {
    let gateway = |url: &str| {
        let keys = format!("[[gateway]]\nlisten = \"127.0.0.1:1\"\ngitlab_url = {url:?}\n");
        move |config: Config, _: &Place, _: &Emulator| config.more(&keys)
    };
    let nobody = "https://localhost:1";
    broken("not started", gateway(nobody), "gateway", "127.0.0.1:1").await;
    broken("no GitLab", gateway(nobody), "gitlab", "localhost:1").await;
    let tls = |config: Config, _: &Place, emulator: &Emulator| {
        let url = &emulator.ready().issuer_url;
        let keys = format!("[[gateway]]\nlisten = \"127.0.0.1:1\"\ngitlab_url = {url:?}\n");
        config.more(&keys)
    };
    broken("unknown CA", tls, "gitlab", "gateway.ca_file").await;
    let other = |config: Config, _: &Place, emulator: &Emulator| {
        let (url, ca) = (&emulator.ready().issuer_url, &emulator.ready().ca_file);
        let keys = format!(
            "[[gateway]]\nlisten = \"127.0.0.1:1\"\ngitlab_url = {url:?}\nca_file = {ca:?}\n"
        );
        config.more(&keys)
    };
    // It answers, and has no jobs for runners.
    broken("no GitLab", other, "gitlab", "is not GitLab's answer").await;
}
