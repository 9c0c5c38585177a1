//! What Key Vault's refusals mean to somebody who has to change something. Its own texts name
//! object ids and addresses and go to the operator's log; commands for the job have variables in
//! their place.

use std::{fmt, net::IpAddr};

use super::{
    Detail,
    advice::{Advice, Named, Reader, or},
};
use crate::{
    azure::{ClientId, VaultUrl},
    name::{SecretName, SecretVersion, VariableName},
    posix::Word,
};

/// A read that failed.
#[derive(Debug)]
pub struct Read {
    /// For which variable.
    pub variable: VariableName,
    /// Which secret.
    pub name: SecretName,
    /// `None`: the latest.
    pub version: Option<SecretVersion>,
    /// In which vault.
    pub vault: Named<VaultUrl>,
    /// As which application.
    pub client: Named<ClientId>,
}

/// A read that Key Vault refused.
#[derive(Debug)]
pub struct Forbidden {
    /// Which.
    pub read: Read,
    /// Key Vault's inner code, such as `ForbiddenByRbac`.
    pub code: Option<String>,
    /// What Key Vault answered.
    pub detail: Detail,
}

/// What there is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The secret, or the version of it.
    Secret,
    /// The vault.
    Vault,
}

/// The secret as the job named it.
impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Some(version) => write!(f, "{}/{version}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (variable, read) = (&self.read.variable, &self.read);
        write!(
            f,
            "{variable}: Key Vault does not let this job's identity read {read}"
        )?;
        match &self.code {
            Some(code) => write!(f, " ({code}): {}", self.row().says),
            None => Ok(()),
        }
    }
}

impl Missing {
    /// The sentence, after the variable.
    pub(super) fn says(self, read: &Read) -> String {
        match self {
            Self::Secret => match &read.version {
                Some(version) => format!(
                    "Key Vault has no secret {} in the version {version}",
                    read.name
                ),
                None => format!("Key Vault has no secret {}", read.name),
            },
            Self::Vault => {
                format!("there is no vault to read {read} from: its name cannot be resolved")
            }
        }
    }
}

impl Read {
    /// The vault's name, as `az` takes it.
    fn vault_name(&self, reader: Reader) -> Option<&str> {
        let host = self.vault.to(reader)?.as_str().strip_prefix("https://")?;
        host.split('.').next()
    }

    fn by(&self, reader: Reader) -> String {
        match self.vault.to(reader) {
            Some(vault) => format!("Azure Key Vault, {}", vault.as_str()),
            None => "Azure Key Vault".to_owned(),
        }
    }

    pub(super) fn disabled(&self, reader: Reader) -> Advice {
        let fix = "name another version, or enable this one:";
        let mut words = texts(&["az", "keyvault", "secret", "set-attributes", "--vault-name"]);
        words.push(or(self.vault_name(reader), "VAULT"));
        words.extend([Word::Text("--name"), Word::Text(self.name.as_str())]);
        let version = self.version.as_ref().map(ToString::to_string);
        if let Some(version) = &version {
            words.extend([Word::Text("--version"), Word::Text(version)]);
        }
        words.extend([Word::Text("--enabled"), Word::Text("true")]);
        Advice::new(self.by(reader), fix, "secretdisabled").with(&words)
    }

    pub(super) fn missing(&self, missing: Missing, reader: Reader) -> Advice {
        let list = match (missing, &self.version) {
            (Missing::Vault, _) => {
                let fix = "check the vault's name; a private endpoint needs its private DNS zone";
                return Advice::new(
                    "the name service of the daemon's host",
                    fix,
                    "vault-not-found",
                );
            }
            (Missing::Secret, Some(_)) => "list-versions",
            (Missing::Secret, None) => "list",
        };
        let fix = "check the name, the version and the vault, which has:";
        let mut words = texts(&["az", "keyvault", "secret", list, "--vault-name"]);
        words.push(or(self.vault_name(reader), "VAULT"));
        if self.version.is_some() {
            words.extend([Word::Text("--name"), Word::Text(self.name.as_str())]);
        }
        words.extend(texts(&["--query", "[].id", "--output", "tsv"]));
        let row = if self.version.is_some() {
            "version-not-found"
        } else {
            "secretnotfound"
        };
        Advice::new(self.by(reader), fix, row).with(&words)
    }
}

struct Row {
    code: &'static str,
    says: &'static str,
    does: &'static str,
}

