//! runner-secrets gives GitLab CI jobs their Azure Key Vault secrets. This page is its
//! architecture.
//!
//! # The flow
//!
//! ```text
//! socket -> service::decode -> provide -> vault (azure) -> files -> service::encode
//! ```
//!
//! [`provide`] is the one straight line that every request takes, and every front shares. Types
//! carry the evidence from step to step: an [`secret::IdToken`] is only bytes; a
//! [`vault::Grant`] says what may be read and as whom; only a backend makes a
//! [`vault::Fetched`] of it; only [`files`] turns values into paths. Nothing reaches the network
//! before its names were checked, and a vault is asked only if [`azure::Cloud::vault`] made its URL.
//!
//! # What must happen
//!
//! tonic drops a handler when its caller hangs up, so whatever has to happen on every exit is a
//! guard with `Drop`: [`files::Files`] deletes itself unless kept, a request that nobody closed is
//! logged as abandoned, the socket's file goes with its lock.
//!
//! # Who may know what
//!
//! Dependencies point down the list of modules below, never up. `service` alone knows gRPC
//! statuses, [`azure`] alone knows Azure's errors, [`config`] alone knows TOML. The client
//! ([`client`]) shares [`files`], [`name`], [`screen`] and [`secret`] with the daemon and nothing
//! else; without the feature `daemon` there is no TLS and no Azure code in the build.

#![cfg_attr(
    not(feature = "daemon"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "the page describes the daemon as well"
    )
)]

#[cfg(feature = "daemon")]
pub mod azure;
pub mod client;
#[cfg(feature = "daemon")]
pub mod command;
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
pub mod screen;
pub mod secret;
#[cfg(feature = "daemon")]
mod service;
#[cfg(feature = "daemon")]
pub mod socket;
#[cfg(feature = "daemon")]
pub mod token;
#[cfg(feature = "daemon")]
pub mod vault;
