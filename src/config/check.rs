//! From the TOML as typed to what it means: a function for each table, every mistake noted.

use std::{fs, os::unix::ffi::OsStrExt as _, path::PathBuf, time::Duration};

use super::{
    Config, Files, Limits, Log, LogFormat, OnStop, audit, gateway, issuer, listen,
    raw::Table,
    rule::{self, Rules},
    value::{Count, Host, HttpUrl, HttpsUrl, Octal},
};
use crate::{
    azure::{self, ClientId, Cloud, TenantId},
    policy,
    vault::Origin,
};

pub(super) fn config(mut root: Table<'_>) -> Option<Config> {
    let (listeners, addresses) = listen::read(&mut root);
    let files = files(root.table("files"));
    let azure = azure(root.table("azure"));
    let issuers = issuer::read(&mut root);
    let rules = rule::read(&mut root, &issuers);
    let audit = audit::read(root.table("audit"));
    let admin = root.table("admin").optional("listen");
    let gateways = gateway::read(&mut root);
    let limits = limits(root.table("limits"));
    let log = log(root.table("log"));
    let (azure, defaults) = azure?;
    vaults_of_the_cloud(&root, &rules, &azure.cloud);
    Some(Config {
        listeners,
        addresses,
        files,
        azure,
        defaults,
        issuers,
        rules,
        audit: audit?,
        admin,
        gateways,
        limits,
        log,
    })
}

/// A rule for a vault of another cloud would never grant anything that can be read.
fn vaults_of_the_cloud(root: &Table<'_>, rules: &Rules, cloud: &Cloud) {
    for (at, rule) in rules.rules.iter().enumerate() {
        for vault in &rule.vaults {
            if let Err(error) = cloud.vault(vault) {
                root.problem(&format!("rule[{at}].vaults"), format!("{vault} {error}"));
            }
        }
    }
}

fn files(mut table: Table<'_>) -> Files {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let directory = PathBuf::from("/run/runner-secrets-leases");
    let Octal(mode) = table.or("file_mode", Octal(0o400));
    if mode & 0o007 != 0 {
        let problem = "would let every user of the host read the secrets";
        table.problem("file_mode", problem.to_owned());
    }
    let directory = table.or("directory", directory);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte);
    if !directory.as_os_str().as_bytes().iter().copied().all(plain) {
        let problem =
            "has other characters than letters, digits and _ . / -; paths in it go through shells";
        table.problem("directory", problem.to_owned());
    }
    let state = PathBuf::from("/run/runner-secrets-state");
    let state_directory = table.or("state_directory", state);
    // Jobs can see the one and must never see the other.
    if state_directory.starts_with(&directory) || directory.starts_with(&state_directory) {
        let problem = "is, or is in, or holds files.directory; give it a place of its own";
        table.problem("state_directory", problem.to_owned());
    }
    Files {
        directory,
        state_directory,
        require_memory_backed: table.or("require_memory_backed", true),
        mode,
        max_ttl: table.or("max_ttl", DAY),
        // after_script is another process than the script, and still needs the files.
        owner_grace: table.or("owner_grace", Duration::from_secs(10 * 60)),
        on_stop: table.or("on_stop", OnStop::Delete),
    }
}

fn azure(mut table: Table<'_>) -> Option<(azure::Settings, policy::Defaults)> {
    let cloud = cloud(&mut table);
    let ca = table.optional::<PathBuf>("ca_file");
    let ca = ca.and_then(|path| match fs::read(&path) {
        Ok(pem) if azure::certificates(&pem).is_empty() => {
            table.problem(
                "ca_file",
                format!("{} holds no PEM certificate", path.display()),
            );
            None
        }
        Ok(pem) => Some(azure::Ca { path, pem }),
        Err(error) => {
            table.problem("ca_file", format!("{}: {error}", path.display()));
            None
        }
    });
    let proxy = table.optional::<HttpUrl>("proxy_url");
    // docs/performance.md says how to measure it.
    let http2 = table.or("http2", false);
    let tenant = table.optional::<TenantId>("tenant_id");
    let client = table.optional::<ClientId>("client_id");
    let vault = table.optional::<String>("vault_url");
    let cloud = cloud?;
    let vault = vault.and_then(|vault| {
        let known = Origin::parse(&vault).map_err(|error| error.to_string());
        let known = known.and_then(|origin| match cloud.vault(&origin) {
            Ok(_) => Ok(origin),
            Err(error) => Err(error.to_string()),
        });
        known
            .map_err(|problem| table.problem("vault_url", format!("{vault:?} {problem}")))
            .ok()
    });
    let proxy = proxy.map(|HttpUrl(url)| url);
    let settings = azure::Settings {
        cloud,
        ca,
        proxy,
        http2,
    };
    let defaults = policy::Defaults {
        vault,
        tenant_id: tenant.map(|id| id.as_str().to_owned()),
        client_id: client.map(|id| id.as_str().to_owned()),
    };
    Some((settings, defaults))
}