const ROWS: [Row; 9] = [
    Row {
        code: "ForbiddenByRbac",
        says: "no role assignment lets it",
        does: "assign the role; until that has spread, which takes some minutes, trying again helps:",
    },
    Row {
        code: "AccessDenied",
        says: "no access policy of the vault lets it",
        does: "give it the permission to get secrets:",
    },
    Row {
        code: "ForbiddenByPolicy",
        says: "no access policy of the vault lets it",
        does: "give it the permission to get secrets:",
    },
    Row {
        code: "ForbiddenByFirewall",
        says: "the vault's firewall does not admit the daemon's network",
        does: "admit the address that the daemon's host has on the internet, or its subnet:",
    },
    Row {
        code: "ForbiddenByConnection",
        says: "the vault takes private connections only",
        does: "on the daemon's host the vault's name has to lead to its private endpoint: link the \
               private DNS zone privatelink.vaultcore.azure.net to that network",
    },
    Row {
        code: "AKV10000",
        says: "the vault wants another kind of token",
        does: "have the operator check azure.cloud and azure.vault_hosts: it may be no vault of this \
               cloud",
    },
    Row {
        code: "AKV10022",
        says: "the access token is for another cloud",
        does: "have the operator set azure.cloud to the cloud that the vault is in",
    },
    Row {
        code: "AKV10032",
        says: "the vault belongs to another tenant",
        does: "set AZURE_TENANT_ID to the vault's own tenant:",
    },
    Row {
        code: "TokenExpired",
        says: "by its clock the access token has expired",
        does: "compare the clock of the daemon's host with a time server; trying again can help",
    },
];

const OTHER: Row = Row {
    code: "",
    says: "it refused the request",
    does: "the operator's log has what it said, under the same request id",
};

impl Forbidden {
    fn row(&self) -> &'static Row {
        let code = self.code.as_deref().unwrap_or_default();
        ROWS.iter().find(|row| row.code == code).unwrap_or(&OTHER)
    }

    pub(super) fn advice(&self, reader: Reader) -> Advice {
        let row = self.row();
        let anchor = match row.code {
            "" => "key-vault-other".to_owned(),
            code => code.to_lowercase(),
        };
        let advice = Advice::new(self.read.by(reader), row.does, &anchor);
        let name = self.read.name.as_str();
        let client = self.read.client.to(reader).map(ClientId::as_str);
        let client = or(client, "CLIENT_ID");
        let vault = or(self.read.vault_name(reader), "VAULT");
        match row.code {
            "ForbiddenByRbac" => {
                let mut words = texts(&["az", "role", "assignment", "create", "--role"]);
                words.extend(texts(&["Key Vault Secrets User", "--assignee"]));
                words.extend([client, Word::Text("--scope")]);
                let below = format!("/secrets/{name}");
                let scope = self.scope(reader).map(|vault| format!("{vault}{below}"));
                words.push(match &scope {
                    Some(scope) => Word::Text(scope),
                    None => Word::After("VAULT_ID", &below),
                });
                advice.with(&words)
            }
            "AccessDenied" | "ForbiddenByPolicy" => {
                let mut words = texts(&["az", "keyvault", "set-policy", "--name"]);
                words.extend([vault, Word::Text("--spn"), client]);
                words.extend(texts(&["--secret-permissions", "get"]));
                advice.with(&words)
            }
            "ForbiddenByFirewall" => {
                let address = self.address(reader);
                let mut words = texts(&["az", "keyvault", "network-rule", "add", "--name"]);
                words.extend([vault, Word::Text("--ip-address")]);
                words.push(or(address.as_deref(), "ADDRESS"));
                advice.with(&words)
            }
            "AKV10032" => {
                let mut words = texts(&["az", "keyvault", "show", "--name"]);
                words.push(vault);
                words.extend(texts(&[
                    "--query",
                    "properties.tenantId",
                    "--output",
                    "tsv",
                ]));
                advice.with(&words)
            }
            _ => advice,
        }
    }

    /// The vault's resource id, which Key Vault tells in its refusal.
    fn scope(&self, reader: Reader) -> Option<&str> {
        let (_, rest) = self.told(reader)?.split_once("Resource: '")?;
        let (resource, _) = rest.split_once("/secrets/")?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.()".contains(&byte);
        let right = resource.starts_with("/subscriptions/") && resource.bytes().all(plain);
        right.then_some(resource)
    }

    /// The address that the vault saw.
    fn address(&self, reader: Reader) -> Option<String> {
        let (_, rest) = self.told(reader)?.split_once("Client address: ")?;
        let end = rest.find(|c: char| !c.is_ascii_hexdigit() && !matches!(c, '.' | ':'));
        let address: IpAddr = rest.get(..end.unwrap_or(rest.len()))?.parse().ok()?;
        Some(address.to_string())
    }

    fn told(&self, reader: Reader) -> Option<&str> {
        (reader == Reader::Operator).then_some(self.detail.0.as_str())
    }
}

fn texts<'a>(words: &[&'a str]) -> Vec<Word<'a>> {
    words.iter().copied().map(Word::Text).collect()
}
