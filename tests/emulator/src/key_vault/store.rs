//! The vaults and what is in them. Names compare without case; the first spelling is kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cloud::Cloud;
use crate::error::Error;
use crate::shared::Shared;
use crate::state::{self, Attributes, Network, State, VaultAccess};
use crate::world::World;

mod bundle;

pub(super) use bundle::{deleted, listed, whole};

/// What `PUT /secrets/{vault}/{name}` takes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NewSecret {
    /// Its value.
    pub value: String,
    /// Its content type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Enabled, not before, expires.
    #[serde(default)]
    pub attributes: Attributes,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Map<String, Value>>,
}

/// A version that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SecretVersion {
    /// The secret's identifier, with the version.
    pub id: String,
    /// 32 hex digits.
    pub version: String,
}

/// All vaults, by name.
#[derive(Debug)]
pub(crate) struct Vaults {
    first: Option<String>,
    vaults: Shared<BTreeMap<String, Vault>>,
}

#[derive(Debug)]
struct Vault {
    settings: state::Vault,
    secrets: BTreeMap<String, Secret>,
}

/// A secret with all its versions, the newest last.
#[derive(Debug, Clone)]
pub(super) struct Secret {
    pub(super) name: String,
    pub(super) versions: Vec<Version>,
    /// When it was deleted, if it was.
    pub(super) deleted: Option<i64>,
}

#[derive(Debug, Clone)]
pub(super) struct Version {
    pub(super) id: String,
    pub(super) content: NewSecret,
    pub(super) managed: bool,
    pub(super) created: i64,
    pub(super) updated: i64,
}

impl Vaults {
    pub(crate) fn new(state: &State, now: i64) -> Self {
        let vaults = Self {
            first: state.vaults.first().map(|vault| vault.name.to_lowercase()),
            vaults: Shared::default(),
        };
        for settings in &state.vaults {
            vaults.create(settings.clone());
            for secret in &settings.secrets {
                let content = NewSecret {
                    value: secret.value.clone(),
                    content_type: secret.content_type.clone(),
                    attributes: secret.attributes.clone(),
                    tags: secret.tags.clone(),
                };
                let mut version = Version::new(content, now);
                version.managed = secret.managed;
                version.id = secret.version.clone().unwrap_or(version.id);
                vaults.add(&settings.name, &secret.name, version);
            }
        }
        vaults
    }

    fn create(&self, settings: state::Vault) {
        let vault = Vault {
            secrets: BTreeMap::new(),
            settings,
        };
        let name = vault.settings.name.to_lowercase();
        self.vaults.lock().insert(name, vault);
    }

    fn add(&self, vault: &str, name: &str, version: Version) {
        self.with(vault, |vault| {
            let key = name.to_lowercase();
            let secret = vault.secrets.entry(key).or_insert_with(|| Secret {
                name: name.to_owned(),
                versions: Vec::new(),
                deleted: None,
            });
            // Seeding a deleted name begins it anew: the control API never has to wait for a purge.
            if secret.deleted.take().is_some() {
                secret.versions.clear();
            }
            secret.versions.push(version);
        });
    }

    /// Stores a new version; a vault that does not exist comes into being.
    pub(crate) fn put(&self, vault: &str, name: &str, new: NewSecret, now: i64) -> SecretVersion {
        let (label, host) = match vault.split_once('.') {
            Some((label, _)) => (label, vault.to_lowercase()),
            None => (
                vault,
                format!("{}.{}", vault.to_lowercase(), Cloud::Public.vault_suffix()),
            ),
        };
        if !self.contains(label) {
            self.create(state::Vault::named(label));
        }
        let version = Version::new(new, now);
        let id = version.id.clone();
        self.add(label, name, version);
        let name = self.secret(label, name).map_or(name.to_owned(), |s| s.name);
        SecretVersion {
            id: format!("https://{host}/secrets/{name}/{id}"),
            version: id,
        }
    }

