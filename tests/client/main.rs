//! Black-box tests of the client: the real program, in real shells, against a provider that says
//! what a test wants it to say. Nothing here imports the client's own code.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod commands;
mod doctor;
mod exec;
mod explain;
mod hostile;
mod inline;
mod job;
mod provider;
mod shells;
mod tokens;
