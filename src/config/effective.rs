//! The configuration as it is in effect, defaults included, under the names of its keys: for the
//! log and the audit trail, at start. It holds no secret.

use std::time::Duration;

use serde_json::{Value, json};
use url::Url;

use super::{
    Address, Config, Delivery, Files, Limits, Listen, audit::Audit, gateway::Gateway, issuer,
    issuer::KeySource,
};
use crate::{azure, policy::Defaults, vault::Origin};

impl Config {
    /// Every table but the rules, which the policy's text has.
    #[must_use]
    pub fn effective(&self) -> Value {
        let sockets = self.listeners.iter().map(listen);
        let listeners: Vec<Value> = sockets.chain(self.addresses.iter().map(address)).collect();
        let issuers: Vec<Value> = self.issuers.iter().map(issuer).collect();
        let gateways: Vec<Value> = self.gateways.iter().map(gateway).collect();
        json!({
            "listen": listeners,
            "files": files(&self.files),
            "azure": azure(&self.azure, &self.defaults),
            "issuer": issuers,
            "policy": {
                "mode": self.rules.mode.to_string(),
                "refuse_expired": self.rules.refuse_expired,
            },
            "audit": audit(&self.audit),
            "admin": { "listen": self.admin },
            "gateway": gateways,
            "limits": limits(&self.limits),
            "log": { "format": self.log.format.to_string(), "level": self.log.level },
        })
    }

    /// Writes a line for each table.
    pub fn log_effective(&self) {
        let Value::Object(tables) = self.effective() else {
            return;
        };
        for (table, settings) in tables {
            let each = match settings {
                Value::Array(each) => each,
                one => vec![one],
            };
            for settings in each {
                tracing::info!(table, %settings, "configured");
            }
        }
    }
}

fn listen(listen: &Listen) -> Value {
    let (delivery, inline_disk) = match listen.delivery {
        Delivery::Files => ("files", None),
        Delivery::Inline { disk_allowed } => ("inline", Some(disk_allowed)),
    };
    json!({
        "socket": listen.socket,
        "socket_mode": mode(listen.mode),
        "socket_group": listen.group,
        "allowed_uids": listen.allowed_uids,
        "delivery": delivery,
        "inline_disk": inline_disk,
        "reflection": listen.reflection,
    })
}

fn address(address: &Address) -> Value {
    json!({
        "address": address.address,
        "tls_cert": address.tls.chain,
        "tls_key": address.tls.key,
        "client_ca": address.tls.client_ca,
        "delivery": "inline",
        "inline_disk": address.disk_allowed,
        "reflection": address.reflection,
    })
}

fn files(files: &Files) -> Value {
    json!({
        "directory": files.directory,
        "state_directory": files.state_directory,
        "require_memory_backed": files.require_memory_backed,
        "file_mode": mode(files.mode),
        "max_ttl": duration(files.max_ttl),
        "owner_grace": duration(files.owner_grace),
        "on_stop": files.on_stop.to_string(),
    })
}

fn azure(settings: &azure::Settings, defaults: &Defaults) -> Value {
    let azure::Settings {
        cloud,
        ca,
        proxy,
        http2,
    } = settings;
    json!({
        "authority_host": cloud.authority_host.as_str(),
        "vault_suffixes": cloud.vault_suffixes,
        "vault_hosts": cloud.vault_hosts,
        "ca_file": ca.as_ref().map(|ca| &ca.path),
        // Its URL may hold a password.
        "proxy_host": proxy.as_ref().and_then(Url::host_str),
        "http2": http2,
        "tenant_id": defaults.tenant_id,
        "client_id": defaults.client_id,
        "vault_url": defaults.vault.as_ref().map(Origin::as_str),
    })
}

fn issuer(issuer: &issuer::Issuer) -> Value {
    let (key, place) = match &issuer.keys {
        KeySource::Discovery(url) => ("discovery", json!(url.as_str())),
        KeySource::Url(url) => ("jwks_url", json!(url.as_str())),
        KeySource::File(path) => ("jwks_file", json!(path)),
    };
    json!({
        "url": issuer.url,
        "audiences": issuer.audiences,
        "ca_file": issuer.ca_file,
        (key): place,
    })
}

fn audit(audit: &Audit) -> Value {
    let file = audit.file.as_ref();
    json!({
        "path": file.map(|file| &file.path),
        "rotate_size": file.map(|file| file.rotate_size),
        "keep": file.and_then(|file| file.keep),
        "keep_for": file.and_then(|file| file.keep_for).map(duration),
        "syslog": audit.syslog.as_ref().map(|syslog| syslog.server.to_string()),
        "syslog_ca_file": audit.syslog.as_ref().and_then(|syslog| syslog.ca.as_ref()).map(|ca| &ca.path),
        "stdout": audit.stdout,
        "durable": audit.durable.to_string(),
        "signing_key": audit.signing_key,
        "checkpoint_interval": duration(audit.checkpoint_interval),
        "timeout": duration(audit.timeout),
        "user": audit.user.to_string(),
    })
}

fn gateway(gateway: &Gateway) -> Value {
    let certificate = gateway.certificate.as_ref();
    json!({
        "listen": gateway.listen,
        "gitlab_url": gateway.gitlab_url.as_str(),
        "ca_file": gateway.ca.as_ref().map(|ca| &ca.path),
        "tls_cert": certificate.map(|certificate| &certificate.chain),
        "tls_key": certificate.map(|certificate| &certificate.key),
        "connect": gateway.connect,
        "strip_id_tokens": gateway.strip_id_tokens,
        "keep_alive": duration(gateway.keep_alive),
        "connections": gateway.connections,
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "secrets": limits.secrets,
        "request_bytes": limits.request_bytes,
        "requests": limits.requests,
        "queue": limits.queue,
        "caller_rate": limits.caller_rate,
        "token_rate": limits.token_rate,
        "upstream_requests": limits.upstream_requests,
        "vault_reads": limits.vault_reads,
        "connections": limits.connections,
        "idle_timeout": duration(limits.idle_timeout),
        "request_timeout": duration(limits.request_timeout),
        "stop_timeout": duration(limits.stop_timeout),
    })
}

fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}
