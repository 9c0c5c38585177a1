//! The checked configuration.

pub(crate) mod raw;
