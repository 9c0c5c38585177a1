//! The checked configuration.

pub mod issuer;
pub(crate) mod raw;
pub mod rule;
