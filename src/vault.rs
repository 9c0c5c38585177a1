//! The port between the pipeline and a backend: what is wanted, what policy granted of it, and what
//! comes back. A backend gets grants and nothing else, so that nothing reaches the network before
//! policy allowed it.

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;

use crate::{
    azure::{ClientId, TenantId, VaultUrl},
    error::Error,
    name::{SecretName, SecretVersion, VariableName},
    secret::{IdToken, SecretValue},
};

/// One variable of a request, checked but not yet allowed.
#[derive(Debug)]
pub struct Wanted {
    /// The variable that the secret becomes.
    pub variable: VariableName,
    /// Whether the job gets a file or the value.
    pub file: bool,
    /// The ID token to read it with.
    pub token: Arc<IdToken>,
    /// The secret's name.
    pub name: SecretName,
    /// Its version; `None` is the latest.
    pub version: Option<SecretVersion>,
    /// The vault, where the job names one.
    pub vault: Option<VaultUrl>,
    /// The Entra tenant, where the job names one.
    pub tenant: Option<TenantId>,
    /// The client, where the job names one.
    pub client: Option<ClientId>,
}

/// One variable of a request that may be read, with everything that reading it takes.
#[derive(Debug)]
pub struct Grant {
    /// The variable that the secret becomes.
    pub variable: VariableName,
    /// Whether the job gets a file or the value.
    pub file: bool,
    /// The ID token to read it with.
    pub token: Arc<IdToken>,
    /// When the ID token ends, and with it whatever it bought.
    pub token_expires: SystemTime,
    /// The Entra tenant.
    pub tenant: TenantId,
    /// The client whose federated credential the token must match.
    pub client: ClientId,
    /// The vault.
    pub vault: VaultUrl,
    /// The secret's name.
    pub name: SecretName,
    /// Its version; `None` is the latest.
    pub version: Option<SecretVersion>,
}

/// A secret that was read.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its bytes.
    pub value: Arc<SecretValue>,
    /// The version that was read, also when none was asked for.
    pub version: String,
    /// What the job's author should know, such as that it has expired.
    pub warnings: Vec<String>,
}

/// A backend.
pub trait Vault: Send + Sync + 'static {
    /// Reads all of `grants`, in their order, or fails with the first error. Done, one way or the
    /// other, at `deadline`. Dropping the future ends every request that it made.
    fn fetch(
        &self,
        grants: &[Grant],
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Fetched>, Error>> + Send;
}
