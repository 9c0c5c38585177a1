//! The command line. No secret, token or spec is ever an argument: every process of the machine
//! can read those.

use std::ffi::OsString;

use lexopt::prelude::*;

use super::error::Error;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command {
    Doctor { json: bool },
    Env,
    Exec(Vec<OsString>),
    Explain { json: bool },
    Get(String),
    Help,
    Release(Option<String>),
    Version,
}

pub(super) const HELP: &str = include_str!("help.txt");

/// Reads the arguments after the program's name.
pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let first = parser.next().map_err(|error| usage(&error))?;
    let command = match first {
        None => return Err(wrong("a command is missing".to_owned())),
        Some(Short('h') | Long("help")) => Command::Help,
        Some(Short('V') | Long("version")) => Command::Version,
        Some(Value(name)) => match name.to_string_lossy().as_ref() {
            "env" => Command::Env,
            "exec" => return exec(parser),
            form @ ("doctor" | "explain") => {
                let json = match parser.next().map_err(|error| usage(&error))? {
                    Some(Long("json")) => true,
                    Some(other) => return help_or_wrong(other),
                    None => false,
                };
                match form {
                    "doctor" => Command::Doctor { json },
                    _ => Command::Explain { json },
                }
            }
            "get" => match parser.next().map_err(|error| usage(&error))? {
                Some(Value(name)) => Command::Get(text(&name)?),
                Some(other) => return help_or_wrong(other),
                None => return Err(wrong("get needs the name of a variable".to_owned())),
            },
            "release" => match parser.next().map_err(|error| usage(&error))? {
                Some(Value(lease)) => Command::Release(Some(text(&lease)?)),
                Some(other) => return help_or_wrong(other),
                None => Command::Release(None),
            },
            other => return Err(wrong(format!("there is no command `{other}`"))),
        },
        Some(other) => return Err(usage(&other.unexpected())),
    };
    match parser.next().map_err(|error| usage(&error))? {
        None => Ok(command),
        Some(argument) => help_or_wrong(argument),
    }
}

/// `--help` after a command, or an argument too many.
fn help_or_wrong(argument: lexopt::Arg<'_>) -> Result<Command, Error> {
    match argument {
        Short('h') | Long("help") => Ok(Command::Help),
        other => Err(usage(&other.unexpected())),
    }
}

/// Everything after `exec`, with or without `--`, is the command's.
fn exec(mut parser: lexopt::Parser) -> Result<Command, Error> {
    match parser.next().map_err(|error| usage(&error))? {
        Some(Value(program)) => {
            let rest = parser.raw_args().map_err(|error| usage(&error))?;
            Ok(Command::Exec(
                std::iter::once(program).chain(rest).collect(),
            ))
        }
        Some(Short('h') | Long("help")) => Ok(Command::Help),
        Some(other) => Err(usage(&other.unexpected())),
        None => Err(wrong("exec needs a command: exec -- COMMAND".to_owned())),
    }
}

fn text(argument: &OsString) -> Result<String, Error> {
    match argument.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(wrong("an argument is not UTF-8".to_owned())),
    }
}

fn usage(error: &lexopt::Error) -> Error {
    wrong(error.to_string())
}

fn wrong(problem: String) -> Error {
    Error::Usage { problem }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::{Command, parse};

    fn parsed(line: &str) -> Option<Command> {
        parse(line.split_whitespace().map(OsString::from)).ok()
    }

    #[test]
    fn commands_and_their_arguments_are_told_apart() {
        let exec = |words: &[&str]| Command::Exec(words.iter().map(OsString::from).collect());
        for (line, expected) in [
            ("env", Some(Command::Env)),
            ("explain", Some(Command::Explain { json: false })),
            ("explain --json", Some(Command::Explain { json: true })),
            ("explain --help", Some(Command::Help)),
            ("doctor", Some(Command::Doctor { json: false })),
            ("doctor --json", Some(Command::Doctor { json: true })),
            ("doctor A", None),
            ("explain A", None),
            ("explain --json --json", None),
            ("explain --json=yes", None),
            ("get A", Some(Command::Get("A".into()))),
            ("release", Some(Command::Release(None))),
            ("release x1", Some(Command::Release(Some("x1".into())))),
            ("exec -- sh -c x", Some(exec(&["sh", "-c", "x"]))),
            ("exec sh -- -c", Some(exec(&["sh", "--", "-c"]))),
            ("exec -- -x", Some(exec(&["-x"]))),
            ("exec -- env --help", Some(exec(&["env", "--help"]))),
            ("--help", Some(Command::Help)),
            ("env --help", Some(Command::Help)),
            ("get -h", Some(Command::Help)),
            ("exec --help", Some(Command::Help)),
            ("-V", Some(Command::Version)),
            ("", None),
            ("env x", None),
            ("env --socket x", None),
            ("get", None),
            ("get A B", None),
            ("release a b", None),
            ("exec", None),
            ("exec -x", None),
            ("show", None),
            ("--verbose", None),
        ] {
            assert_eq!(parsed(line), expected, "{line}");
        }
    }
}
