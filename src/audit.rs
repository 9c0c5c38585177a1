//! The audit trail: who read what, on record before anything is released, in a form that shows
//! when something was altered or is missing.

pub mod chain;
pub mod clock;
pub mod event;
pub mod key;
pub mod log;
pub mod sink;
