//! Runs a command with the secrets in its environment, hands signals on to it, and reports its end
//! as a shell would. Signals are taken over before anything is retrieved, so that none can end the
//! client between writing files and deleting them.

use std::{
    ffi::{OsStr, OsString},
    future::poll_fn,
    io,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::ExitStatus,
    task::Poll,
};

use rustix::process::{Pid, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{Signal, SignalKind, signal},
};

use super::{environment::Environment, error::Error, retrieval::Retrieval, shell};

/// What ends or steers a process, and what runners and people send.
const FORWARDED: [rustix::process::Signal; 6] = [
    rustix::process::Signal::HUP,
    rustix::process::Signal::INT,
    rustix::process::Signal::QUIT,
    rustix::process::Signal::TERM,
    rustix::process::Signal::USR1,
    rustix::process::Signal::USR2,
];

/// The signals that come for the command.
#[derive(Debug)]
pub(super) struct Signals(Vec<(rustix::process::Signal, Signal)>);

/// How a command ended that never ran.
#[derive(Debug)]
pub(super) struct NotRun {
    /// 127 when there is none of that name, 126 otherwise.
    pub(super) status: u8,
    pub(super) problem: String,
}

impl Signals {
    /// From now on these signals no longer end this process.
    pub(super) fn take_over() -> io::Result<Self> {
        let streams = FORWARDED.map(|kind| {
            let stream = signal(SignalKind::from_raw(kind.as_raw()))?;
            Ok((kind, stream))
        });
        Ok(Self(streams.into_iter().collect::<io::Result<_>>()?))
    }

    /// The next signal that comes.
    pub(super) async fn next(&mut self) -> rustix::process::Signal {
        poll_fn(|context| {
            for (kind, stream) in &mut self.0 {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(*kind);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// Runs a command to its end and gives its exit status.
pub(super) async fn run(
    command: &[OsString],
    environment: &Environment,
    retrieval: Option<&Retrieval>,
    signals: &mut Signals,
) -> Result<Result<u8, NotRun>, Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Usage {
            problem: "exec needs a command".into(),
        });
    };
    let mut process = Command::new(program);
    process.args(arguments).env_clear().envs(environment.iter());
    for (variable, given) in retrieval.into_iter().flat_map(Retrieval::variables) {
        let value = shell::value(variable, given)?;
        process.env(variable.as_str(), OsStr::from_bytes(value));
    }
    let ended = match process.spawn() {
        Ok(child) => wait(child, signals).await,
        Err(error) => Err(error),
    };
    Ok(ended.map(status).map_err(|error| not_run(program, &error)))
}

async fn wait(mut child: Child, signals: &mut Signals) -> io::Result<ExitStatus> {
    loop {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        tokio::select! {
            biased;
            ended = child.wait() => return ended,
            signal = signals.next() => if let Some(pid) = pid.and_then(Pid::from_raw) {
                // It fails when the command has just ended, which the next turn finds out.
                let _ = kill_process(pid, signal);
            },
        }
    }
}

/// The status that a shell has in `$?`.
fn status(ended: ExitStatus) -> u8 {
    let signal = ended.signal().map(|signal| 128 + signal);
    let status = ended.code().or(signal).unwrap_or_default();
    u8::try_from(status).unwrap_or(u8::MAX)
}

/// The status that a shell has for a process which this signal ended.
pub(super) fn status_after(signal: rustix::process::Signal) -> u8 {
    u8::try_from(128 + signal.as_raw()).unwrap_or(u8::MAX)
}

fn not_run(program: &OsStr, error: &io::Error) -> NotRun {
    let missing = error.kind() == io::ErrorKind::NotFound;
    NotRun {
        status: if missing { 127 } else { 126 },
        problem: format!("cannot run {}: {error}", program.display()),
    }
}
