//! What a service manager is told (`sd_notify(3)`): that the daemon serves, reloads or stops, and
//! again and again that it is alive. Where there is none, as in a container, nobody is told.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// A manager that has much to do reads within milliseconds. One that hangs holds nothing up for
/// longer: without a bound, the daemon would wait for it with its requests, and at its end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Every listener is served. `status` is one line for people.
pub fn ready(status: &str) {
    tell(&format!("READY=1\nSTATUS={status}\n"));
}

/// The configuration is being read again; [`ready`] ends it. The time lets the manager tell the
/// answer to this reload from that to an earlier one (`Type=notify-reload`).
pub fn reloading() {
    let now = clock_gettime(ClockId::Monotonic);
    let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\n"));
}

/// No more requests are taken, and those that are running end within `most`: the manager waits as
/// long, whatever its own `TimeoutStopSec=` is.
pub fn stopping(most: Duration) {
    let most = most.as_micros();
    tell(&format!(
        "STOPPING=1\nSTATUS=stopping: letting requests end\nEXTEND_TIMEOUT_USEC={most}\n"
    ));
}

/// Says that the daemon is alive, twice in the time after which the manager gives it up
/// (`WatchdogSec=`), for as long as it is polled. Each time it is a new task that says so: where none
/// is run any more, nothing is said, and the daemon is started again.
pub async fn watchdog() {
    if let Some(most) = given_up_after() {
        let mut due = tokio::time::interval(most / 2);
        loop {
            due.tick().await;
            drop(tokio::spawn(async { tell("WATCHDOG=1\n") }).await);
        }
    }
}

/// What the manager says of its watchdog, where it means this process.
fn given_up_after() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    let for_another = env::var_os("WATCHDOG_PID").is_some()
        && number("WATCHDOG_PID") != Some(u64::from(std::process::id()));
    let microseconds = number("WATCHDOG_USEC").filter(|most| *most > 0)?;
    (!for_another).then(|| Duration::from_micros(microseconds))
}

fn tell(state: &str) {
    let Some(manager) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    // It will think the daemon dead, and end it: the log should say why.
    if let Err(error) = send(&manager, state) {
        tracing::warn!(%error, "the service manager cannot be told how the daemon is (NOTIFY_SOCKET)");
    }
}

fn send(manager: &OsStr, state: &str) -> io::Result<()> {
    let address = match manager.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(manager)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}
