//! What is recorded: one struct for each kind of record, its fields in the order of the line.
//! `docs/audit.md` has the table, and a test holds the two together. There is no field for a token
//! or a value, nor for a hash of a value.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::chain::{Digest, Head};
use crate::caller::Remote;

/// What a record is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first record of every file.
    Header(Header),
    /// The daemon started.
    Start(Start),
    /// The daemon stopped in order.
    Stop,
    /// The clock was set, or its state changed.
    Clock(Clock),
    /// A policy is in force from here on.
    Policy(Policy),
    /// A request was granted; its secrets are about to be read.
    Intent(Request),
    /// A request ended.
    Outcome(Request),
    /// The files of a request are gone.
    Lease(LeaseEnd),
    /// Requests that were refused before anybody was identified, too many to record each.
    Refused(Refused),
    /// The trail up to here, signed where there is a key.
    Checkpoint(Checkpoint),
    /// The line before this one broke off when the daemon or the machine did.
    Torn(Torn),
    /// The trail could not be written for a time, and now it can again.
    Recovered(Recovered),
    /// A file was deleted because it was old enough, or one too many.
    Pruned(Pruned),
}

/// The first record of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The version of this form.
    pub version: u32,
    /// The name of the host.
    pub host: String,
    /// Where the chain was before; absent in the first file of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Predecessor>,
}

/// The file before this one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Predecessor {
    /// Its name, as far as it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its last record.
    #[serde(flatten)]
    pub head: Head,
}

/// A start.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Start {
    /// The daemon's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Which boot of the machine, `/proc/sys/kernel/random/boot_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The state of the clock.
    pub clock: Clock,
    /// The configuration in effect, by table.
    pub config: serde_json::Value,
}

/// The state of the clock that the times come from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Whether the kernel says that it is kept right; absent where that cannot be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synchronised: Option<bool>,
    /// By how much it was set since the last record, forward or back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_ms: Option<i64>,
}

/// A policy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Policy {
    /// Whether it is meant.
    pub mode: String,
    /// Its hash, which is the name of the file with its text.
    pub policy_hash: String,
    /// How many rules it has.
    pub rules: usize,
    /// The one that was in force before, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

/// A request, in its intent and in its outcome.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Request {
    /// The id that the caller was told, too.
    pub request_id: String,
    /// `resolve`, `explain` or `release`; `connect` where the caller was turned away before that.
    pub call: String,
    /// `DELIVERED`, `ABANDONED` or the reason that the caller was told; absent in an intent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The sentence that the caller was told with a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Since the request came.
    pub duration_ms: u64,
    /// Who called: a process, as the kernel says, or a host.
    pub caller: Caller,
    /// What the verified token says of the job; absent where no token was verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// What a token says that was not verified: anybody may have written it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unverified: Option<BTreeMap<String, String>>,
    /// How often this token was presented since the daemon started, this time included; of a request
    /// with several tokens, the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_uses: Option<u64>,
    /// Under which policy; absent where it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Asked>,
    /// How the job gets the secrets: `files`, `inline` or `inline, disk allowed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<String>,
    /// The lease on the files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_id: Option<String>,
    /// What was asked for, by variable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
}

/// Who called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Caller {
    /// A process of this host, over a socket.
    Local(Local),
    /// A job or a runner, over the network.
    Remote(Remote),
}

impl Default for Caller {
    fn default() -> Self {
        Self::Local(Local::default())
    }
}

impl Caller {
    /// Its user, where it is a process of this host.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        match self {
            Self::Local(process) => Some(process.uid),
            Self::Remote(_) => None,
        }
    }

    /// Its address, where it called over the network.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote.address),
        }
    }

    /// Its number, where it is a process of this host and the kernel tells it.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        match self {
            Self::Local(process) => process.pid,
            Self::Remote(_) => None,
        }
    }
}

/// The calling process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its number, where the kernel tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
}

/// A job, by the claims of its verified token.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "named after GitLab's claims")]
pub struct Job {
    pub issuer: String,
    pub subject: String,
    pub audience: Vec<String>,
    pub project_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_path: Option<String>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ref_protected: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline_source: Option<String>,
    pub job_id: String,
    /// Who started it, in the form that `audit.user` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha: Option<String>,
    /// SHA-256 of the token's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jti_sha256: Option<Digest>,
}

/// The policy that was asked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Asked {
    /// `enforce` or `audit`.
    pub mode: String,
    /// Its hash.
    pub hash: String,
    /// In audit mode: what it would have refused, and let pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_deny: Option<String>,
}

/// One secret of a request.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Secret {
    /// What the job calls it.
    pub variable: String,
    /// The vault's URL; absent where nobody named one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vault: Option<String>,
    /// What the vault calls it.
    pub name: String,
    /// The version that was asked for; absent: the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The rule that grants it; absent where none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The version that was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_read: Option<String>,
    /// Key Vault's id of the read, `x-ms-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_vault_request_id: Option<String>,
    /// Our id of it, `x-ms-client-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_request_id: Option<String>,
    /// What the job was warned of, such as that the secret has expired.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The end of a lease.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeaseEnd {
    /// Which.
    pub lease_id: String,
    /// The request that it was granted to.
    pub request_id: String,
    /// `RELEASED`, `EXPIRED`, `OWNER_ENDED`, `STOPPED`, `SWEPT` or `ABANDONED`.
    pub end: String,
    /// The project of its job.
    pub project_id: String,
    /// The job.
    pub job_id: String,
}

/// Refusals in a summary.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refused {
    /// Since when, in RFC 3339.
    pub since: String,
    /// How many there were.
    pub count: u64,
    /// By whom and why, the most frequent first; what does not fit is in the count only.
    pub by: Vec<RefusedBy>,
}

/// Refusals of one user or one address for one reason.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedBy {
    /// The user; absent for what came over the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The address, of what came over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The reason.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// The trail up to here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The signing key: the first 16 digits of the SHA-256 of the public key's 32 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// Bytes that are no record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Torn {
    /// How many, before the line end that closes them off.
    pub bytes: u64,
    /// Of them.
    pub sha256: Digest,
}

/// A time without a trail.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Recovered {
    /// Since when, in RFC 3339.
    pub since: String,
    /// What was wrong.
    pub cause: String,
    /// How many requests were refused for it.
    pub refused: u64,
    /// How many records of other things could not be kept.
    pub lost: u64,
}

/// A file that was deleted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pruned {
    /// Its name.
    pub file: String,
    /// Its last record; absent where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<Head>,
}
