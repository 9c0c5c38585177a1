//! What a token request says about itself, read without judging it.
//!
//! Error texts quote the request, so this is gathered before the first check, from whatever is
//! there: a malformed assertion leaves its facts empty.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use time::OffsetDateTime;

use crate::call::Call;
use crate::clock;
use crate::jwt::Token;
use crate::world::World;

/// The values that placeholders of error texts stand for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub(crate) now: Option<OffsetDateTime>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) tenant: String,
    pub(crate) tenant_id: String,
    pub(crate) tenant_name: String,
    pub(crate) client_id: String,
    pub(crate) application_name: String,
    pub(crate) scope: String,
    pub(crate) token: Option<Token>,
}

impl Facts {
    /// Of a request that names only a tenant.
    pub(crate) fn of_tenant(world: &World, tenant: &str) -> Self {
        let known = world.directory.tenant(tenant);
        Self {
            now: Some(world.clock.now()),
            tenant: tenant.to_owned(),
            tenant_id: known.map_or_else(|| tenant.to_owned(), |known| known.id.clone()),
            tenant_name: known.map_or_else(|| tenant.to_owned(), |known| known.name.clone()),
            ..Self::default()
        }
    }

    /// Of a token request.
    pub(crate) fn of(world: &World, call: &Call) -> Self {
        let tenant = call.segments.first().map_or("", String::as_str);
        let facts = Self::of_tenant(world, tenant);
        let form = call.form();
        let field = |name: &str| {
            let found = form.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let client_id = field("client_id");
        let application = world.directory.application(&facts.tenant_id, &client_id);
        Self {
            correlation_id: call.header("client-request-id").map(str::to_owned),
            application_name: application.map(|a| a.name.clone()).unwrap_or_default(),
            client_id,
            scope: field("scope"),
            token: Token::parse(&field("client_assertion")),
            ..facts
        }
    }

    /// What stands for `{name}`.
    pub(super) fn value(&self, name: &str) -> String {
        match name {
            "tenant" => self.tenant.clone(),
            "tenant_id" => self.tenant_id.clone(),
            "tenant_name" => self.tenant_name.clone(),
            "client_id" => self.client_id.clone(),
            "application" => self.application_name.clone(),
            "scope" => self.scope.clone(),
            "resource" => resource(&self.scope),
            "parameter" => "client_assertion".to_owned(),
            "issuer" => self.claim("iss"),
            "subject" => self.claim("sub"),
            "audience" => self.claim("aud"),
            "alg" => self.header("alg"),
            "key" => hex_of_base64(&self.header("kid")),
            "now" => clock::round_trip(self.now.unwrap_or_else(OffsetDateTime::now_utc)),
            "from" => self.instant("nbf"),
            "until" => self.instant("exp"),
            _ => String::new(),
        }
    }

    fn claim(&self, name: &str) -> String {
        let value = self.token.as_ref().and_then(|token| token.claims.get(name));
        match value {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    fn header(&self, name: &str) -> String {
        let token = self.token.as_ref();
        let value = token.and_then(|token| token.header_text(name));
        value.unwrap_or_default().to_owned()
    }

    fn instant(&self, claim: &str) -> String {
        let seconds = self.token.as_ref().and_then(|token| token.seconds(claim));
        clock::round_trip_unix(seconds.unwrap_or_default())
    }
}

/// The resource of the first scope that is one.
fn resource(scope: &str) -> String {
    let mut resources = scope
        .split_whitespace()
        .filter_map(|scope| scope.strip_suffix("/.default"));
    resources.next().unwrap_or(scope).to_owned()
}

/// Entra prints key ids as the hexadecimal of the bytes they encode.
fn hex_of_base64(kid: &str) -> String {
    let bytes = URL_SAFE_NO_PAD
        .decode(kid)
        .unwrap_or_else(|_| kid.as_bytes().to_vec());
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        write!(text, "{byte:02X}").unwrap_or_default();
        text
    })
}
