//! Secrets as JSON: whole, in a list, or deleted. What is not set is left out.

use serde_json::{Value, json};

use super::{Secret, Version};

/// How long a deleted secret can be recovered.
const RECOVERABLE_DAYS: i64 = 90;
const DAY: i64 = 24 * 60 * 60;

/// One version with its value.
pub(crate) fn whole(base: &str, secret: &Secret, version: &Version) -> Value {
    let mut bundle = listed(base, secret, version, true);
    bundle["value"] = version.content.value.clone().into();
    if version.managed {
        bundle["kid"] = format!("{base}/keys/{}/{}", secret.name, version.id).into();
    }
    bundle
}

/// One version without its value; lists of secrets leave the version out of the id.
pub(crate) fn listed(base: &str, secret: &Secret, version: &Version, versioned: bool) -> Value {
    let mut id = format!("{base}/secrets/{}", secret.name);
    if versioned {
        id = format!("{id}/{}", version.id);
    }
    let mut attributes = json!({
        "enabled": version.enabled(),
        "created": version.created,
        "updated": version.updated,
        "recoveryLevel": "Recoverable+Purgeable",
        "recoverableDays": RECOVERABLE_DAYS,
    });
    let given = &version.content.attributes;
    for (name, time) in [("nbf", given.nbf), ("exp", given.exp)] {
        if let Some(time) = time {
            attributes[name] = time.into();
        }
    }
    let mut bundle = json!({"id": id, "attributes": attributes});
    if let Some(content_type) = &version.content.content_type {
        bundle["contentType"] = content_type.clone().into();
    }
    if let Some(tags) = &version.content.tags {
        bundle["tags"] = Value::Object(tags.clone());
    }
    if version.managed {
        bundle["managed"] = true.into();
    }
    bundle
}

/// The newest version of a deleted secret, without its value.
pub(crate) fn deleted(base: &str, secret: &Secret, version: &Version) -> Value {
    let mut bundle = listed(base, secret, version, true);
    let at = secret.deleted.unwrap_or_default();
    bundle["recoveryId"] = format!("{base}/deletedsecrets/{}", secret.name).into();
    bundle["deletedDate"] = at.into();
    bundle["scheduledPurgeDate"] = (at + RECOVERABLE_DAYS * DAY).into();
    bundle
}