fn cloud(table: &mut Table<'_>) -> Option<Cloud> {
    let name = table.or("cloud", "public".to_owned());
    let authority = table.optional::<HttpsUrl>("authority_host");
    let hosts = |hosts: Vec<Host>| hosts.into_iter().map(|Host(host)| host).collect::<Vec<_>>();
    let suffixes = table.optional::<Vec<Host>>("vault_suffixes").map(hosts);
    let vault_hosts = hosts(table.or("vault_hosts", Vec::new()));
    let custom = name == "custom";
    for (key, given) in [
        ("authority_host", authority.is_some()),
        (
            "vault_suffixes",
            suffixes.as_ref().is_some_and(|list| !list.is_empty()),
        ),
    ] {
        if given && !custom {
            let problem = "is for cloud = \"custom\" only; the other clouds have theirs";
            table.problem(key, problem.to_owned());
        }
        if custom && !given && !table.has(key) {
            table.problem(key, "is needed for cloud = \"custom\"".to_owned());
        }
    }
    if custom {
        return Some(Cloud {
            authority_host: authority?.0,
            vault_suffixes: suffixes?,
            vault_hosts,
        });
    }
    let Some(cloud) = Cloud::named(&name) else {
        let problem = "is none of \"public\", \"us_government\", \"china\" and \"custom\"";
        table.problem("cloud", problem.to_owned());
        return None;
    };
    Some(Cloud {
        vault_hosts,
        ..cloud
    })
}

fn limits(mut table: Table<'_>) -> Limits {
    // More in one job is a mistake in the spec.
    let secrets = table.or("secrets", Count(100)).0;
    // Room for 100 secrets with tokens of their own of usual size; below what the decoder takes.
    let request_bytes = table.or("request_bytes", Count(1024 * 1024)).0;
    if request_bytes > crate::service::MOST_DECODED {
        let problem = format!(
            "is more than {}, the most that is decoded",
            crate::service::MOST_DECODED
        );
        table.problem("request_bytes", problem);
    }
    let rate = |Count(rate)| u32::try_from(rate).unwrap_or(u32::MAX);
    Limits {
        secrets,
        request_bytes,
        // Each waits for Azure more than it works: two processors are busy with far fewer, and
        // 256 times what a request holds is what the memory's figures are for.
        requests: table.or("requests", Count(256)).0,
        // Four times as many are through in a second; more would only wait for a refusal.
        queue: table.or("queue", Count(1024)).0,
        // A matrix of 100 jobs that starts at once, ten times over. One vault has 400 reads a second.
        caller_rate: rate(table.or("caller_rate", Count(100))),
        // A script that takes its secrets one by one; a loop that does nothing else is a mistake.
        token_rate: rate(table.or("token_rate", Count(5))),
        // The largest request is one round trip, with some room for others.
        upstream_requests: table.or("upstream_requests", Count(128)).0,
        // Key Vault takes 4,000 within ten seconds, from all who read the vault.
        vault_reads: rate(table.or("vault_reads", Count(3600))),
        // Every request that may wait has one, and some are between two requests.
        connections: table.or("connections", Count(2048)).0,
        // A client takes a connection for a job; whoever keeps one has pauses of less.
        idle_timeout: table.or("idle_timeout", Duration::from_secs(60)),
        request_timeout: table.or("request_timeout", Duration::from_secs(30)),
        stop_timeout: table.or("stop_timeout", Duration::from_secs(30)),
    }
}

fn log(mut table: Table<'_>) -> Log {
    let level = table.or("level", "info".to_owned());
    if !["error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        let problem = "is none of \"error\", \"warn\", \"info\", \"debug\" and \"trace\"";
        table.problem("level", problem.to_owned());
    }
    Log {
        format: table.or("format", LogFormat::Text),
        level,
    }
}
