//! Everything the services share, made once at start.

use std::sync::Arc;

use crate::clock::Clock;
use crate::cloud::Cloud;
use crate::directory::Directory;
use crate::entra::IssuerKeys;
use crate::error::Error;
use crate::faults::Faults;
use crate::issuer::Issuer;
use crate::key_vault::Vaults;
use crate::keys::{Role, SigningKey};
use crate::requests::Requests;
use crate::state::State;

/// The emulated world.
#[derive(Debug)]
pub(crate) struct World {
    /// The port of the TLS listener.
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    pub(crate) clock: Clock,
    pub(crate) directory: Directory,
    /// What Entra signs access tokens with.
    pub(crate) entra_key: Arc<SigningKey>,
    pub(crate) issuer: Issuer,
    pub(crate) issuer_keys: IssuerKeys,
    pub(crate) vaults: Vaults,
    pub(crate) faults: Faults,
    pub(crate) requests: Requests,
}

impl World {
    pub(crate) fn new(state: &State, port: u16, ca_pem: String) -> Result<Self, Error> {
        let url = format!("https://localhost:{port}");
        let clock = Clock::default();
        let entra_key = SigningKey::shared(Role::Entra)?;
        let issuer = Issuer::new(
            url.clone(),
            SigningKey::generate()?,
            SigningKey::shared(Role::Second)?,
        );
        Ok(Self {
            port,
            ca_pem,
            vaults: Vaults::new(state, clock.unix()),
            directory: Directory::new(state, url),
            clock,
            entra_key,
            issuer,
            issuer_keys: IssuerKeys::default(),
            faults: Faults::default(),
            requests: Requests::default(),
        })
    }

    /// The resource that tokens for a cloud's vaults are for.
    pub(crate) fn vault_resource(&self, cloud: Cloud) -> String {
        match cloud {
            Cloud::Local => self.issuer.url.clone(),
            _ => format!("https://{}", cloud.vault_suffix()),
        }
    }
}
