//! The gateway between a runner and a GitLab, both as strict as the real ones: the real daemon, an
//! emulated Entra and Key Vault. Nothing of the library is imported.
//!
//! [`gitlab`] is the GitLab, [`runner`] the runner, [`site`] puts everything together; the daemon's
//! process and the emulator are handled as the other tests of the daemon do it.

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

#[path = "../blackbox/admin.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod admin;
#[path = "../blackbox/authority.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod authority;
#[path = "../blackbox/call.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod call;
#[path = "../blackbox/canaries.rs"]
mod canaries;
#[path = "../blackbox/ci.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod ci;
#[path = "../blackbox/daemon.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod daemon;
#[path = "../blackbox/stage.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod stage;

#[path = "../blackbox/tree.rs"]
mod tree;

mod gitlab;
mod runner;
mod site;

mod failing;
mod figures;
mod leaks;
mod lives;
mod monitored;
mod passing;
mod real;
mod samples;
mod secrets;
mod stripped;
mod turns;
mod ways;
