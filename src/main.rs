//! `runner-secretsd`: arguments, configuration, run, exit status.

use std::{
    borrow::Cow,
    env,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use runner_secrets::{
    command::{self, Asked, Command, Streams},
    config::Config,
    dump, log,
    run::{Daemon, Reloading},
    systemd,
};
use tokio::{
    runtime::{self, Runtime},
    signal::unix::{SignalKind, signal},
};

/// Against glibc's it saves a sixth of the processor time, and gives memory back after a rush. The
/// static program would have musl's, which is made to be small.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// sysexits.h: wrong arguments.
const USAGE: u8 = 64;

enum Wish {
    Serve,
    Command(Box<Command>),
    Print(Cow<'static, str>),
}

impl From<Asked> for Wish {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Text(text) => Self::Print(text.into()),
            Asked::Command(command) => Self::Command(command),
        }
    }
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

    let mut command: Option<String> = None;
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("help") | Short('h') => {
                return Ok(command::page(&command.unwrap_or_default()).into());
            }
            Long("version") | Short('V') => return Ok(Wish::Print(version())),
            Long("config") | Short('c') => *path = arguments.value()?.into(),
            Value(name) if command.is_none() => {
                let name = name.string()?;
                let asked = match name.as_str() {
                    "audit" => command::audit(&mut arguments, path)?,
                    "completions" => command::completions(&mut arguments)?,
                    "doctor" => command::doctor(&mut arguments, path)?,
                    "policy" => command::policy(&mut arguments, path)?,
                    "setup" => command::setup(&mut arguments)?,
                    _ => {
                        command = Some(name);
                        continue;
                    }
                };
                return Ok(asked.into());
            }
            other => return Err(other.unexpected()),
        }
    }
    match command.as_deref() {
        Some("serve") => Ok(Wish::Serve),
        Some("check-config") => Ok(Asked::from(Command::CheckConfig).into()),
        Some(other) => Err(format!("there is no command {other:?}").into()),
        None => Err("a command is missing".into()),
    }
}

/// With the commit, where whoever built it said so.
fn version() -> Cow<'static, str> {
    const VERSION: &str = concat!("runner-secretsd ", env!("CARGO_PKG_VERSION"));
    match option_env!("RUNNER_SECRETS_COMMIT") {
        Some(commit) => format!("{VERSION} ({commit})\n").into(),
        None => format!("{VERSION}\n").into(),
    }
}

fn answer(command: &Command, path: &Path) -> Result<(), u8> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
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
    let runtime = runtime(&config).map_err(|error| failed(&error))?;
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

/// One thread for jobs that ask over sockets: it does more than ten vaults allow, and work that goes
/// from thread to thread costs a sixth more. Callers over the network bring TLS and artifacts, for
/// which there is a thread for each core. The audit trail has its own in any case.
fn runtime(config: &Config) -> io::Result<Runtime> {
    let mut builder = if config.gateways.is_empty() && config.addresses.is_empty() {
        runtime::Builder::new_current_thread()
    } else {
        runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()
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
