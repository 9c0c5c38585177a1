//! runner-secrets.

#[cfg(feature = "daemon")]
pub mod config;
pub mod name;
pub mod secret;
#[cfg(feature = "daemon")]
pub mod token;
