//! `runner-secretsd`: arguments, configuration, run, exit status.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use runner_secrets::{
    command::{self, Command, Streams},
    config::Config,
    dump, log,
    run::{Daemon, Reloading},
    systemd,
};
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
Gives GitLab CI jobs their Azure Key Vault secrets.

Usage: runner-secretsd COMMAND [--config FILE]

Commands:
  serve         Serve until SIGTERM or SIGINT; SIGHUP reloads the policy
  check-config  Report every mistake in the configuration, and exit with 78 if there is one
  doctor [--json]
                Go through everything that has to be right, on this host and on the way to GitLab
                and Azure, with what to change; exit with 1 if anything is wrong
  policy explain --token FILE --spec FILE [--json]
                Say what the job with this ID token gets of these secrets, rule by rule
  policy grants [--secret NAME] [--csv | --json]
                List who could read what
  policy test FILE...
                Run the cases of these files against the policy
  setup azure [--gitlab URL] [--project PATH... | --group PATH] [--branch NAME...] [--tag NAME...]
              [--environment NAME...] [--protected] [--vault NAME] [--secret NAME...] [--name NAME]
              [--audience TEXT] [--managed-identity RESOURCE_GROUP] [--format az | terraform]
                Print what to create in Azure, and the rule and the job that go with it; asks for
                what is missing, and changes nothing
  audit verify [--public-key FILE] [--head SEQ:HASH] [--from-checkpoint FILE] [--json] [FILE...]
                Say whether an audit trail is whole, and where it is not. FILEs are its files
                or their directories; without any, those of the configuration
  audit query [--since T] [--until T] [--project P] [--vault V] [--secret S] [--user U]
              [--reason R] [--request ID] [--csv | --json] [FILE...]
                Say who read which secret, from which project and ref, and when
  audit export [--since T] [--until T] [--public-key FILE] --output DIRECTORY [FILE...]
                Pack a period of the trail with all that it takes to check it

Options:
  --config FILE  The configuration [default: /etc/runner-secrets/config.toml]
  --help         Show this help
  --version      Show the version

Exit status: 0 stopped in order, or the answer is yes; 1 could not start, cut off requests when
stopping, a case failed, or a trail is not whole; 64 wrong arguments; 65 no ID token; 66 files of a
trail cannot be read; 77 not all is granted; 78 wrong configuration or cases.
";

/// sysexits.h: wrong arguments.
const USAGE: u8 = 64;

enum Wish {
    Serve,
    Command(Box<Command>),
    Print(String),
}

fn wish(command: Command) -> Wish {
    Wish::Command(Box::new(command))
}

fn main() -> ExitCode {
    // Before anything is read that could be secret.
    if let Err(error) = dump::forbid_to_all() {
        let line = format!("cannot keep core dumps from being written: {error}");
        command::complain(&mut io::stderr(), &line);
        return ExitCode::FAILURE;
    }
    let mut path = PathBuf::from("/etc/runner-secrets/config.toml");
    let done = match arguments(&mut path) {
        Ok(Wish::Print(text)) => io::stdout().write_all(text.as_bytes()).map_err(|_| 1),
        Ok(Wish::Serve) => {
            command::load(&path, &mut io::stderr()).and_then(|config| serve(config, path))
        }
        Ok(Wish::Command(command)) => answer(&command, &path),
        Err(error) => {
            let line = format!("{error}; see runner-secretsd --help");
            command::complain(&mut io::stderr(), &line);
            Err(USAGE)
        }
    };
    done.map_or_else(ExitCode::from, |()| ExitCode::SUCCESS)
}

fn arguments(path: &mut PathBuf) -> Result<Wish, lexopt::Error> {
    use lexopt::prelude::{Long, Short, Value, ValueExt as _};

    let mut command = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => return Ok(Wish::Print(HELP.to_owned())),
            Long("version") | Short('V') => {
                let version = concat!("runner-secretsd ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Wish::Print(version.to_owned()));
            }
            Long("config") | Short('c') => *path = arguments.value()?.into(),
            Value(name) if command.is_none() && name == "doctor" => {
                let command = command::doctor(&mut arguments, path)?;
                return Ok(command.map_or_else(|| Wish::Print(HELP.to_owned()), wish));
            }
            Value(name) if command.is_none() && name == "setup" => {
                let wishes = command::setup(&mut arguments)?.map(Command::Setup);
                return Ok(wishes.map_or_else(|| Wish::Print(HELP.to_owned()), wish));
            }
            Value(name) if command.is_none() && name == "policy" => {
                let command = command::policy(&mut arguments, path)?;
                return Ok(command.map_or_else(|| Wish::Print(HELP.to_owned()), wish));
            }
            Value(name) if command.is_none() && name == "audit" => {
                let command = command::audit(&mut arguments, path)?;
                return Ok(command.map_or_else(|| Wish::Print(HELP.to_owned()), wish));
            }
            Value(name) if command.is_none() => command = Some(name.string()?),
            other => return Err(other.unexpected()),
        }
    }
    match command.as_deref() {
        Some("serve") => Ok(Wish::Serve),
        Some("check-config") => Ok(wish(Command::CheckConfig)),
        Some(other) => Err(format!("there is no command {other:?}").into()),
        None => Err("a command is missing".into()),
    }
}

fn answer(command: &Command, path: &Path) -> Result<(), u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        command::complain(&mut io::stderr(), &error.to_string());
        1
    })?;
    // https://no-color.org
    let colourless = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let mut streams = Streams {
        colour: io::stdout().is_terminal() && !colourless,
        watched: io::stderr().is_terminal(),
        stdout: &mut io::stdout(),
        stderr: &mut io::stderr(),
    };
    match runtime.block_on(command::run(command, path, &mut streams)) {
        0 => Ok(()),
        status => Err(status),
    }
}

fn serve(config: Config, path: PathBuf) -> Result<(), u8> {
    let level = log::start(&config.log);
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
        let started = config.clone();
        let daemon = Daemon::bind(config).map_err(|error| failed(&error))?;
        let reloading = Reloading::new(&started, daemon.policies(), level);
        let reloading = reload(path, reloading).map_err(|error| failed(&error))?;
        tokio::spawn(reloading);
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

/// Reads the file at `path` again at every SIGHUP.
fn reload(
    path: PathBuf,
    mut reloading: Reloading,
) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            systemd::reloading();
            systemd::ready(&reloading.reload(&path));
        }
    })
}
