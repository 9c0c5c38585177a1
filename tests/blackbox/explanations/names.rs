//! A name service that knows no name, and daemons that ask it and nobody else.

use std::{
    env, fs,
    net::{Ipv4Addr, UdpSocket},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    daemon::{Config, Daemon, PROGRAM, Place},
    stage::{self, Stage},
};

/// Says of every name that there is none, and of names that begin with `failing` that it fails.
pub(super) struct NameServer {
    address: Ipv4Addr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl NameServer {
    /// `None` where this is not root, who alone may have that port and other mounts.
    pub(super) fn start() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(env::var_os("CI").is_none(), "needs root for a name service");
            println!("skipped: needs root for a name service");
            return None;
        }
        // Every resolver asks port 53, and loopback has sixteen million addresses.
        let mut random = [0; 3];
        getrandom::fill(&mut random).unwrap();
        let [a, b, c] = random;
        let address = Ipv4Addr::new(127, a, b, c.clamp(1, 254));
        let socket = UdpSocket::bind((address, 53)).unwrap();
        let short = Duration::from_millis(50);
        socket.set_read_timeout(Some(short)).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut query = [0; 512];
                if let Ok((length, from)) = socket.recv_from(&mut query) {
                    socket.send_to(&answer(&query[..length]), from).unwrap();
                }
            }
        });
        Some(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// A daemon beside an emulator that asks this name service only.
    pub(super) async fn stage(&self, change: impl FnOnce(Config) -> Config) -> Stage {
        let (place, emulator) = (Place::new(), stage::emulator().await);
        let config = stage::config(&place, &emulator);
        let config = change(config.text("log.format", "json"));
        config.write(&place.path("config.toml"));
        let resolv = place.path("resolv.conf");
        let text = format!(
            "nameserver {}\noptions timeout:5 attempts:1\n",
            self.address
        );
        fs::write(&resolv, text).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg("mount --bind \"$1\" /etc/resolv.conf && exec \"$2\" serve --config \"$3\"");
        command.arg("sh").arg(resolv).arg(PROGRAM);
        command.arg(place.path("config.toml"));
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let mut daemon = Daemon::run(command);
        daemon.listens().await;
        Stage {
            daemon,
            emulator,
            place,
        }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// The query as an answer (RFC 1035 §4.1.1): NXDOMAIN, or SERVFAIL.
fn answer(query: &[u8]) -> Vec<u8> {
    let fails = query.windows(8).any(|part| part == b"\x07failing");
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | if fails { 2 } else { 3 };
    answer
}
