//! The arguments of the `policy` commands. Tokens and specs are files, never arguments: every
//! process of the machine can read those.

use std::path::PathBuf;

use lexopt::{Arg, Parser, prelude::*};

use super::{Asked, Command, page};
use crate::name::SecretName;

/// For whom a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// People.
    Table,
    /// Spreadsheets.
    Csv,
    /// Programs.
    Json,
}

/// Reads what follows `policy`, and `--config` into `config`.
pub fn policy(parser: &mut Parser, config: &mut PathBuf) -> Result<Asked, lexopt::Error> {
    let command = match parser.next()? {
        Some(Value(name)) => name.string()?,
        Some(Long("help") | Short('h')) => return Ok(page("policy")),
        Some(other) => return Err(other.unexpected()),
        None => return Err("policy needs one of explain, grants and test".into()),
    };
    let mut given = Given::default();
    while let Some(argument) = parser.next()? {
        match (command.as_str(), argument) {
            (_, Long("help") | Short('h')) => return Ok(page(&format!("policy {command}"))),
            (_, Long("config") | Short('c')) => *config = parser.value()?.into(),
            ("explain", Long("token")) => given.token = Some(parser.value()?.into()),
            ("explain", Long("spec")) => given.spec = Some(parser.value()?.into()),
            ("grants", Long("secret")) => given.secret = Some(secret(parser)?),
            ("grants", Long("csv")) => given.form(Form::Csv)?,
            ("explain" | "grants", Long("json")) => given.form(Form::Json)?,
            ("test", Value(file)) => given.files.push(file.into()),
            (_, other) => return Err(unexpected(&command, other)),
        }
    }
    given.command(&command).map(Asked::from)
}

/// Reads what follows `doctor`, likewise.
pub fn doctor(parser: &mut Parser, config: &mut PathBuf) -> Result<Asked, lexopt::Error> {
    let mut json = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(page("doctor")),
            Long("config") | Short('c') => *config = parser.value()?.into(),
            Long("json") => json = true,
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Doctor { json }.into())
}

#[derive(Default)]
struct Given {
    token: Option<PathBuf>,
    spec: Option<PathBuf>,
    secret: Option<SecretName>,
    form: Option<Form>,
    files: Vec<PathBuf>,
}

impl Given {
    fn form(&mut self, form: Form) -> Result<(), lexopt::Error> {
        match self.form.replace(form) {
            Some(other) if other != form => Err("--csv and --json exclude each other".into()),
            _ => Ok(()),
        }
    }

    fn command(self, name: &str) -> Result<Command, lexopt::Error> {
        match name {
            "explain" => Ok(Command::Explain {
                token: self.token.ok_or("policy explain needs --token FILE")?,
                spec: self.spec.ok_or("policy explain needs --spec FILE")?,
                json: self.form.is_some(),
            }),
            "grants" => Ok(Command::Grants {
                secret: self.secret,
                form: self.form.unwrap_or(Form::Table),
            }),
            "test" if self.files.is_empty() => Err("policy test needs a file with cases".into()),
            "test" => Ok(Command::Test { files: self.files }),
            other => Err(no_command(other)),
        }
    }
}

fn secret(parser: &mut Parser) -> Result<SecretName, lexopt::Error> {
    let name = parser.value()?.string()?;
    SecretName::parse(&name).map_err(|error| format!("--secret: {name:?} {error}").into())
}

/// A command that there is not says more than that its first option is unexpected.
fn unexpected(command: &str, argument: Arg<'_>) -> lexopt::Error {
    match command {
        "explain" | "grants" | "test" => argument.unexpected(),
        other => no_command(other),
    }
}

fn no_command(name: &str) -> lexopt::Error {
    format!("there is no command \"policy {}\"", name.escape_debug()).into()
}
