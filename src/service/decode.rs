//! From the message to a [`Call`]: every field checked, the first that is wrong named, before
//! anything else happens.

use std::sync::Arc;

use prost::Message as _;
use runner_secrets_proto::v1::{AzureKeyVaultSecret, ResolveRequest, Secret, secret::Source};

use super::{Arrival, Front};
use crate::{
    azure::{ClientId, Cloud, TenantId},
    error::Error,
    name::{SecretName, SecretVersion, VariableName},
    policy::Asked,
    provide::{Call, Wanted},
    secret::IdToken,
    vault::Origin,
};

/// Checks a request. Equal tokens become one.
pub(super) fn call<V>(
    front: &Front<V>,
    arrival: &Arrival,
    request: ResolveRequest,
) -> Result<Call, Error> {
    let (size, limits) = (request.encoded_len(), &front.limits);
    if size > limits.request_bytes {
        let most = limits.request_bytes;
        let problem = format!("has {size} bytes; this daemon takes at most {most}");
        return Err(invalid("the request", problem));
    }
    let (count, most) = (request.secrets.len(), limits.secrets);
    if count == 0 {
        return Err(invalid("secrets", "is empty; name at least one".to_owned()));
    }
    if count > most {
        let problem = format!("has {count} entries; this daemon takes at most {most}");
        return Err(invalid("secrets", problem));
    }
    if request.owner_pid != 0 && arrival.caller.uid().is_none() {
        let problem =
            "names a process of this host, and nobody on the network is one; leave it out";
        return Err(invalid("owner_pid", problem.to_owned()));
    }
    let mut tokens = Tokens::new(request.id_token);
    let wanted = request.secrets.into_iter();
    let wanted = wanted
        .map(|(name, secret)| wanted_secret(&front.provider.cloud, &mut tokens, &name, secret));
    Ok(Call {
        request_id: arrival.request_id.clone(),
        uid: arrival.caller.uid(),
        pid: arrival.caller.pid(),
        principal: arrival.principal.clone(),
        job_id: None,
        process: arrival.process.clone(),
        owner_pid: (request.owner_pid != 0).then_some(request.owner_pid),
        wanted: wanted.collect::<Result<_, _>>()?,
        delivery: front.delivery,
        deadline: arrival.deadline,
    })
}

fn wanted_secret(
    cloud: &Cloud,
    tokens: &mut Tokens,
    name: &str,
    secret: Secret,
) -> Result<Wanted, Error> {
    let asked = asked(cloud, name, secret.source)?;
    let token = tokens.take(secret.id_token);
    let token = token.ok_or_else(|| Error::TokenInvalid {
        field: format!("the ID token for {}", asked.variable),
        problem: "is missing".to_owned(),
    })?;
    Ok(Wanted {
        asked,
        file: secret.file.unwrap_or(true),
        token,
    })
}

/// Checks one secret of a request, token aside.
pub(crate) fn asked(cloud: &Cloud, name: &str, source: Option<Source>) -> Result<Asked, Error> {
    let variable = VariableName::parse(name)
        .map_err(|error| invalid(&format!("secrets.{}", shown(name)), error.to_string()))?;
    let field = |part: &str| format!("secrets.{variable}.{part}");
    let Some(Source::AzureKeyVault(asked)) = source else {
        return Err(invalid(&field("azure_key_vault"), "is missing".to_owned()));
    };
    let part = |part: &str| field(&format!("azure_key_vault.{part}"));
    let AzureKeyVaultSecret {
        name,
        version,
        server,
    } = asked;
    let name = SecretName::parse(&name)
        .map_err(|error| invalid(&part("name"), format!("{} {error}", shown(&name))))?;
    let version = SecretVersion::parse(&version)
        .map_err(|error| invalid(&part("version"), format!("{} {error}", shown(&version))))?;
    let server = server.unwrap_or_default();
    let vault = given(&server.url, |url| vault(cloud, url, &part("server.url")))?;
    let tenant_id = given(&server.tenant_id, |id| {
        tenant(id, &part("server.tenant_id"))
    })?;
    let client_id = given(&server.client_id, |id| {
        client(id, &part("server.client_id"))
    })?;
    Ok(Asked {
        variable,
        name,
        version,
        vault,
        tenant_id: tenant_id.map(|id| id.as_str().to_owned()),
        client_id: client_id.map(|id| id.as_str().to_owned()),
    })
}

/// A vault that there can be.
fn vault(cloud: &Cloud, url: &str, field: &str) -> Result<Origin, Error> {
    let wrong = |error: String| invalid(field, format!("{} {error}", shown(url)));
    let origin = Origin::parse(url).map_err(|error| wrong(error.to_string()))?;
    cloud
        .vault(&origin)
        .map_err(|error| wrong(error.to_string()))?;
    Ok(origin)
}

fn tenant(id: &str, field: &str) -> Result<TenantId, Error> {
    let problem = || format!("{} is no GUID and no domain", shown(id));
    TenantId::parse(id).ok_or_else(|| invalid(field, problem()))
}

fn client(id: &str, field: &str) -> Result<ClientId, Error> {
    let wanted = "is no GUID; the application (client) id is wanted, not a name";
    ClientId::parse(id).ok_or_else(|| invalid(field, format!("{} {wanted}", shown(id))))
}

/// A field that may be empty.
fn given<T>(text: &str, parse: impl FnOnce(&str) -> Result<T, Error>) -> Result<Option<T>, Error> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}

/// The tokens of one request, each kept once.
struct Tokens {
    usual: Option<Arc<IdToken>>,
    others: Vec<Arc<IdToken>>,
}

impl Tokens {
    fn new(usual: String) -> Self {
        Self {
            usual: (!usual.is_empty()).then(|| Arc::new(IdToken::new(usual))),
            others: Vec::new(),
        }
    }

    /// A secret's own token, else the request's; `None` where there is neither.
    fn take(&mut self, own: String) -> Option<Arc<IdToken>> {
        if own.is_empty() {
            return self.usual.clone();
        }
        let mut known = self.usual.iter().chain(&self.others);
        if let Some(known) = known.find(|known| known.expose() == own) {
            return Some(known.clone());
        }
        let own = Arc::new(IdToken::new(own));
        self.others.push(own.clone());
        Some(own)
    }
}

/// What a job sent, quoted and in one line, cut where it is long.
fn shown(text: &str) -> String {
    const SHOWN: usize = 64;
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}

fn invalid(field: &str, problem: String) -> Error {
    Error::RequestInvalid {
        field: field.to_owned(),
        problem,
    }
}
