//! The port between the pipeline and a backend: what policy granted, and what comes back. A backend
//! gets grants and nothing else, so that nothing reaches the network before policy allowed it.

mod origin;

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;

pub use self::origin::Origin;
use crate::{
    audit::Intended,
    azure::{ClientId, TenantId, VaultUrl},
    error::{Error, Named},
    policy::Granted,
    secret::{IdToken, SecretValue},
    token::Identity,
};

/// One variable of a request that may be read, with everything that reading it takes.
#[derive(Debug)]
pub struct Grant {
    /// What policy granted. Only policy makes one, and so there is no grant without it.
    pub granted: Granted,
    /// Whether the job gets a file or the value.
    pub file: bool,
    /// The ID token to read it with.
    pub token: Arc<IdToken>,
    /// When the ID token ends, and with it whatever it bought.
    pub token_expires: SystemTime,
    /// Who the ID token says that the job is.
    pub identity: Arc<Identity>,
    /// What of tenant, client and vault the job said itself.
    pub said: Said,
    /// The Entra tenant.
    pub tenant: TenantId,
    /// The client whose federated credential the token must match.
    pub client: ClientId,
    /// The vault, one that tokens may be sent to.
    pub vault: VaultUrl,
}

/// What a job named itself, and may therefore be told of.
#[derive(Clone, Copy, Debug)]
#[expect(missing_docs, reason = "named after the fields of a request")]
pub struct Said {
    pub tenant: bool,
    pub client: bool,
    pub vault: bool,
}

impl Grant {
    pub(crate) fn named_tenant(&self) -> Named<TenantId> {
        Named::new(self.tenant.clone(), self.said.tenant)
    }

    pub(crate) fn named_client(&self) -> Named<ClientId> {
        Named::new(self.client.clone(), self.said.client)
    }

    pub(crate) fn named_vault(&self) -> Named<VaultUrl> {
        Named::new(self.vault.clone(), self.said.vault)
    }
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
    /// Whether it has expired, or will within 30 days.
    pub expires_soon: bool,
}

/// A backend.
pub trait Vault: Send + Sync + 'static {
    /// What ID tokens were exchanged for: everything that reading takes, and nothing of a secret.
    type Access: Send;

    /// How many credentials that ID tokens were exchanged for are kept, for the metrics.
    fn credentials(&self) -> usize;

    /// Exchanges the ID tokens of all `grants`, or fails with the first error. Done, one way or the
    /// other, at `deadline`. Dropping the future ends every request that it made.
    fn exchange(
        &self,
        grants: &[Grant],
        deadline: Instant,
    ) -> impl Future<Output = Result<Self::Access, Error>> + Send;

    /// Reads all of `grants`, in their order, or fails with the first error; otherwise the same.
    /// What each read leaves behind goes on record through `intended`, also where it failed.
    fn fetch(
        &self,
        grants: &[Grant],
        access: Self::Access,
        intended: &Intended,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Fetched>, Error>> + Send;
}
