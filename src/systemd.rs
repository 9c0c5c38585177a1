//! What a service manager is told (`sd_notify(3)`): that the daemon serves, reloads or stops, and
//! again and again that it is alive. Where there is none, as in a container, nobody is told.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::task::JoinSet;

/// Every listener is served. `status` is one line for people.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The configuration is being read again; [`ready`] ends it. The time lets the manager tell the
/// answer to this reload from that to an earlier one (`Type=notify-reload`).
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => untold(&error),
    }
}

/// No more requests are taken, and those that are running end within `most`: the manager waits as
/// long, whatever its own `TimeoutStopSec=` is.
pub fn stopping(most: Duration) {
    let most = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: letting requests end"),
        NotifyState::ExtendTimeoutUsec(most),
    ]);
}

/// Says that the daemon is alive, twice in the time after which the manager gives it up
/// (`WatchdogSec=`), until what this gives is dropped. Each time it is a new task that says so:
/// where none is run any more, nothing is said, and the daemon is started again.
pub fn watchdog() -> JoinSet<()> {
    let mut watching = JoinSet::new();
    if let Some(most) = sd_notify::watchdog_enabled() {
        watching.spawn(async move {
            let mut due = tokio::time::interval(most / 2);
            loop {
                due.tick().await;
                drop(tokio::spawn(async { tell(&[NotifyState::Watchdog]) }).await);
            }
        });
    }
    watching
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        untold(&error);
    }
}

/// It will think the daemon dead, and end it: the log should say why.
fn untold(error: &io::Error) {
    tracing::warn!(%error, "the service manager cannot be told how the daemon is (NOTIFY_SOCKET)");
}
