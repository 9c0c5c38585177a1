//! What the benchmarks stand on: an emulator and a daemon as processes of their own, so that each
//! one's processor time and memory is its own; jobs that ask the daemon; and, to compare with, the
//! same requests made by hand and as the runner's built-in support makes them.
//!
//! The benchmark's program is also the emulator's and the floor's: it starts itself with another
//! name for what to do, and talks to them in lines of JSON.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::missing_docs_in_private_items,
    reason = "shared by programs that use different parts of it, and a benchmark that cannot be set up should stop"
)]

pub(crate) mod azure;
pub(crate) mod builtin;
pub(crate) mod daemon;
pub(crate) mod floor;
pub(crate) mod job;
pub(crate) mod load;
pub(crate) mod part;
pub(crate) mod process;
pub(crate) mod table;

use std::time::Duration;

/// What was asked for on the command line.
pub(crate) struct Options {
    /// Little of everything, to see that it works.
    pub(crate) quick: bool,
    /// Which tables; all of them if none is named.
    pub(crate) only: Vec<String>,
    /// How many jobs at a time, if not every number that the table has.
    pub(crate) concurrent: Option<usize>,
}

impl Options {
    pub(crate) fn wants(&self, table: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == table)
    }
}

/// Runs `main` with a runtime, unless this process is to be one of the parts.
pub(crate) fn run<Running: Future<Output = ()>>(main: impl FnOnce(Options) -> Running) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    if let Some(part) = arguments.iter().find_map(|arg| arg.strip_prefix("--part=")) {
        return runtime.block_on(part::serve(part));
    }
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let concurrent = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--concurrent="))
        .map(|number| number.parse().unwrap());
    let only = arguments
        .into_iter()
        .filter(|argument| !argument.starts_with("--"));
    let only = only.collect();
    runtime.block_on(main(Options {
        quick,
        only,
        concurrent,
    }));
}

/// The value below which `part` of all are.
pub(crate) fn quantile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "an index into what was measured"
    )]
    let at = (sorted.len() as f64 * part) as usize;
    sorted[at.min(sorted.len() - 1)]
}

pub(crate) fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    quantile(&all, 0.5)
}
