//! The audit trail: who read what, on record before anything is released, in a form that shows
//! when something was altered or is missing.

pub mod chain;
pub mod clock;
#[cfg(test)]
mod documented;
pub mod event;
pub mod export;
pub mod key;
pub mod log;
pub mod query;
pub mod sink;
pub mod trail;
pub mod verify;
