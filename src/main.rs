//! `runner-secretsd`: arguments, configuration, run, exit status.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use runner_secrets::{
    config::{self, Config},
    log,
    run::Daemon,
};
use runner_secrets_proto::Reason;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Gives GitLab CI jobs their Azure Key Vault secrets.

Usage: runner-secretsd COMMAND [--config FILE]

Commands:
  serve         Serve until SIGTERM or SIGINT
  check-config  Report every mistake in the configuration, and exit with 78 if there is one

Options:
  --config FILE  The configuration [default: /etc/runner-secrets/config.toml]
  --help         Show this help
  --version      Show the version

Exit status: 0 stopped in order; 1 could not start, or cut off requests when stopping;
64 wrong arguments; 78 wrong configuration.
";

/// sysexits.h: wrong arguments.
const USAGE: u8 = 64;

enum Command {
    Serve(PathBuf),
    CheckConfig(PathBuf),
    Print(String),
}

fn main() -> ExitCode {
    let done = match arguments() {
        Ok(Command::Print(text)) => io::stdout().write_all(text.as_bytes()).map_err(|_| 1),
        Ok(Command::Serve(path)) => load(&path).and_then(serve),
        Ok(Command::CheckConfig(path)) => load(&path).and_then(|_| {
            let line = format!("{}: no mistakes\n", path.display());
            io::stdout().write_all(line.as_bytes()).map_err(|_| 1)
        }),
        Err(error) => {
            complain(&format!("{error}; see runner-secretsd --help"));
            Err(USAGE)
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

fn arguments() -> Result<Command, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};

    let mut command = None;
    let mut path = PathBuf::from("/etc/runner-secrets/config.toml");
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Command::Print(HELP.to_owned())),
            Long("version") | Short('V') => {
                let version = concat!("runner-secretsd ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Command::Print(version.to_owned()));
            }
            Long("config") | Short('c') => path = arguments.value()?.into(),
            Value(name) if command.is_none() => command = Some(name.string()?),
            other => return Err(other.unexpected()),
        }
    }
    match command.as_deref() {
        Some("serve") => Ok(Command::Serve(path)),
        Some("check-config") => Ok(Command::CheckConfig(path)),
        Some(other) => Err(format!("there is no command {other:?}").into()),
        None => Err("a command is missing".into()),
    }
}

/// The checked configuration, or the exit status after every mistake was reported.
fn load(path: &std::path::Path) -> Result<Config, u8> {
    Config::load(path).map_err(|error| {
        complain(&error.to_string());
        if let config::Error::Wrong { problems, .. } = error {
            for problem in problems {
                complain(&format!("  {problem}"));
            }
        }
        Reason::ConfigInvalid.exit()
    })
}

fn serve(config: Config) -> Result<(), u8> {
    log::start(&config.log);
    config.log_effective();
    let failed = |error: &dyn std::error::Error| {
        tracing::error!("{error}");
        1
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let stop = stop().map_err(|error| failed(&error))?;
        let daemon = Daemon::bind(config).map_err(|error| failed(&error))?;
        daemon.serve(stop).await.map_err(|error| failed(&error))
    })
}

/// Ends at the first SIGTERM or SIGINT.
fn stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// For people at a terminal, before there is a log.
fn complain(line: &str) {
    // Nothing is left to tell it to when standard error is closed.
    drop(writeln!(io::stderr(), "runner-secretsd: {line}"));
}
