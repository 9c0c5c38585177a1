//! The `audit` commands: what an auditor does with a trail. They read the files that they are
//! given, from wherever those were copied to; the daemon need not be there.

use std::path::PathBuf;

use lexopt::{Parser, prelude::*};
use runner_secrets_proto::Reason;

use super::{Command, Error, Streams};
use crate::audit::export::Error as NotExported;

mod arguments;
mod export;
mod progress;
mod query;
mod row;
mod time;
mod verify;

use arguments::Given;
pub use export::Export;
pub use query::Query;
pub use verify::Verify;

/// Reads what follows `audit`, and `--config` into `config`; `None` when help is asked for.
pub fn audit(parser: &mut Parser, config: &mut PathBuf) -> Result<Option<Command>, lexopt::Error> {
    let name = match parser.next()? {
        Some(Value(name)) => name.string()?,
        Some(Long("help") | Short('h')) => return Ok(None),
        Some(other) => return Err(other.unexpected()),
        None => return Err("audit needs one of verify, query and export".into()),
    };
    match Given::read(&name, parser, config)? {
        Some(given) => given.command(&name).map(Command::Audit).map(Some),
        None => Ok(None),
    }
}

/// What to do with a trail.
#[derive(Debug, PartialEq, Eq)]
pub enum Audit {
    /// `audit verify`
    Verify(Verify),
    /// `audit query`
    Query(Box<Query>),
    /// `audit export`
    Export(Export),
}

/// Nothing was wrong with the trail, or something was.
const DAMAGED: u8 = 1;
/// sysexits.h: a file cannot be read.
const UNREADABLE: u8 = 66;

pub(super) fn run(audit: &Audit, streams: &mut Streams<'_>) -> Result<u8, Error> {
    match audit {
        Audit::Verify(verify) => verify.run(streams),
        Audit::Query(query) => query.run(streams),
        Audit::Export(export) => export.run(streams),
    }
}

/// How the program ends where nothing could be exported.
pub(super) fn exit(error: &NotExported) -> u8 {
    match error {
        NotExported::Source { .. } => UNREADABLE,
        NotExported::Nothing | NotExported::Name { .. } | NotExported::Twice { .. } => {
            Reason::RequestInvalid.exit()
        }
        NotExported::Form(_) | NotExported::Output { .. } => DAMAGED,
    }
}
