//! What can be asked of a vault: get, list, set, delete, recover, purge.
//!
//! Permission is checked before existence, so a caller without it learns nothing.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::bearer::Caller;
use super::refusal::Refusal;
use super::store::{self, NewSecret, Secret};
use super::{Target, body};
use crate::call::Call;
use crate::reply::Reply;
use crate::world::World;

/// The largest page of a list, and the default.
const PAGE: usize = 25;
/// The largest value, in bytes.
const LARGEST_VALUE: usize = 25 * 1024;

/// Does what an authenticated request asks for.
pub(super) fn perform(
    world: &World,
    call: &Call,
    target: &Target,
    caller: &Caller,
) -> Result<Reply, Refusal> {
    let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let name = segments.get(1).copied().unwrap_or_default();
    if segments.len() > 1 && !is_name(name) {
        return Err(Refusal::new("InvalidName"));
    }
    let Some(operation) = operation(call.method.as_str(), &segments) else {
        return Err(Refusal::new("MethodNotAllowed"));
    };
    let one = (segments.len() > 1).then_some(name);
    let directory = &world.directory;
    if !directory.permits(&caller.client_id, &target.vault, one, operation) {
        let denial = Refusal::new(world.vaults.denial(&target.vault));
        return Err(denial.of_operation(operation));
    }
    match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["secrets"]) => list_secrets(world, call, target),
        ("GET", ["secrets", name]) => get(world, target, name, None),
        ("GET", ["secrets", name, "versions"]) => list_versions(world, call, target, name),
        ("GET", ["secrets", name, version]) => get(world, target, name, Some(version)),
        ("PUT", ["secrets", name]) => set(world, call, target, name),
        ("PATCH", ["secrets", name, version]) => update(world, call, target, name, version),
        ("DELETE", ["secrets", name]) => delete(world, target, name),
        ("GET", ["deletedsecrets", name]) => get_deleted(world, target, name),
        ("DELETE", ["deletedsecrets", name]) => purge(world, target, name),
        ("POST", ["deletedsecrets", name, "recover"]) => recover(world, target, name),
        _ => Err(Refusal::new("NotFound")),
    }
}

/// The permission a request needs; `None`: no request looks like this.
fn operation(method: &str, segments: &[&str]) -> Option<&'static str> {
    match (method, segments) {
        ("GET", ["secrets"] | ["secrets", _, "versions"]) => Some("list"),
        ("GET", _) => Some("get"),
        ("PUT" | "PATCH" | "POST", _) => Some("set"),
        ("DELETE", _) => Some("delete"),
        _ => None,
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=127).contains(&name.len()) && name.chars().all(allowed)
}

fn living(world: &World, target: &Target, name: &str) -> Result<Secret, Refusal> {
    let secret = world.vaults.secret(&target.vault, name);
    let secret = secret.filter(|secret| secret.deleted.is_none());
    secret.ok_or(Refusal::new("SecretNotFound"))
}

fn get(
    world: &World,
    target: &Target,
    name: &str,
    version: Option<&str>,
) -> Result<Reply, Refusal> {
    let hexadecimal =
        |text: &str| text.len() == 32 && text.chars().all(|c| c.is_ascii_alphanumeric());
    if version.is_some_and(|version| !hexadecimal(version)) {
        return Err(Refusal::new("InvalidVersion"));
    }
    let secret = living(world, target, name)?;
    let found = match version {
        Some(wanted) => secret.versions.iter().find(|v| v.id == wanted),
        None => secret.versions.last(),
    };
    let version = found.ok_or(Refusal::new("SecretNotFound"))?;
    if !version.enabled() {
        return Err(Refusal::new("SecretDisabled"));
    }
    let bundle = store::whole(&target.base, &secret, version);
    Ok(Reply::json(200, &bundle).with(
        "x-ms-keyvault-rbac-assignment-id",
        "0f4e7a52-3c1b-4d6e-8a90-b2c4d6e8f013",
    ))
}

fn list_secrets(world: &World, call: &Call, target: &Target) -> Result<Reply, Refusal> {
    let secrets = world.vaults.secrets(&target.vault);
    let items = secrets.iter().filter_map(|secret| {
        let newest = secret.versions.last()?;
        Some(store::listed(&target.base, secret, newest, false))
    });
    page(world, call, target, &items.collect::<Vec<_>>())
}

fn list_versions(
    world: &World,
    call: &Call,
    target: &Target,
    name: &str,
) -> Result<Reply, Refusal> {
    let secret = living(world, target, name)?;
    let versions = secret.versions.iter();
    let items = versions.map(|version| store::listed(&target.base, &secret, version, true));
    page(world, call, target, &items.collect::<Vec<_>>())
}

