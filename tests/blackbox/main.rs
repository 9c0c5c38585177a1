//! The real daemon and the real client against emulated GitLab, Entra and Key Vault.
//!
//! Each test has a directory, an emulator and daemons of its own and talks to them as a job would:
//! over the unix socket, with the generated client or with the client program. Nothing of the
//! library is imported, so what holds here holds for what is installed. Nothing sleeps: a test
//! waits for a line of the log, a file or a process, and fails with the daemon's log when it does
//! not come.
//!
//! [`daemon`] starts the program, [`call`] talks to it, [`admin`] asks how it is, [`stage`] puts it
//! beside an emulator and [`job`] runs the client; [`signer`] makes tokens that no emulator would, and a [`trap`] listens
//! where nobody should come; a [`crowd`] is many callers. [`ci`] makes jobs of pipelines, and [`tree`]
//! reads TOML and YAML. All other modules are tests.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "in a test, that is how to fail and to say why"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "literals are passed, and read better without an ampersand"
)]
#![expect(
    clippy::too_many_lines,
    reason = "tables of cases are as long as they are"
)]

#[expect(
    dead_code,
    reason = "shared with the gateway's tests, which need more of it"
)]
mod admin;
mod authority;
mod call;
mod canaries;
#[expect(
    dead_code,
    reason = "shared with the gateway's tests, which need more of it"
)]
mod ci;
mod collector;
mod crowd;
mod daemon;
mod job;
mod signer;
mod stage;
mod trail;
mod trap;
mod tree;

mod audit;
mod audit_failing;
mod audit_kill;
mod audit_rotation;
mod audit_sinks;
mod auditor;
mod bytes;
mod callers;
mod client;
mod configs;
mod counts;
mod deadlines;
mod denials;
mod doctor;
mod exchange;
mod explain;
mod explanations;
mod files;
mod hostile_files;
mod hygiene;
mod input;
mod keys;
mod kills;
mod leaks;
mod lifetimes;
mod logs;
mod monitoring;
mod network;
mod newcomer;
mod older;
mod pipelines;
mod pressure;
mod readiness;
mod reload;
mod rights;
mod room;
mod rules;
mod setup;
mod sockets;
mod sweep;
mod systemd;
mod throttling;
mod tokens;
mod traps;
mod upstream;
mod versions;
