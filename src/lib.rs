//! runner-secrets.

#[cfg(feature = "daemon")]
pub mod azure;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod error;
pub mod files;
pub mod name;
pub mod secret;
#[cfg(feature = "daemon")]
pub mod token;
#[cfg(feature = "daemon")]
pub mod vault;