    /// Deletes softly.
    pub(crate) fn delete(&self, vault: &str, name: &str, now: i64) -> Result<(), Error> {
        let label = vault.split('.').next().unwrap_or(vault);
        let deleted = self.change(label, name, |secret| secret.deleted = Some(now));
        deleted.ok_or_else(|| Error::Missing(format!("secret {name:?} in vault {vault:?}")))
    }

    /// Removes a deleted secret for good.
    pub(super) fn purge(&self, vault: &str, name: &str) {
        self.with(vault, |vault| vault.secrets.remove(&name.to_lowercase()));
    }

    /// Changes a secret in place; `None`: there is none.
    pub(super) fn change<T>(
        &self,
        vault: &str,
        name: &str,
        change: impl FnOnce(&mut Secret) -> T,
    ) -> Option<T> {
        self.with(vault, |vault| {
            vault.secrets.get_mut(&name.to_lowercase()).map(change)
        })
        .flatten()
    }

    pub(super) fn secret(&self, vault: &str, name: &str) -> Option<Secret> {
        self.change(vault, name, |secret| secret.clone())
    }

    /// All secrets that are not deleted, by name.
    pub(super) fn secrets(&self, vault: &str) -> Vec<Secret> {
        let living = |vault: &mut Vault| {
            let all = vault.secrets.values();
            all.filter(|s| s.deleted.is_none()).cloned().collect()
        };
        self.with(vault, living).unwrap_or_default()
    }

    pub(crate) fn first(&self) -> Option<String> {
        self.first.clone()
    }

    pub(crate) fn contains(&self, vault: &str) -> bool {
        self.with(vault, |_| ()).is_some()
    }

    /// The error that the vault's network rules answer with.
    pub(super) fn network(&self, vault: &str) -> Option<&'static str> {
        self.with(vault, |vault| match vault.settings.network {
            Network::Open => None,
            Network::Firewall => Some("ForbiddenByFirewall"),
            Network::PrivateLink => Some("ForbiddenByConnection"),
        })
        .flatten()
    }

    /// The error that the vault's authorisation model answers with.
    pub(super) fn denial(&self, vault: &str) -> &'static str {
        let access = self.with(vault, |vault| vault.settings.access);
        match access.unwrap_or_default() {
            VaultAccess::Rbac => "ForbiddenByRbac",
            VaultAccess::Policy => "AccessDenied",
        }
    }

    pub(super) fn empty_first_page(&self, vault: &str) -> bool {
        let empty = self.with(vault, |vault| vault.settings.empty_first_page);
        empty.unwrap_or_default()
    }

    pub(super) fn location(&self, vault: &str) -> String {
        let location = self.with(vault, |vault| vault.settings.location.clone());
        location.unwrap_or_default()
    }

    /// The vault's resource id, in lower case as errors quote it.
    pub(super) fn resource_id(&self, vault: &str) -> String {
        let id = self.with(vault, |vault| {
            let settings = &vault.settings;
            format!(
                "/subscriptions/{}/resourcegroups/{}/providers/microsoft.keyvault/vaults/{}",
                settings.subscription_id, settings.resource_group, settings.name
            )
        });
        id.unwrap_or_default().to_lowercase()
    }

    pub(super) fn tenant_id(&self, world: &World, vault: &str) -> String {
        let given = self.with(vault, |vault| vault.settings.tenant_id.clone());
        world.directory.tenant_id(given.flatten().as_ref())
    }

    fn with<T>(&self, vault: &str, action: impl FnOnce(&mut Vault) -> T) -> Option<T> {
        let mut vaults = self.vaults.lock();
        vaults.get_mut(&vault.to_lowercase()).map(action)
    }
}

impl Version {
    fn new(content: NewSecret, now: i64) -> Self {
        Self {
            id: uuid::Uuid::new_v4().simple().to_string(),
            content,
            managed: false,
            created: now,
            updated: now,
        }
    }

    pub(super) fn enabled(&self) -> bool {
        self.content.attributes.enabled.unwrap_or(true)
    }
}
