//! The configuration as it is in effect, defaults included, in the log at start. It holds no secret.

use url::Url;

use super::{Config, Files, Limits, issuer::KeySource};
use crate::{azure, policy::Defaults, vault::Origin};

impl Config {
    /// Writes a line for each table.
    pub fn log_effective(&self) {
        for listen in &self.listeners {
            tracing::info!(
                socket = %listen.socket.display(),
                socket_mode = format!("{:04o}", listen.mode),
                socket_group = listen.group,
                allowed_uids = listed(&listen.allowed_uids),
                delivery = %listen.delivery,
                reflection = listen.reflection,
                "configured: listen"
            );
        }
        self.files.log();
        log_azure(&self.azure, &self.defaults);
        for issuer in &self.issuers {
            let (keys, place) = match &issuer.keys {
                KeySource::Discovery(url) => ("discovery", url.to_string()),
                KeySource::Url(url) => ("jwks_url", url.to_string()),
                KeySource::File(path) => ("jwks_file", path.display().to_string()),
            };
            tracing::info!(
                url = issuer.url,
                audiences = issuer.audiences.join(", "),
                keys,
                place,
                "configured: issuer"
            );
        }
        let (rules, mode) = (self.rules.rules.len(), self.rules.mode);
        tracing::info!(rules, %mode, refuse_expired = self.rules.refuse_expired, "configured: policy");
        self.limits.log();
    }
}

impl Files {
    fn log(&self) {
        tracing::info!(
            directory = %self.directory.display(),
            require_memory_backed = self.require_memory_backed,
            file_mode = format!("{:04o}", self.mode),
            max_ttl = %humantime::format_duration(self.max_ttl),
            owner_grace = %humantime::format_duration(self.owner_grace),
            "configured: files"
        );
    }
}

impl Limits {
    fn log(&self) {
        tracing::info!(
            secrets = self.secrets,
            request_bytes = self.request_bytes,
            requests = self.requests,
            queue = self.queue,
            caller_rate = self.caller_rate,
            token_rate = self.token_rate,
            upstream_requests = self.upstream_requests,
            vault_reads = self.vault_reads,
            connections = self.connections,
            idle_timeout = %humantime::format_duration(self.idle_timeout),
            request_timeout = %humantime::format_duration(self.request_timeout),
            stop_timeout = %humantime::format_duration(self.stop_timeout),
            "configured: limits"
        );
    }
}

fn log_azure(settings: &azure::Settings, defaults: &Defaults) {
    let azure::Settings { cloud, ca, proxy } = settings;
    let Defaults {
        vault,
        tenant_id,
        client_id,
    } = defaults;
    tracing::info!(
        authority_host = %cloud.authority_host,
        vault_suffixes = cloud.vault_suffixes.join(", "),
        vault_hosts = cloud.vault_hosts.join(", "),
        ca_file = ca.as_ref().map(|ca| ca.path.display().to_string()),
        proxy_host = proxy.as_ref().and_then(Url::host_str),
        tenant_id,
        client_id,
        vault_url = vault.as_ref().map(Origin::as_str),
        "configured: azure"
    );
}

fn listed(uids: &[u32]) -> String {
    let uids: Vec<String> = uids.iter().map(ToString::to_string).collect();
    uids.join(", ")
}
