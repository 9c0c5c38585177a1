//! runner-secrets.

pub mod name;
pub mod secret;
