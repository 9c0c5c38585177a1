//! runner-secrets.

#[cfg(feature = "daemon")]
pub mod config;
pub mod name;
#[cfg(feature = "daemon")]
pub mod policy;
pub mod secret;
#[cfg(feature = "daemon")]
pub mod token;
