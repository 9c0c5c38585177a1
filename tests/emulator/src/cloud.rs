//! The national clouds: which host names belong together.
//!
//! A host name decides which service answers and which resource a token must be for. `Local` is
//! the emulator under its own name, for clients whose endpoints can be configured.

/// A national cloud, or the emulator under its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cloud {
    Public,
    UsGovernment,
    China,
    Local,
}

impl Cloud {
    pub(crate) const REAL: [Self; 3] = [Self::Public, Self::UsGovernment, Self::China];

    /// Hosts of the token endpoint, the preferred one first.
    pub(crate) fn login_hosts(self) -> &'static [&'static str] {
        match self {
            Self::Public => &[
                "login.microsoftonline.com",
                "login.windows.net",
                "login.microsoft.com",
                "sts.windows.net",
            ],
            Self::UsGovernment => &["login.microsoftonline.us", "login.usgovcloudapi.net"],
            Self::China => &["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"],
            Self::Local => &["localhost", "127.0.0.1"],
        }
    }

    /// What follows the vault's name in its host name.
    pub(crate) fn vault_suffix(self) -> &'static str {
        match self {
            Self::Public => "vault.azure.net",
            Self::UsGovernment => "vault.usgovcloudapi.net",
            Self::China => "vault.azure.cn",
            Self::Local => "localhost",
        }
    }

    pub(crate) fn management_hosts(self) -> &'static [&'static str] {
        match self {
            Self::Public => &["management.azure.com", "management.core.windows.net"],
            Self::UsGovernment => &[
                "management.usgovcloudapi.net",
                "management.core.usgovcloudapi.net",
            ],
            Self::China => &[
                "management.chinacloudapi.cn",
                "management.core.chinacloudapi.cn",
            ],
            Self::Local => &[],
        }
    }

    /// The host in the `iss` of access tokens.
    pub(crate) fn issuer_host(self) -> &'static str {
        match self {
            Self::China => "sts.chinacloudapi.cn",
            Self::Public | Self::UsGovernment | Self::Local => "sts.windows.net",
        }
    }

    /// The host in a vault's challenge: in the public cloud, recordings show the old alias.
    pub(crate) fn challenge_host(self) -> &'static str {
        match self {
            Self::Public | Self::Local => "login.windows.net",
            Self::UsGovernment => "login.microsoftonline.us",
            Self::China => "login.chinacloudapi.cn",
        }
    }
}

/// Which service a host name belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Site {
    Login(Cloud),
    Vault {
        name: String,
        cloud: Cloud,
    },
    Management(Cloud),
    /// The emulator's own name, where the path decides.
    Own,
    Unknown,
}

impl Site {
    /// `host` is lower-case and without a port.
    pub(crate) fn of(host: &str) -> Self {
        if Cloud::Local.login_hosts().contains(&host) {
            return Self::Own;
        }
        for cloud in Cloud::REAL {
            if cloud.login_hosts().contains(&host) {
                return Self::Login(cloud);
            }
            if cloud.management_hosts().contains(&host) {
                return Self::Management(cloud);
            }
        }
        for cloud in Cloud::REAL.into_iter().chain([Cloud::Local]) {
            let name = host
                .strip_suffix(cloud.vault_suffix())
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(name) = name.filter(|name| !name.is_empty() && !name.contains('.')) {
                return Self::Vault {
                    name: name.to_owned(),
                    cloud,
                };
            }
        }
        Self::Unknown
    }
}
