//! The emulator as a program: one JSON line when ready, then until SIGTERM or SIGINT.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use azure_emulator::{Options, State};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
Usage: azure-emulator serve [--state FILE] [--port N]

Serves a GitLab issuer, Microsoft Entra ID and Azure Key Vault on loopback. Prints one JSON line
when ready and runs until SIGTERM or SIGINT.

  --state FILE  what exists at start (JSON); default: one tenant, application and vault
  --port N      port of the TLS listener; default: any
  --help        print this
";

/// What went wrong before or while serving.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\n\n{USAGE}")]
    Arguments(#[from] lexopt::Error),
    #[error(transparent)]
    Emulator(#[from] azure_emulator::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What the arguments ask for.
enum Command {
    Help,
    Serve { state: Option<PathBuf>, port: u16 },
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Without standard error there is nobody to tell.
            drop(writeln!(std::io::stderr(), "azure-emulator: {failure}"));
            match failure {
                Failure::Arguments(_) => ExitCode::from(64),
                Failure::Emulator(_) | Failure::Io(_) => ExitCode::FAILURE,
            }
        }
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Failure> {
    use lexopt::prelude::*;
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut command, mut state, mut port) = (None, None, 0);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("state") => state = Some(parser.value()?.into()),
            Long("port") => port = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(word) if command.is_none() && word == "serve" => command = Some(()),
            other => return Err(other.unexpected().into()),
        }
    }
    let () = command.ok_or(lexopt::Error::from("the command is missing"))?;
    Ok(Command::Serve { state, port })
}

fn run(command: Command) -> Result<(), Failure> {
    let Command::Serve { state, port } = command else {
        return Ok(write!(std::io::stdout(), "{USAGE}")?);
    };
    let state = state.as_deref().map(State::read).transpose()?;
    let mut options = Options::default();
    options.port = port;
    options.state = state;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(options))
}

async fn serve(options: Options) -> Result<(), Failure> {
    // Before the line, so that a signal right after it is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let emulator = azure_emulator::start(options).await?;
    let line = serde_json::to_string(emulator.ready()).map_err(std::io::Error::from)?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    emulator.stop().await;
    Ok(())
}
