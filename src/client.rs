//! The client: what a job wants is read from its environment ([`Spec`]), asked for over the
//! daemon's socket ([`Client`]), checked against what was asked, and handed to the job as files or
//! variables ([`Retrieval`]). The binary `runner-secrets` is [`run`] with the process's own
//! environment and streams; the demo uses the parts. Nothing here knows Azure: a request names
//! secrets, and the daemon does the rest.

mod answer;
mod arguments;
mod command;
mod connection;
mod doctor;
mod environment;
mod error;
mod exec;
mod expand;
mod later;
mod leftovers;
mod local;
mod owner;
mod retrieval;
pub mod shell;
mod spec;
mod token;
mod verdict;

#[cfg(feature = "daemon")]
pub(crate) use self::expand::expand;
pub use self::{
    answer::{Answer, Content},
    command::{Output, run},
    connection::{Client, DEFAULT_SOCKET},
    environment::Environment,
    error::{Advice, Error, Refusal},
    local::{Local, Places},
    retrieval::{Given, Lease, Retrieval},
    spec::{Spec, Wanted},
    verdict::Verdicts,
};
