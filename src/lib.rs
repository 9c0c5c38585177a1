//! runner-secrets.

#[cfg(feature = "daemon")]
pub mod azure;
pub mod client;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod error;
pub mod files;
#[cfg(feature = "daemon")]
pub mod log;
pub mod name;
#[cfg(feature = "daemon")]
pub mod policy;
#[cfg(feature = "daemon")]
pub mod provide;
#[cfg(feature = "daemon")]
pub mod run;
pub mod secret;
#[cfg(feature = "daemon")]
mod service;
#[cfg(feature = "daemon")]
pub mod socket;
#[cfg(feature = "daemon")]
pub mod token;
#[cfg(feature = "daemon")]
pub mod vault;
