//! Which cloud, which tenant, which vault. A vault's host must be one label under a vault suffix of
//! the configured cloud, or be listed by the operator; the scope of the access token follows from
//! that table and never from what a vault says of itself. So no token goes to a host that a job
//! made up.

use std::fmt;

use url::{Host, Url};

/// An Azure cloud: where tokens come from and what vaults are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cloud {
    /// Where Entra is, such as `https://login.microsoftonline.com`.
    pub authority_host: Url,
    /// What vaults' hosts end in, such as `vault.azure.net`.
    pub vault_suffixes: Vec<String>,
    /// Further vaults: `host` or `host:port`, exact.
    pub vault_hosts: Vec<String>,
}

/// Why a vault's URL was refused, as the end of a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Not a URL.
    #[error("is no URL; write it as https://NAME.{suffix}")]
    NoUrl {
        /// The usual end of a vault's host.
        suffix: String,
    },
    /// Not https.
    #[error("is not https")]
    NotHttps,
    /// With more than scheme and host.
    #[error("has {0}; write it as https://HOST and nothing else")]
    Extra(&'static str),
    /// Under no suffix of this cloud, and not listed.
    #[error(
        "is no vault of this cloud: one name of 3 to 24 letters, digits and hyphens under {suffixes}, or a host of the operator's `azure.vault_hosts`"
    )]
    Foreign {
        /// The suffixes of this cloud.
        suffixes: String,
    },
}

/// A vault that a token may be sent to. Only [`Cloud::vault`] makes one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VaultUrl {
    url: String,
    scope: String,
}

impl VaultUrl {
    /// The vault's URL: `https://HOST`, with a port only where the operator listed it so.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// The scope of an access token for it.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.scope
    }
}

impl fmt::Debug for VaultUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Cloud {
    /// The cloud of that name in the configuration, but for `custom`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (authority, suffix) = match name {
            "public" => ("https://login.microsoftonline.com", "vault.azure.net"),
            "us_government" => (
                "https://login.microsoftonline.us",
                "vault.usgovcloudapi.net",
            ),
            "china" => ("https://login.partner.microsoftonline.cn", "vault.azure.cn"),
            _ => return None,
        };
        Some(Self {
            authority_host: Url::parse(authority).ok()?,
            vault_suffixes: vec![suffix.to_owned()],
            vault_hosts: Vec::new(),
        })
    }

    /// Takes the URL of a vault that tokens may be sent to.
    pub fn vault(&self, text: &str) -> Result<VaultUrl, VaultError> {
        let usual = || self.vault_suffixes.first().cloned().unwrap_or_default();
        let url = Url::parse(text).map_err(|_| VaultError::NoUrl { suffix: usual() })?;
        if url.scheme() != "https" {
            return Err(VaultError::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(VaultError::Extra("a user name or a password"));
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(VaultError::Extra("a path, a query or a fragment"));
        }
        let host = match url.host() {
            Some(Host::Domain(host)) => host,
            Some(Host::Ipv4(_) | Host::Ipv6(_)) => return Err(VaultError::Extra("an IP address")),
            None => return Err(VaultError::NoUrl { suffix: usual() }),
        };
        let suffix = self
            .suffix(host, url.port())
            .ok_or_else(|| match url.port() {
                Some(_) if self.suffix(host, None).is_some() => VaultError::Extra("a port"),
                _ => VaultError::Foreign {
                    suffixes: self.vault_suffixes.join(", "),
                },
            })?;
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        Ok(VaultUrl {
            url: format!("https://{host}{port}"),
            scope: format!("https://{suffix}/.default"),
        })
    }

    /// The suffix whose scope is right for `host`, if it is a vault at all.
    fn suffix(&self, host: &str, port: Option<u16>) -> Option<&str> {
        let under = |suffix: &&String| {
            let label = host.strip_suffix(suffix.as_str());
            label
                .and_then(|label| label.strip_suffix('.'))
                .is_some_and(is_vault_name)
        };
        if port.is_none()
            && let Some(suffix) = self.vault_suffixes.iter().find(under)
        {
            return Some(suffix);
        }
        let place = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
        let listed = self.vault_hosts.contains(&place);
        listed.then(|| self.vault_suffixes.first().map(String::as_str))?
    }
}

