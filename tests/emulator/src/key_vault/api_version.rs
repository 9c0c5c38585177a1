//! Which versions of the API are known.

use super::refusal::Refusal;
use crate::call::Call;

const LATEST: &str = "2026-04-01";

const KNOWN: [&str; 16] = [
    "2016-10-01",
    "7.0",
    "7.1",
    "7.2",
    "7.3",
    "7.4",
    "7.5",
    "7.6",
    "7.6-preview.2",
    "2025-06-01-preview",
    "2025-07-01",
    "2026-01-01-preview",
    "2026-03-01-preview",
    LATEST,
    "2026-05-01-preview",
    "2026-07-01-preview",
];

/// Refuses a request without a known `api-version`.
pub(super) fn check(call: &Call) -> Result<(), Refusal> {
    match call.query("api-version") {
        Some(version) if KNOWN.contains(&version) => Ok(()),
        Some(version) => Err(Refusal::about("UnknownApiVersion", version)),
        None => Err(Refusal::new("MissingApiVersion")),
    }
}

/// The version that the error for an unknown one recommends.
pub(super) fn latest() -> &'static str {
    LATEST
}
