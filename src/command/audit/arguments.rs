//! The arguments of the `audit` commands.

use std::path::PathBuf;

use lexopt::{Parser, prelude::*};

use super::{Audit, Verify};
use crate::audit::chain::{Digest, Head};

/// What was given to any of them.
#[derive(Default)]
pub(super) struct Given {
    files: Vec<PathBuf>,
    public_keys: Vec<PathBuf>,
    head: Option<Head>,
    checkpoint: Option<PathBuf>,
    json: bool,
}

impl Given {
    pub(super) fn read(
        command: &str,
        parser: &mut Parser,
        config: &mut PathBuf,
    ) -> Result<Option<Self>, lexopt::Error> {
        let mut given = Self::default();
        while let Some(argument) = parser.next()? {
            match (command, argument) {
                (_, Long("help") | Short('h')) => return Ok(None),
                (_, Long("config") | Short('c')) => *config = parser.value()?.into(),
                (_, Value(file)) => given.files.push(file.into()),
                ("verify", Long("public-key")) => given.public_keys.push(parser.value()?.into()),
                ("verify", Long("head")) => given.head = Some(head(parser)?),
                ("verify", Long("from-checkpoint")) => {
                    given.checkpoint = Some(parser.value()?.into());
                }
                ("verify", Long("json")) => given.json = true,
                ("verify" | "query" | "export", other) => return Err(other.unexpected()),
                (other, _) => return Err(no_command(other)),
            }
        }
        Ok(Some(given))
    }

    pub(super) fn command(self, name: &str) -> Result<Audit, lexopt::Error> {
        match name {
            "verify" | "query" | "export" if self.files.is_empty() => {
                Err(format!("audit {name} needs a file or a directory with records").into())
            }
            "verify" => Ok(Audit::Verify(Verify {
                files: self.files,
                public_keys: self.public_keys,
                head: self.head,
                checkpoint: self.checkpoint,
                json: self.json,
            })),
            other => Err(no_command(other)),
        }
    }
}

fn head(parser: &mut Parser) -> Result<Head, lexopt::Error> {
    let text = parser.value()?.string()?;
    let head = text.split_once(':').and_then(|(seq, hash)| {
        Some(Head {
            seq: seq.parse().ok()?,
            hash: Digest::parse(hash)?,
        })
    });
    head.ok_or_else(|| format!("--head: SEQ:HASH was expected, not {text:?}").into())
}

fn no_command(name: &str) -> lexopt::Error {
    format!("there is no command \"audit {}\"", name.escape_debug()).into()
}
