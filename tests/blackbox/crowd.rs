//! Many callers: users of the host that the test is not, and more work than a test does. Full counts
//! take `RUNNER_SECRETS_FULL=1`, else there is a tenth of them.

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{process::Uid, thread::set_thread_uid};

use crate::call::{Ask, Caller, Refusal};

/// `full` with `RUNNER_SECRETS_FULL=1`, else a tenth.
pub(crate) fn scaled(full: usize) -> usize {
    if is_full() { full } else { full / 10 }
}

pub(crate) fn is_full() -> bool {
    std::env::var_os("RUNNER_SECRETS_FULL").is_some_and(|full| full == "1")
}

/// A connection of another user: a thread of ours is that user while it connects.
pub(crate) async fn connect_as(uid: u32, socket: PathBuf) -> Caller {
    let connecting = std::thread::spawn(move || {
        set_thread_uid(Uid::from_raw(uid)).unwrap();
        UnixStream::connect(socket).unwrap()
    });
    let stream = tokio::task::spawn_blocking(|| connecting.join().unwrap()).await;
    Caller::over(stream.unwrap()).await
}

/// How long it takes.
pub(crate) async fn timed(caller: &Caller, ask: Ask) -> (Result<(), Refusal>, Duration) {
    let since = Instant::now();
    let outcome = caller.resolve(ask).await.map(|_| ());
    (outcome, since.elapsed())
}

/// The 99th of a hundred.
pub(crate) fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The open files of a process.
pub(crate) fn open_files(pid: i32) -> usize {
    crate::daemon::names(Path::new(&format!("/proc/{pid}/fd"))).len()
}
