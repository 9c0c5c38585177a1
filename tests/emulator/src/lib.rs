//! A stand-in, on loopback, for the three services a GitLab job meets on its way to a secret:
//! the GitLab issuer that signs its ID token, the Microsoft Entra endpoint that exchanges it, and
//! the Azure Key Vault that answers the access token with a value.
//!
//! One TLS listener (`server`) finds the service by host name and hands it a `call`; the
//! service answers with a `reply`. Services decide by the same rules as the real ones and share
//! one `world`. `faults` come between the two, `requests` remembers what was asked,
//! `proxy` leads unmodified clients here, and `control` changes all of it at run time.
//! Nothing leaves loopback, except to fetch the keys of an issuer that a test configured.

mod arm;
mod call;
mod clock;
mod cloud;
mod control;
mod directory;
mod emulator;
mod entra;
mod error;
mod faults;
mod issuer;
mod jwt;
mod key_vault;
mod keys;
mod pattern;
mod proxy;
mod reply;
mod requests;
mod server;
mod shared;
mod state;
mod template;
mod tls;
mod world;

pub use crate::emulator::{Emulator, Options, Ready, start};
pub use crate::error::Error;
pub use crate::issuer::{IdTokenRequest, KeyChoice};
pub use crate::key_vault::{NewSecret, SecretVersion};
pub use crate::requests::{Connections, Request};
pub use crate::state::{
    Application, Attributes, FederatedCredential, Network, Permission, Secret, State, Tenant,
    TrustedIssuer, Vault, VaultAccess,
};
