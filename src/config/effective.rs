//! The configuration as it is in effect, defaults included, in the log at start. It holds no secret.

use url::Url;

use super::{Config, Defaults, Files, Limits};
use crate::azure::{self, ClientId, TenantId, VaultUrl};

impl Config {
    /// Writes a line for each table.
    pub fn log_effective(&self) {
        for listen in &self.listeners {
            tracing::info!(
                socket = %listen.socket.display(),
                socket_mode = format!("{:04o}", listen.mode),
                socket_group = listen.group,
                delivery = %listen.delivery,
                reflection = listen.reflection,
                "configured: listen"
            );
        }
        self.files.log();
        log_azure(&self.azure, &self.defaults);
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
            request_timeout = %humantime::format_duration(self.request_timeout),
            stop_timeout = %humantime::format_duration(self.stop_timeout),
            "configured: limits"
        );
    }
}

fn log_azure(settings: &azure::Settings, defaults: &Defaults) {
    let azure::Settings { cloud, ca, proxy } = settings;
    let Defaults {
        tenant,
        client,
        vault,
    } = defaults;
    tracing::info!(
        authority_host = %cloud.authority_host,
        vault_suffixes = cloud.vault_suffixes.join(", "),
        vault_hosts = cloud.vault_hosts.join(", "),
        ca_file = ca.as_ref().map(|ca| ca.path.display().to_string()),
        proxy_host = proxy.as_ref().and_then(Url::host_str),
        tenant_id = tenant.as_ref().map(TenantId::as_str),
        client_id = client.as_ref().map(ClientId::as_str),
        vault_url = vault.as_ref().map(VaultUrl::as_str),
        "configured: azure"
    );
}