/// One page. The token in the link says where the next one begins; a vault may be set to begin
/// with an empty page, which clients must not take for the end.
fn page(world: &World, call: &Call, target: &Target, items: &[Value]) -> Result<Reply, Refusal> {
    let size = match call.query("maxresults") {
        None => PAGE,
        Some(text) => text.parse().unwrap_or(0),
    };
    if !(1..=PAGE).contains(&size) {
        return Err(Refusal::new("InvalidMaxResults"));
    }
    let skip = call.query("$skiptoken").and_then(decode_skip);
    let empty = skip.is_none() && world.vaults.empty_first_page(&target.vault);
    let from = skip.unwrap_or(0).min(items.len());
    let to = if empty {
        0
    } else {
        (from + size).min(items.len())
    };
    let next = (to < items.len() || empty).then(|| next_link(call, target, to, size));
    let shown = items.get(from..to).unwrap_or_default();
    Ok(Reply::json(200, &json!({"value": shown, "nextLink": next})))
}

fn decode_skip(token: &str) -> Option<usize> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    String::from_utf8(bytes).ok()?.parse().ok()
}

/// As the service writes it: with the port, and `$` not encoded.
fn next_link(call: &Call, target: &Target, from: usize, size: usize) -> String {
    let path = call.segments.join("/");
    let token = URL_SAFE_NO_PAD.encode(from.to_string());
    let version = call.query("api-version").unwrap_or_default();
    let has_port = target
        .base
        .rsplit(':')
        .next()
        .is_some_and(|end| end.parse::<u16>().is_ok());
    let port = if has_port { "" } else { ":443" };
    format!(
        "{}{port}/{path}?api-version={version}&$skiptoken={token}&maxresults={size}",
        target.base
    )
}

fn set(world: &World, call: &Call, target: &Target, name: &str) -> Result<Reply, Refusal> {
    let new: NewSecret =
        serde_json::from_value(body(call)).map_err(|_| Refusal::new("InvalidBody"))?;
    if new.value.len() > LARGEST_VALUE {
        return Err(Refusal::new("InvalidBody"));
    }
    let existing = world.vaults.secret(&target.vault, name);
    if existing.is_some_and(|secret| secret.deleted.is_some()) {
        return Err(Refusal::new("ObjectIsDeletedButRecoverable"));
    }
    world
        .vaults
        .put(&target.vault, name, new, world.clock.unix());
    let secret = living(world, target, name)?;
    let newest = secret
        .versions
        .last()
        .ok_or(Refusal::new("SecretNotFound"))?;
    Ok(Reply::json(
        200,
        &store::whole(&target.base, &secret, newest),
    ))
}

fn update(
    world: &World,
    call: &Call,
    target: &Target,
    name: &str,
    version: &str,
) -> Result<Reply, Refusal> {
    let mut changed = body(call);
    // The same members as in a new secret, but for the value.
    changed["value"] = "".into();
    let changed: NewSecret =
        serde_json::from_value(changed).map_err(|_| Refusal::new("InvalidBody"))?;
    living(world, target, name)?;
    let now = world.clock.unix();
    let bundle = world.vaults.change(&target.vault, name, |secret| {
        let found = secret.versions.iter_mut().find(|v| v.id == version)?;
        let content = &mut found.content;
        let old = content.attributes.clone();
        let new = changed.attributes;
        content.attributes.enabled = new.enabled.or(old.enabled);
        content.attributes.nbf = new.nbf.or(old.nbf);
        content.attributes.exp = new.exp.or(old.exp);
        content.content_type = changed.content_type.or(content.content_type.take());
        content.tags = changed.tags.or(content.tags.take());
        found.updated = now;
        let found = found.clone();
        Some(store::listed(&target.base, secret, &found, true))
    });
    let bundle = bundle.flatten().ok_or(Refusal::new("SecretNotFound"))?;
    Ok(Reply::json(200, &bundle))
}

fn delete(world: &World, target: &Target, name: &str) -> Result<Reply, Refusal> {
    living(world, target, name)?;
    let deleted = world.vaults.delete(&target.vault, name, world.clock.unix());
    deleted.map_err(|_| Refusal::new("SecretNotFound"))?;
    get_deleted(world, target, name)
}

fn gone(world: &World, target: &Target, name: &str) -> Result<Secret, Refusal> {
    let secret = world.vaults.secret(&target.vault, name);
    let secret = secret.filter(|secret| secret.deleted.is_some());
    secret.ok_or(Refusal::new("DeletedSecretNotFound"))
}

fn get_deleted(world: &World, target: &Target, name: &str) -> Result<Reply, Refusal> {
    let secret = gone(world, target, name)?;
    let newest = secret.versions.last();
    let newest = newest.ok_or(Refusal::new("DeletedSecretNotFound"))?;
    Ok(Reply::json(
        200,
        &store::deleted(&target.base, &secret, newest),
    ))
}

fn purge(world: &World, target: &Target, name: &str) -> Result<Reply, Refusal> {
    gone(world, target, name)?;
    world.vaults.purge(&target.vault, name);
    Ok(Reply::empty(204))
}

fn recover(world: &World, target: &Target, name: &str) -> Result<Reply, Refusal> {
    gone(world, target, name)?;
    let restored = world.vaults.change(&target.vault, name, |secret| {
        secret.deleted = None;
        secret.clone()
    });
    let secret = restored.ok_or(Refusal::new("DeletedSecretNotFound"))?;
    let newest = secret.versions.last();
    let newest = newest.ok_or(Refusal::new("SecretNotFound"))?;
    Ok(Reply::json(
        200,
        &store::listed(&target.base, &secret, newest, true),
    ))
}
