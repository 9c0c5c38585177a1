//! runner-secrets gives GitLab CI jobs their Azure Key Vault secrets. This page is its
//! architecture.
//!
//! # The flow
//!
//! ```text
//! socket -> service::decode -> token -> policy -> vault (azure) -> files -> service::encode
//! runner -> gateway            '------------- provide -------------'    -> the job's payload
//! ```
//!
//! [`provide`] is the one straight line that every request takes, and every front shares. Types
//! carry the evidence from step to step: a [`secret::IdToken`] is only bytes; only verification
//! makes [`token::Claims`] of it; only [`policy`] makes a [`policy::Granted`] of claims, and without
//! one there is no [`vault::Grant`]; only a backend makes a [`vault::Fetched`] of that; only
//! [`files`] turns values into paths. Nothing reaches Azure before policy allowed it, and a vault is
//! asked only if [`azure::Cloud::vault`] made its URL.
//!
//! # What must happen
//!
//! tonic drops a handler when its caller hangs up, so whatever has to happen on every exit is a
//! guard with `Drop`: [`files::Files`] deletes itself unless kept, a request that nobody closed is
//! logged as abandoned, the socket's file goes with its lock.
//!
//! # Who may know what
//!
//! Dependencies point to the right and never back: [`command`], [`run`], [`gateway`], `service`,
//! [`provide`], [`token`] and [`policy`], [`azure`] behind the port [`vault`], [`files`], [`error`], [`secret`]
//! and [`name`]. `service` alone knows gRPC statuses, [`gateway`] alone GitLab's API, [`azure`]
//! alone Azure's errors, [`config`] alone TOML. The client ([`client`]) shares [`checkup`], [`files`],
//! [`name`], [`posix`], [`screen`] and [`secret`] with the daemon, and the daemon's commands read its
//! specs; without the feature `daemon` there is no TLS and no Azure code in the build.

#![cfg_attr(
    not(feature = "daemon"),
    allow(
        rustdoc::broken_intra_doc_links,
        reason = "the page describes the daemon as well"
    )
)]

#[cfg(feature = "daemon")]
pub mod admin;
#[cfg(feature = "daemon")]
pub mod audit;
#[cfg(feature = "daemon")]
pub mod azure;
#[cfg(feature = "daemon")]
pub mod caller;
pub mod checkup;
pub mod client;
#[cfg(feature = "daemon")]
pub mod command;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
mod connections;
pub mod dump;
#[cfg(feature = "daemon")]
pub mod error;
pub mod files;
#[cfg(feature = "daemon")]
pub mod gateway;
#[cfg(feature = "daemon")]
mod limits;
#[cfg(feature = "daemon")]
pub mod log;
#[cfg(feature = "daemon")]
pub mod metrics;
pub mod name;
#[cfg(feature = "daemon")]
pub mod policy;
pub mod posix;
pub mod process;
#[cfg(feature = "daemon")]
pub mod provide;
#[cfg(feature = "daemon")]
pub mod readiness;
#[cfg(feature = "daemon")]
pub mod run;
pub mod screen;
pub mod secret;
#[cfg(feature = "daemon")]
mod service;
#[cfg(feature = "daemon")]
pub mod socket;
#[cfg(feature = "daemon")]
pub mod systemd;
#[cfg(feature = "daemon")]
pub mod tls;
#[cfg(feature = "daemon")]
pub mod token;
#[cfg(feature = "daemon")]
pub mod vault;
