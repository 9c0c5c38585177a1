//! The emulator from outside: its services over HTTPS, its control API, its program.
//!
//! Every test starts an emulator of its own on free ports; none waits for time to pass.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod arm;
mod bench;
mod control;
mod entra;
mod faults;
mod foreign_issuer;
mod issuer;
mod key_vault;
mod program;
mod proxy;
mod requests;
mod vault_writes;
