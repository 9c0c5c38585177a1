//! Key Vault's refusals, each under a name of its own, with its published text.
//!
//! The service's own codes are not unique (every 403 is `Forbidden`), so rows are named: by the
//! inner error where there is one, by the AKV number, or by what is wrong.

use serde_json::json;

use super::{Target, api_version};
use crate::arm::bearer;
use crate::call::Call;
use crate::jwt::Token;
use crate::reply::Reply;
use crate::template;
use crate::world::World;

mod table;

pub(crate) use table::names;

/// One row of the table.
struct Row {
    name: &'static str,
    status: u16,
    code: &'static str,
    inner: Option<&'static str>,
    text: &'static str,
}

/// A refusal by a vault.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    name: &'static str,
    about: Option<String>,
    operation: &'static str,
}

impl Refusal {
    /// `name` is one of [`names`]; another one is an internal error.
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            about: None,
            operation: "get",
        }
    }

    /// About a value that the text quotes as `{about}`.
    pub(super) fn about(name: &'static str, value: &str) -> Self {
        Self {
            about: Some(value.to_owned()),
            ..Self::new(name)
        }
    }

    /// Of an operation other than `get`.
    pub(super) fn of_operation(self, operation: &'static str) -> Self {
        Self { operation, ..self }
    }

    /// The answer of the vault, but for the headers that all its answers have.
    pub(super) fn reply(&self, facts: &Facts) -> Reply {
        let row = table::row(self.name);
        let message = template::fill(row.text, |name| match (name, &self.about) {
            ("about", Some(about)) => about.clone(),
            ("operation", _) => self.operation.to_owned(),
            ("action", _) => action(self.operation).to_owned(),
            _ => facts.value(name),
        });
        let mut error = json!({"code": row.code, "message": message});
        if let Some(inner) = row.inner {
            error["innererror"] = json!({"code": inner});
        }
        Reply::json(row.status, &json!({"error": error}))
    }
}

fn action(operation: &str) -> &'static str {
    match operation {
        "list" => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
        "set" => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
        "delete" => "Microsoft.KeyVault/vaults/secrets/delete",
        _ => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
    }
}

/// What a request to a vault says about itself, for the texts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    vault: String,
    location: String,
    resource_id: String,
    secret: String,
    version: String,
    tenant_id: String,
    caller: String,
    token_header: String,
    resource: String,
    issuer: String,
    audience: String,
}

impl Facts {
    pub(super) fn of(world: &World, call: &Call) -> Self {
        let segment = |at: usize| call.segments.get(at).cloned().unwrap_or_default();
        let text = bearer(call).unwrap_or_default();
        let token = Token::parse(text);
        let claim = |name: &str| {
            let claim = token.as_ref().and_then(|token| token.text(name));
            claim.unwrap_or_default().to_owned()
        };
        let facts = Self {
            secret: segment(1),
            version: segment(2),
            caller: format!(
                "appid={};oid={};iss={}",
                claim("appid"),
                claim("oid"),
                claim("iss")
            ),
            token_header: text.split('.').next().unwrap_or_default().to_owned(),
            issuer: claim("iss"),
            audience: claim("aud"),
            ..Self::default()
        };
        let Some(target) = Target::of(world, call) else {
            return facts;
        };
        Self {
            location: world.vaults.location(&target.vault),
            resource_id: world.vaults.resource_id(&target.vault),
            tenant_id: world.vaults.tenant_id(world, &target.vault),
            resource: world.vault_resource(target.cloud),
            vault: target.vault,
            ..facts
        }
    }

    fn value(&self, name: &str) -> String {
        let slash_version = || match self.version.as_str() {
            "" => String::new(),
            version => format!("/{version}"),
        };
        match name {
            "vault" => self.vault.clone(),
            "location" => self.location.clone(),
            "resource_id" => self.resource_id.clone(),
            // A fault may ask for a row that quotes something the request did nothing about.
            "secret" | "about" => self.secret.clone(),
            "slash_version" => slash_version(),
            "segment" => self.version.clone(),
            "tenant_id" => self.tenant_id.clone(),
            "caller" => self.caller.clone(),
            "header" => self.token_header.clone(),
            "resource" => self.resource.clone(),
            "issuer" => self.issuer.clone(),
            "audience" => self.audience.clone(),
            "latest" => api_version::latest().to_owned(),
            _ => String::new(),
        }
    }
}
