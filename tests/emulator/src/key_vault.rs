//! The data plane of Azure Key Vault, as far as secrets go.
//!
//! A request is first authenticated ([`bearer`]), so that the challenge always works, then passes
//! the network rules, the api-version and the permission check, and only then learns whether a
//! secret exists ([`store`]). [`refusal`] is the table of errors.

use serde_json::Value;

use crate::call::Call;
use crate::cloud::{Cloud, Site};
use crate::reply::Reply;
use crate::world::World;

mod api_version;
mod bearer;
mod operations;
pub(crate) mod refusal;
mod store;

pub(crate) use bearer::challenge;
pub(crate) use store::Vaults;
pub use store::{NewSecret, SecretVersion};

use refusal::{Facts, Refusal};

/// Where a request was sent: a vault under one of its names.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) vault: String,
    pub(crate) cloud: Cloud,
    /// `https://` and the host, as ids of secrets begin.
    pub(crate) base: String,
}

impl Target {
    /// `None`: there is no such vault. The emulator's own name stands for the first vault.
    pub(crate) fn of(world: &World, call: &Call) -> Option<Self> {
        let (vault, cloud) = match &call.site {
            Site::Vault { name, cloud } => (name.clone(), *cloud),
            _ => (world.vaults.first()?, Cloud::Local),
        };
        let authority = call.authority.to_ascii_lowercase();
        let authority = match cloud {
            Cloud::Local => authority,
            _ => call.host(),
        };
        world.vaults.contains(&vault).then(|| Self {
            vault,
            cloud,
            base: format!("https://{authority}"),
        })
    }
}

/// Answers a request to a vault.
pub(crate) fn answer(world: &World, call: &Call) -> Reply {
    let Some(target) = Target::of(world, call) else {
        // A vault that does not exist has no name to connect to; nothing answers like this.
        return Reply::new(404, "text/plain", "There is no such vault.\n");
    };
    let reply = match answer_known(world, call, &target) {
        Ok(reply) => reply,
        Err(refusal) => refuse_as(world, call, &refusal),
    };
    with_common_headers(world, call, reply)
}

fn answer_known(world: &World, call: &Call, target: &Target) -> Result<Reply, Refusal> {
    let caller = bearer::authenticate(world, call, target)?;
    if let Some(code) = world.vaults.network(&target.vault) {
        return Err(Refusal::new(code));
    }
    api_version::check(call)?;
    operations::perform(world, call, target, &caller)
}

/// The answer for a refusal, worded with what this request says.
pub(crate) fn refuse_as(world: &World, call: &Call, refusal: &Refusal) -> Reply {
    let facts = Facts::of(world, call);
    let reply = refusal.reply(&facts);
    if reply.status == 401 {
        let challenge = Target::of(world, call).map(|target| challenge(world, &target));
        return reply.with("www-authenticate", &challenge.unwrap_or_default());
    }
    reply
}

pub(crate) fn with_common_headers(world: &World, call: &Call, reply: Reply) -> Reply {
    let target = Target::of(world, call);
    let region = target.map(|target| world.vaults.location(&target.vault));
    let reply = reply
        .with("cache-control", "no-cache")
        .with("pragma", "no-cache")
        .with("expires", "-1")
        .with("x-ms-keyvault-region", &region.unwrap_or_default())
        .with("x-ms-request-id", &uuid::Uuid::new_v4().to_string())
        .with("x-ms-keyvault-service-version", "1.9.3019.1")
        .with(
            "x-ms-keyvault-network-info",
            "conn_type=Ipv4;addr=127.0.0.1;act_addr_fam=InterNetwork;",
        )
        .with("x-content-type-options", "nosniff")
        .with(
            "strict-transport-security",
            "max-age=31536000;includeSubDomains",
        );
    match call.header("x-ms-client-request-id") {
        Some(id) => reply.with("x-ms-client-request-id", id),
        None => reply,
    }
}

/// A JSON body, or an empty object for one that is none: the checks of its members refuse it.
fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap_or_default()
}
