//! What exists before the first request: the `--state` file and its defaults.
//!
//! Every member has a default, so a file says only what differs from the state out of the box.
//! `check` refuses a state that no request could make sense of; it does not copy the limits of the
//! real services where a test may want to step over them.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Error;

mod demo;

/// Everything the emulated services know at start.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// Directories of Entra; the first is the one of the ready line.
    pub tenants: Vec<Tenant>,
    /// App registrations; the first is the one of the ready line.
    pub applications: Vec<Application>,
    /// Which assertions Entra takes for which application.
    pub federated_credentials: Vec<FederatedCredential>,
    /// Key vaults; the first is the one of the ready line.
    pub vaults: Vec<Vault>,
    /// Who may do what in which vault.
    pub permissions: Vec<Permission>,
    /// How to reach issuers other than the emulator's own.
    pub issuers: Vec<TrustedIssuer>,
    /// Accept an assertion whose `aud` is a list (otherwise AADSTS50027).
    pub accept_audience_arrays: bool,
}

/// A directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenant {
    /// Its GUID.
    pub id: String,
    /// Its name, as error messages have it.
    pub name: String,
    /// A verified domain, good for the GUID in a URL.
    #[serde(default)]
    pub domain: Option<String>,
}

/// An app registration and its service principal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    /// The application (client) id.
    pub client_id: String,
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// The tenant it is in; left out: the first.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// The object id of its service principal; left out: derived from the client id.
    #[serde(default)]
    pub object_id: Option<String>,
    /// False: sign-in is disabled (AADSTS7000112).
    #[serde(default = "yes")]
    pub enabled: bool,
    /// False: there is no enterprise application in the tenant (AADSTS7000229).
    #[serde(default = "yes")]
    pub service_principal: bool,
    /// True: Conditional Access blocks it (AADSTS53003).
    #[serde(default)]
    pub blocked: bool,
}

/// A federated identity credential: what an assertion must say to be taken for `client_id`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FederatedCredential {
    /// The application it belongs to.
    pub client_id: String,
    /// The token's `iss`; left out: the emulator's own issuer.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The token's `sub`; left out only where there is an expression.
    #[serde(default)]
    pub subject: Option<String>,
    /// The token's `aud`.
    pub audience: String,
    /// A flexible credential: `claims['sub'] eq '…'` or `matches '…'`, joined with `and`.
    #[serde(default)]
    pub expression: Option<String>,
}

/// A key vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// The first label of its host name.
    pub name: String,
    /// The tenant it trusts; left out: the first.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// The region in its error messages.
    #[serde(default = "westeurope")]
    pub location: String,
    /// The subscription in its error messages.
    #[serde(default = "subscription")]
    pub subscription_id: String,
    /// The resource group in its error messages.
    #[serde(default = "resource_group")]
    pub resource_group: String,
    /// Which authorisation model words its refusals.
    #[serde(default)]
    pub access: VaultAccess,
    /// Whether its firewall lets the caller through.
    #[serde(default)]
    pub network: Network,
    /// Begin every list with an empty page that has a link to the next one.
    #[serde(default)]
    pub empty_first_page: bool,
    /// Its secrets; a name that occurs again is a further version, the last being the newest.
    #[serde(default)]
    pub secrets: Vec<Secret>,
}

/// How a vault authorises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VaultAccess {
    /// Role assignments: refusals are `ForbiddenByRbac`.
    #[default]
    Rbac,
    /// Access policies: refusals are `AccessDenied`.
    Policy,
}

/// From where a vault may be reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// From anywhere.
    #[default]
    Open,
    /// Not from here: `ForbiddenByFirewall`.
    Firewall,
    /// Only over a private link: `ForbiddenByConnection`.
    PrivateLink,
}

/// One version of a secret.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secret {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// 32 hex digits; left out: random.
    #[serde(default)]
    pub version: Option<String>,
    /// Its content type.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Enabled, not before, expires.
    #[serde(default)]
    pub attributes: Attributes,
    /// Its tags.
    #[serde(default)]
    pub tags: Option<Map<String, Value>>,
    /// True: it backs a certificate (adds `kid` and `managed`).
    #[serde(default)]
    pub managed: bool,
}

/// What can be set of a secret's attributes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// Left out: true.
    #[serde(default)]
    pub enabled: Option<bool>,
    /// Seconds since 1970.
    #[serde(default)]
    pub nbf: Option<i64>,
    /// Seconds since 1970.
    #[serde(default)]
    pub exp: Option<i64>,
}

/// What an application may do in a vault.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permission {
    /// The application.
    pub client_id: String,
    /// The vault's name, or `*`.
    pub vault: String,
    /// Names of secrets, with `*` for any run of characters.
    pub secrets: Vec<String>,
    /// Out of `get`, `list`, `set`, `delete`; left out: `get` and `list`.
    #[serde(default = "read_only")]
    pub operations: Vec<String>,
}

/// An issuer that Entra is to reach over the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The certificate authority its server is checked against; left out: the emulator's own.
    #[serde(default)]
    pub ca_file: Option<std::path::PathBuf>,
}

impl Vault {
    /// An empty vault that everything else is left out of.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            tenant_id: None,
            location: westeurope(),
            subscription_id: subscription(),
            resource_group: resource_group(),
            access: VaultAccess::default(),
            network: Network::default(),
            empty_first_page: false,
            secrets: Vec::new(),
        }
    }
}

impl State {
    /// Reads and checks a state file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::StateFile {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }

    /// Reads and checks the text of a state file.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let state: Self = serde_json::from_str(text).map_err(Error::StateSyntax)?;
        state.check()?;
        Ok(state)
    }

    /// Whether the parts fit together.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let problem = |what: String| Err(Error::State(what));
        if self.tenants.is_empty() || self.applications.is_empty() || self.vaults.is_empty() {
            return problem("it needs a tenant, an application and a vault at least".into());
        }
        let applications = self.applications.iter().map(|a| &a.tenant_id);
        for tenant in applications.chain(self.vaults.iter().map(|v| &v.tenant_id)) {
            let known = |id: &String| self.tenants.iter().any(|t| &t.id == id);
            if let Some(id) = tenant.as_ref().filter(|id| !known(id)) {
                return problem(format!("no tenant has the id {id:?}"));
            }
        }
        for credential in &self.federated_credentials {
            if credential.subject.is_none() == credential.expression.is_none() {
                return problem(format!(
                    "the federated credential of {:?} needs a subject or an expression, not both",
                    credential.client_id
                ));
            }
        }
        Ok(())
    }
}

fn yes() -> bool {
    true
}

fn westeurope() -> String {
    "westeurope".into()
}

fn subscription() -> String {
    "5b7a3c1e-9f04-4d2a-8c6b-1e0f2d3a4b5c".into()
}

fn resource_group() -> String {
    "acme".into()
}

fn read_only() -> Vec<String> {
    vec!["get".into(), "list".into()]
}
