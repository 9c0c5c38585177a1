//! The `audit` commands: what an auditor does with a trail. They read the files that they are
//! given, from wherever those were copied to; the daemon need not be there.

use std::path::PathBuf;

use lexopt::{Parser, prelude::*};

use super::{Command, Error, Streams};

mod arguments;
mod progress;
mod verify;

use arguments::Given;
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
}

/// Nothing was wrong with the trail, or something was.
const DAMAGED: u8 = 1;
/// sysexits.h: a file cannot be read.
const UNREADABLE: u8 = 66;

pub(super) fn run(audit: &Audit, streams: &mut Streams<'_>) -> Result<u8, Error> {
    match audit {
        Audit::Verify(verify) => verify.run(streams),
    }
}
