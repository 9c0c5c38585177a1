//! The arguments of the `audit` commands.

use std::{path::PathBuf, time::SystemTime};

use lexopt::{Parser, prelude::*};
use runner_secrets_proto::{Reason, reason};

use super::{Audit, Export, Query, Verify, time};
use crate::{
    audit::{
        chain::{Digest, Head},
        query::{Filter, INTENT},
    },
    command::Form,
    policy::pattern::Pattern,
};

/// What was given to any of them.
#[derive(Default)]
pub(super) struct Given {
    files: Vec<PathBuf>,
    public_keys: Vec<PathBuf>,
    head: Option<Head>,
    checkpoint: Option<PathBuf>,
    filter: Filter,
    form: Option<Form>,
    output: Option<PathBuf>,
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
                ("verify" | "export", Long("public-key")) => {
                    given.public_keys.push(parser.value()?.into());
                }
                ("verify", Long("head")) => given.head = Some(head(parser)?),
                ("verify", Long("from-checkpoint")) => {
                    given.checkpoint = Some(parser.value()?.into());
                }
                ("export", Long("output")) => given.output = Some(parser.value()?.into()),
                ("query", Long("csv")) => given.form(Form::Csv)?,
                ("verify" | "query", Long("json")) => given.form(Form::Json)?,
                ("query" | "export", Long("since")) => {
                    given.filter.period.since = Some(instant("--since", parser)?);
                }
                ("query" | "export", Long("until")) => {
                    given.filter.period.until = Some(instant("--until", parser)?);
                }
                ("query", Long(name)) => {
                    let name = name.to_owned();
                    filter(&name, &mut given.filter, parser)?;
                }
                ("verify" | "query" | "export", other) => return Err(other.unexpected()),
                (other, _) => return Err(no_command(other)),
            }
        }
        Ok(Some(given))
    }

    fn form(&mut self, form: Form) -> Result<(), lexopt::Error> {
        match self.form.replace(form) {
            Some(other) if other != form => Err("--csv and --json exclude each other".into()),
            _ => Ok(()),
        }
    }

    pub(super) fn command(self, name: &str) -> Result<Audit, lexopt::Error> {
        match name {
            "verify" => Ok(Audit::Verify(Verify {
                files: self.files,
                public_keys: self.public_keys,
                head: self.head,
                checkpoint: self.checkpoint,
                json: self.form.is_some(),
            })),
            "query" => Ok(Audit::Query(Box::new(Query {
                files: self.files,
                filter: self.filter,
                form: self.form.unwrap_or(Form::Table),
            }))),
            "export" => Ok(Audit::Export(Export {
                files: self.files,
                public_keys: self.public_keys,
                period: self.filter.period,
                output: self.output.ok_or("audit export needs --output DIRECTORY")?,
            })),
            other => Err(no_command(other)),
        }
    }
}

/// Reads one of the options that say which answers are asked for.
fn filter(name: &str, filter: &mut Filter, parser: &mut Parser) -> Result<(), lexopt::Error> {
    let value = match name {
        "project" | "vault" | "secret" | "user" | "reason" | "request" => {
            parser.value()?.string()?
        }
        _ => return Err(Long(name).unexpected()),
    };
    match name {
        "project" => filter.project = Some(pattern(name, &value)?),
        "vault" => filter.vault = Some(value),
        "secret" => filter.secret = Some(pattern(name, &value.to_ascii_lowercase())?),
        "user" => filter.user = Some(value),
        "reason" => filter.reason = Some(known(&value)?),
        _ => filter.request = Some(value),
    }
    Ok(())
}

fn pattern(name: &str, text: &str) -> Result<Pattern, lexopt::Error> {
    Pattern::parse(text).map_err(|error| format!("--{name}: {text:?} {error}").into())
}

/// A reason that there is: a misspelt one would find nothing, and look like good news.
fn known(text: &str) -> Result<String, lexopt::Error> {
    let reason = text.to_ascii_uppercase();
    let others = ["DELIVERED", "ABANDONED", INTENT];
    if Reason::named(&reason).is_some() || others.contains(&reason.as_str()) {
        return Ok(reason);
    }
    let names = reason::TABLE.iter().map(|row| row.name);
    let names: Vec<&str> = others.into_iter().chain(names).collect();
    Err(format!("--reason: {text:?} is none; there are {}", names.join(", ")).into())
}

fn instant(option: &str, parser: &mut Parser) -> Result<SystemTime, lexopt::Error> {
    let text = parser.value()?.string()?;
    time::parse(&text, SystemTime::now()).ok_or_else(|| {
        let forms = "2026-11-21, 2026-11-21T08:00:00Z or 24h was expected";
        format!("{option}: {forms}, not {text:?}").into()
    })
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
