//! What each command says of itself, and how shells complete it: texts that are written by hand, and
//! held to the commands and options that there are by `tests/cli/help.rs`.

use lexopt::{Parser, prelude::*};

use super::Command;

/// What is asked for on the command line.
#[derive(Debug)]
pub enum Asked {
    /// To print this.
    Text(&'static str),
    /// To do this.
    Command(Box<Command>),
}

impl From<Command> for Asked {
    fn from(command: Command) -> Self {
        Self::Command(Box::new(command))
    }
}

/// The page of a command. That of what is above where there is none: a command that is not there
/// is said to be so when it is run.
#[must_use]
pub fn page(command: &str) -> Asked {
    Asked::Text(match command {
        "audit" => include_str!("help/audit.txt"),
        "audit export" => include_str!("help/audit-export.txt"),
        "audit query" => include_str!("help/audit-query.txt"),
        "audit verify" => include_str!("help/audit-verify.txt"),
        "check-config" => include_str!("help/check-config.txt"),
        "completions" => include_str!("help/completions.txt"),
        "doctor" => include_str!("help/doctor.txt"),
        "policy" => include_str!("help/policy.txt"),
        "policy explain" => include_str!("help/policy-explain.txt"),
        "policy grants" => include_str!("help/policy-grants.txt"),
        "policy test" => include_str!("help/policy-test.txt"),
        "serve" => include_str!("help/serve.txt"),
        "setup" => include_str!("help/setup.txt"),
        other => match other.rsplit_once(' ') {
            Some((above, _)) => return page(above),
            None => include_str!("help/top.txt"),
        },
    })
}

/// Reads what follows `completions`: the name of a shell.
pub fn completions(parser: &mut Parser) -> Result<Asked, lexopt::Error> {
    let script = match parser.next()? {
        Some(Value(shell)) => match shell.to_string_lossy().as_ref() {
            "bash" => include_str!("../../deploy/completions/runner-secrets.bash"),
            "fish" => include_str!("../../deploy/completions/runner-secrets.fish"),
            "zsh" => include_str!("../../deploy/completions/_runner-secrets"),
            other => return Err(format!("there is nothing for the shell {other:?}").into()),
        },
        Some(Long("help") | Short('h')) => return Ok(page("completions")),
        Some(other) => return Err(other.unexpected()),
        None => return Err("completions needs one of bash, zsh and fish".into()),
    };
    match parser.next()? {
        None => Ok(Asked::Text(script)),
        Some(Long("help") | Short('h')) => Ok(page("completions")),
        Some(other) => Err(other.unexpected()),
    }
}
