//! The daemon's commands, by the real program: what they print, and how they end, for good input
//! and for hostile. Tokens are signed by a key of the test, which a file publishes: no network.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

#[path = "../blackbox/tree.rs"]
mod tree;

mod audit;
mod documents;
mod explain;
mod grants;
mod help;
mod operator;
mod samples;
mod served;
mod signer;
mod trials;
