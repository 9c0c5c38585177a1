//! runner-secrets.

pub mod client;
#[cfg(feature = "daemon")]
pub mod config;
pub mod files;
pub mod name;
pub mod secret;
