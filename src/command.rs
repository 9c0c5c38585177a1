//! What `runner-secretsd` does besides serving: checks its configuration, and answers the
//! operator's questions on the policy. A command reads files, writes to the streams that it is
//! given and ends with a status; it changes nothing. Whatever it prints of a token, a rule or a
//! file is made harmless first, and no token's text is ever among it.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use runner_secrets_proto::Reason;

use crate::{
    audit::{export, key},
    client,
    config::{self, Config},
    policy::Policy,
    screen::escaped,
    token,
};

mod arguments;
mod audit;
mod cases;
mod csv;
mod doctor;
mod explain;
mod grants;
mod help;
mod presented;
mod setup;
mod table;
#[cfg(test)]
mod tests;

pub use arguments::{Form, doctor, policy};
pub use audit::{Audit, Export, Query, Verify, audit};
pub use help::{Asked, completions, page};
pub use setup::{Problem, Wishes, arguments as setup};

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// `audit …`
    Audit(Audit),
    /// `check-config`
    CheckConfig,
    /// `doctor`
    Doctor {
        /// Whether a machine reads the answer.
        json: bool,
    },
    /// `policy explain`
    Explain {
        /// The file with the job's ID token.
        token: PathBuf,
        /// The file with what the job asks for.
        spec: PathBuf,
        /// Whether a machine reads the answer.
        json: bool,
    },
    /// `policy grants`
    Grants {
        /// Only who could read this one.
        secret: Option<crate::name::SecretName>,
        /// For whom the report is.
        form: Form,
    },
    /// `setup azure`
    Setup(Wishes),
    /// `policy test`
    Test {
        /// The files with the cases.
        files: Vec<PathBuf>,
    },
}

/// Where a command writes.
pub struct Streams<'a> {
    /// The answer.
    pub stdout: &'a mut dyn Write,
    /// What went wrong.
    pub stderr: &'a mut dyn Write,
    /// Whether standard output is a screen that shows colours.
    pub colour: bool,
    /// Whether standard error is a screen that somebody waits at.
    pub watched: bool,
}

impl std::fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams<'_> {
    fn print(&mut self, text: &str) -> Result<(), Error> {
        let written = self.stdout.write_all(text.as_bytes());
        written
            .and_then(|()| self.stdout.flush())
            .map_err(Error::Output)
    }

    fn complain(&mut self, line: &str) {
        complain(self.stderr, line);
    }

    /// A question, which the answer follows on its line.
    fn ask(&mut self, question: &str) {
        drop(write!(self.stderr, "{question}: "));
    }
}

/// A line for people on what is wrong.
pub fn complain(stderr: &mut dyn Write, line: &str) {
    // Nothing is left to tell it to when standard error is closed.
    drop(writeln!(stderr, "runner-secretsd: {}", escaped(line)));
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Asked(#[from] crate::error::Error),
    #[error("wrong cases:")]
    Cases(Vec<String>),
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error(transparent)]
    Export(#[from] export::Error),
    #[error("{}: {problem}", path.display())]
    Kept { path: PathBuf, problem: String },
    #[error(transparent)]
    Key(#[from] key::Error),
    #[error("audit.file is false, so the daemon keeps no files; name those that you mean")]
    NoTrail,
    #[error("{}: {error}", path.display())]
    NoToken { path: PathBuf, error: token::Error },
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    #[error("{0}; see runner-secretsd --help")]
    Setup(Problem),
    #[error(transparent)]
    Spec(#[from] client::Error),
    #[error("{}: the file with the token cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

impl Error {
    fn exit(&self) -> u8 {
        match self {
            Self::Asked(_)
            | Self::Kept { .. }
            | Self::Key(_)
            | Self::NoTrail
            | Self::Setup(_)
            | Self::Unreadable { .. } => Reason::RequestInvalid.exit(),
            Self::Cases(_) | Self::Config(_) => Reason::ConfigInvalid.exit(),
            Self::NoToken { .. } => Reason::TokenInvalid.exit(),
            Self::Export(error) => audit::exit(error),
            Self::Output(_) => 1,
            Self::Spec(error) => error.exit(),
        }
    }

    /// One line each.
    fn details(&self) -> Vec<String> {
        match self {
            Self::Cases(problems) => problems.clone(),
            Self::Config(error) => error.problems().iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }
    }

    fn report(&self, stderr: &mut dyn Write) {
        complain(stderr, &self.to_string());
        for line in self.details() {
            complain(stderr, &format!("  {line}"));
        }
    }
}

/// The checked configuration, or the exit status after every mistake was reported.
pub fn load(path: &Path, stderr: &mut dyn Write) -> Result<Config, u8> {
    Config::load(path).map_err(|error| {
        let error = Error::from(error);
        error.report(stderr);
        error.exit()
    })
}

/// Runs a command with the configuration at `path` and gives its exit status. Needs a tokio
/// runtime.
pub async fn run(command: &Command, path: &Path, streams: &mut Streams<'_>) -> u8 {
    match answer(command, path, streams).await {
        Ok(status) => status,
        Err(error) => {
            error.report(streams.stderr);
            error.exit()
        }
    }
}

async fn answer(command: &Command, path: &Path, streams: &mut Streams<'_>) -> Result<u8, Error> {
    let config = || Config::load(path);
    match command {
        Command::Audit(audit) => audit::run(audit, path, streams),
        Command::CheckConfig => {
            config()?;
            let line = format!("{}: no mistakes\n", path.display());
            streams.print(&line).map(|()| 0)
        }
        Command::Doctor { json } => doctor::examine(path, *json, streams).await,
        Command::Explain { token, spec, json } => {
            explain::explain(&config()?, token, spec, *json, streams).await
        }
        Command::Grants { secret, form } => {
            grants::grants(&config()?, secret.as_ref(), *form, streams)
        }
        Command::Setup(wishes) => setup::print(wishes, &mut io::stdin().lock(), streams),
        Command::Test { files } => cases::test(&config()?, files, streams),
    }
}

fn policy_of(config: &Config) -> Policy {
    Policy::new(config.rules.clone(), config.defaults.clone())
}