/// Key Vault's rule: 3 to 24 letters, digits and hyphens, a letter first, no hyphen last and no two
/// in a row (which rules out punycode).
fn is_vault_name(label: &str) -> bool {
    (3..=24).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && label.starts_with(|first: char| first.is_ascii_alphabetic())
        && !label.ends_with('-')
        && !label.contains("--")
}

/// An Entra tenant: a GUID or a verified domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(String);

impl TenantId {
    /// Takes what can stand in the token endpoint's path; whether it exists, Entra says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        // A domain name ends at 253 characters.
        let right = (1..=253).contains(&text.len())
            && text.bytes().all(plain)
            && text.starts_with(|first: char| first.is_ascii_alphanumeric())
            && !text.contains("..");
        right.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The tenant, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The application (client) id of an app registration or managed identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(String);

impl ClientId {
    /// Takes a GUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hyphens = [8, 13, 18, 23];
        let right = text.len() == 36
            && text.bytes().enumerate().all(|(at, byte)| {
                if hyphens.contains(&at) {
                    byte == b'-'
                } else {
                    byte.is_ascii_hexdigit()
                }
            });
        right.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The id, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientId, Cloud, TenantId};

    fn public() -> Cloud {
        let mut cloud = Cloud::named("public").unwrap();
        cloud.vault_hosts = vec!["kv.corp.example".into(), "kv.corp.example:8443".into()];
        cloud
    }

    #[test]
    fn vaults_of_this_cloud_are_taken_with_its_scope() {
        for good in [
            "https://demo.vault.azure.net",
            "https://demo.vault.azure.net/",
            "https://demo.vault.azure.net:443",
            "https://DEMO.Vault.Azure.NET",
            "https://kv.corp.example",
            "https://kv.corp.example:8443",
        ] {
            let vault = public().vault(good).unwrap();
            assert_eq!(vault.scope(), "https://vault.azure.net/.default", "{good}");
        }
        let vault = public().vault("https://DEMO.Vault.Azure.NET:443/").unwrap();
        assert_eq!(vault.as_str(), "https://demo.vault.azure.net");
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "demo",
            "demo.vault.azure.net",
            "http://demo.vault.azure.net",
            "ftp://demo.vault.azure.net",
            "https://",
            "https:///x",
            "https://demo.vault.azure.net.evil.test",
            "https://demo.vault.azure.net@evil.test",
            "https://evil.test#.vault.azure.net",
            "https://evil.test?.vault.azure.net",
            "https://evil.test/.vault.azure.net",
            "https://evil.test\\.vault.azure.net",
            "https://user@demo.vault.azure.net",
            "https://user:pw@demo.vault.azure.net",
            "https://demo.vault.azure.net:8443",
            "https://demo.vault.azure.net/secrets",
            "https://demo.vault.azure.net?x",
            "https://demo.vault.azure.net#x",
            "https://vault.azure.net",
            "https://a.b.vault.azure.net",
            "https://.vault.azure.net",
            "https://demo.vault.azure.net.",
            "https://xn--dm-yja.vault.azure.net",
            "https://dèmo.vault.azure.net",
            "https://demovault.azure.net",
            "https://127.0.0.1",
            "https://[::1]",
            "https://2130706433",
            "https://0x7f.1",
            "https://demo.vault.usgovcloudapi.net",
            "https://kv.corp.example:9443",
            "https://x.kv.corp.example",
            "https://de_mo.vault.azure.net",
            "https://demo.vault.azure.net:0",
            "https://1demo.vault.azure.net",
        ] {
            assert!(public().vault(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_guids_or_domains() {
        assert!(ClientId::parse("4F3F1c3a-0000-4000-8000-00000000000a").is_some());
        for bad in [
            "",
            "x",
            "$AZURE_CLIENT_ID",
            "4f3f1c3a00004000800000000000000a----",
        ] {
            assert!(ClientId::parse(bad).is_none(), "{bad}");
        }
        assert!(TenantId::parse("contoso.onmicrosoft.com").is_some());
        for bad in [
            "",
            "..",
            "a/b",
            "$AZURE_TENANT_ID",
            "a..b",
            ".a",
            "a?b",
            "a%2fb",
        ] {
            assert!(TenantId::parse(bad).is_none(), "{bad}");
        }
    }
}
