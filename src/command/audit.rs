//! The `audit` commands: what an auditor does with a trail. They read the files that they are
//! given, from wherever those were copied to; the daemon need not be there.

use std::path::{Path, PathBuf};

use lexopt::{Parser, prelude::*};
use runner_secrets_proto::Reason;

use super::{Asked, Command, Error, Streams, page};
use crate::{audit::export::Error as NotExported, config::Config};

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

/// Reads what follows `audit`, and `--config` into `config`.
pub fn audit(parser: &mut Parser, config: &mut PathBuf) -> Result<Asked, lexopt::Error> {
    let name = match parser.next()? {
        Some(Value(name)) => name.string()?,
        Some(Long("help") | Short('h')) => return Ok(page("audit")),
        Some(other) => return Err(other.unexpected()),
        None => return Err("audit needs one of verify, query and export".into()),
    };
    match Given::read(&name, parser, config)? {
        Some(given) => Ok(Command::Audit(given.command(&name)?).into()),
        None => Ok(page(&format!("audit {name}"))),
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

/// Runs a command on the files that it names or, where it names none, on those of the daemon with
/// the configuration at `config`.
pub(super) fn run(audit: &Audit, config: &Path, streams: &mut Streams<'_>) -> Result<u8, Error> {
    let named = match audit {
        Audit::Verify(verify) => &verify.files,
        Audit::Query(query) => &query.files,
        Audit::Export(export) => &export.files,
    };
    let own = if named.is_empty() {
        vec![directory(config)?]
    } else {
        Vec::new()
    };
    let files = if named.is_empty() { &own } else { named };
    match audit {
        Audit::Verify(verify) => verify.run(files, streams),
        Audit::Query(query) => query.run(files, streams),
        Audit::Export(export) => export.run(files, streams),
    }
}

/// Where the daemon with this configuration keeps its files of records.
fn directory(config: &Path) -> Result<PathBuf, Error> {
    let file = Config::load(config)?.audit.file.ok_or(Error::NoTrail)?;
    Ok(file
        .path
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default())
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
