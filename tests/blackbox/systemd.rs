//! What systemd is told, and what it keeps for the daemon: readiness, reloads, the watchdog, and the
//! socket that outlives a restart. The service manager is this test: it holds the socket and reads
//! what the daemon says; `tests/packaging` has the real one.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use rustix::process::Signal;
use tokio::{net::UnixDatagram, time::timeout};

use crate::{
    call::{Caller, ask},
    daemon::{Config, Daemon, PATIENCE, Place, serve, until},
    sockets::activated,
    stage::{self, Stage},
};

/// Where the daemon reports to.
struct Manager(UnixDatagram);

impl Manager {
    fn of(place: &Place) -> Self {
        Self(UnixDatagram::bind(place.path("notify")).unwrap())
    }

    /// The next report, but for signs of life.
    async fn told(&self) -> String {
        loop {
            let report = self.any().await;
            if report != "WATCHDOG=1\n" {
                return report;
            }
        }
    }

    async fn any(&self) -> String {
        let mut buffer = [0; 4096];
        let received = timeout(PATIENCE, self.0.recv(&mut buffer)).await;
        let length = received.expect("the daemon tells nothing").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

/// The daemon as a manager starts it.
fn managed(place: &Place) -> Command {
    let mut command = serve(&place.path("config.toml"));
    command.env("NOTIFY_SOCKET", place.path("notify"));
    command
}

#[tokio::test]
async fn the_manager_hears_of_start_reload_and_stop() {
    let place = Place::new();
    let config = Config::of(&place).text("limits.stop_timeout", "7s");
    config.write(&place.path("config.toml"));
    let manager = Manager::of(&place);
    let mut daemon = Daemon::run(managed(&place));
    let ready = manager.told().await;
    let status = ready
        .strip_prefix("READY=1\nSTATUS=serving; policy ")
        .unwrap();
    assert!(status.ends_with(", 0 rules, mode enforce\n"), "{ready}");
    // It is ready when it says so, not some time after.
    Caller::connect(&place.socket()).await;

    let rule = "[[rule]]\nname = \"one\"\nbound_claims = { project_path = \"a/b\" }\n\
                vaults = [\"https://demo.vault.azure.net\"]\nsecrets = [\"*\"]\n";
    config.clone().more(rule).write(&place.path("config.toml"));
    daemon.signal(Signal::HUP);
    let reloading = manager.told().await;
    let since = reloading
        .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
        .unwrap();
    assert!(since.trim_end().parse::<u64>().unwrap() > 0);
    let ready = manager.told().await;
    assert!(ready.contains(", 1 rules, mode enforce\n"), "{ready}");

    config.more("[[rule").write(&place.path("config.toml"));
    daemon.signal(Signal::HUP);
    assert!(manager.told().await.starts_with("RELOADING=1\n"));
    let ready = manager.told().await;
    let refused = ", 1 rules, mode enforce; the last reload was refused, see the log\n";
    assert!(
        ready.starts_with("READY=1\n") && ready.ends_with(refused),
        "{ready}"
    );

    daemon.signal(Signal::TERM);
    let stopping = manager.told().await;
    // The time for requests, for the trail, and some.
    let expected =
        "STOPPING=1\nSTATUS=stopping: letting requests end\nEXTEND_TIMEOUT_USEC=22000000\n";
    assert_eq!(stopping, expected);
    assert_eq!(daemon.ends().await.code(), Some(0), "{}", daemon.log());
}

#[tokio::test]
async fn a_daemon_that_cannot_start_is_never_ready() {
    let place = Place::new();
    let missing = place.path("nowhere/audit.jsonl").display().to_string();
    let config = Config::of(&place).text("audit.path", &missing);
    config.write(&place.path("config.toml"));
    let manager = Manager::of(&place);
    let mut daemon = Daemon::run(managed(&place));
    assert_eq!(daemon.ends().await.code(), Some(1), "{}", daemon.log());
    let told = manager.0.try_recv(&mut [0; 64]);
    assert_eq!(told.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_living_daemon_keeps_the_watchdog_quiet_and_a_stopped_one_does_not() {
    let place = Place::new();
    Config::of(&place).write(&place.path("config.toml"));
    let manager = Manager::of(&place);
    let mut command = managed(&place);
    command.env("WATCHDOG_USEC", "100000");
    let mut daemon = Daemon::run(command);
    assert!(manager.told().await.starts_with("READY=1\n"));
    for _ in 0..5 {
        assert_eq!(manager.any().await, "WATCHDOG=1\n");
    }
    daemon.signal(Signal::STOP);
    // What it had said before is read; then there is silence for many times the interval.
    let silence = std::time::Duration::from_secs(1);
    while timeout(silence, manager.any()).await.is_ok() {}
    daemon.signal(Signal::CONT);
    assert_eq!(manager.any().await, "WATCHDOG=1\n");
    daemon.stop(Signal::TERM).await;
}

/// One that hangs is as good as none: its queue is full after a few signs of life, and the daemon
/// goes on, and ends when it is told to.
#[tokio::test]
async fn a_manager_that_reads_nothing_holds_nothing_up() {
    let place = Place::new();
    Config::of(&place).write(&place.path("config.toml"));
    let _manager = Manager::of(&place);
    let mut command = managed(&place);
    command.env("WATCHDOG_USEC", "2000");
    let mut daemon = Daemon::run(command);
    daemon
        .logs("the service manager cannot be told how the daemon is")
        .await;
    Caller::connect(&place.socket()).await;
    daemon.stop(Signal::TERM).await;
}

/// Containers' managers give one, and a watchdog that is another process's.
#[tokio::test]
async fn an_abstract_address_is_told_and_the_watchdog_of_another_process_is_not() {
    let place = Place::new();
    Config::of(&place).write(&place.path("config.toml"));
    let name = format!("runner-secrets-{}", place.path("x").display());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let manager = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
    manager.set_nonblocking(true).unwrap();
    let manager = Manager(UnixDatagram::from_std(manager).unwrap());
    let mut command = serve(&place.path("config.toml"));
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    command
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    let mut daemon = Daemon::run(command);
    assert!(manager.any().await.starts_with("READY=1\n"));
    daemon.signal(Signal::TERM);
    assert!(manager.any().await.starts_with("STOPPING=1\n"));
    assert_eq!(daemon.ends().await.code(), Some(0), "{}", daemon.log());
}

/// The daemon does its work where its manager cannot be told.
#[tokio::test]
async fn a_manager_that_is_gone_changes_nothing() {
    let place = Place::new();
    Config::of(&place).write(&place.path("config.toml"));
    let mut daemon = Daemon::run(managed(&place));
    daemon.listens().await;
    daemon
        .logs("the service manager cannot be told how the daemon is")
        .await;
    Caller::connect(&place.socket()).await;
    daemon.stop(Signal::TERM).await;
}

/// Jobs that ask without pause, each time over a new connection, until they are told to end.
struct Jobs {
    end: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    running: Vec<tokio::task::JoinHandle<()>>,
}

impl Jobs {
    const COUNT: usize = 8;

    fn start(stage: &Stage) -> Self {
        let (end, answered) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let jobs = (0..Self::COUNT).map(|_| {
            let (end, answered) = (end.clone(), answered.clone());
            let (token, socket) = (stage.token(), stage.place.socket());
            tokio::spawn(async move {
                while !end.load(Ordering::Relaxed) {
                    let caller = Caller::connect(&socket).await;
                    let request = ask(&token).file("A", "db-password");
                    let answer = caller.resolve(request).await.unwrap();
                    // As another process of the job does it.
                    let caller = Caller::connect(&socket).await;
                    caller.release(&answer.lease_id, &token).await.unwrap();
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let running = jobs.collect();
        Self {
            end,
            answered,
            running,
        }
    }

    /// Waits until they have been answered a few times more.
    async fn go_on(&self) {
        let before = self.answered.load(Ordering::Relaxed);
        let answered = || self.answered.load(Ordering::Relaxed) > before + Self::COUNT;
        until("jobs are answered", answered).await;
    }

    async fn end(self) {
        self.end.store(true, Ordering::Relaxed);
        for job in self.running {
            job.await.expect("a job lost its connection or its secrets");
        }
    }
}

/// The manager keeps the socket: who connects while no daemon runs waits for the next one, and
/// whoever the last one accepted is answered by it.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_loses_no_connection() {
    let place = Place::new();
    let emulator = stage::emulator().await;
    let config = stage::config(&place, &emulator).text("files.on_stop", "keep");
    let config = config
        .set("limits.token_rate", 1000)
        .set("limits.caller_rate", 100_000);
    config.write(&place.path("config.toml"));
    std::fs::create_dir(place.path("api")).unwrap();
    let socket = UnixListener::bind(place.socket()).unwrap();
    let held = || socket.try_clone().unwrap();
    let mut daemon = Daemon::run(activated(&place, held()));
    daemon.listens().await;
    let mut stage = Stage {
        daemon,
        emulator,
        place,
    };
    let caller = stage.caller().await;
    let kept = caller.resolve(ask(&stage.token()).file("A", "db-password"));
    let kept = kept.await.unwrap();
    drop(caller);

    let jobs = Jobs::start(&stage);
    for _ in 0..5 {
        jobs.go_on().await;
        stage.daemon.stop(Signal::TERM).await;
        stage.daemon = Daemon::run(activated(&stage.place, held()));
        stage.daemon.listens().await;
    }
    jobs.go_on().await;
    jobs.end().await;

    // Nor did a job lose the files that it had.
    assert_eq!(stage.place.left().len(), 1);
    let caller = stage.caller().await;
    caller
        .release(&kept.lease_id, &stage.token())
        .await
        .unwrap();
    assert!(stage.place.left().is_empty());
    stage.daemon.stop(Signal::TERM).await;
}
