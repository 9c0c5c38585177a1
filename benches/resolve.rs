//! `cargo bench --bench resolve`: how long a job waits for its secrets, in this daemon, the built-in
//! way with the same crates, and at the least that two round trips take. Everything in one run, so
//! that the ratios mean something; the emulator's delay is for each request and does not slow TLS
//! handshakes. With `-- --quick`, little of it, to see that it works.

mod rig;

use std::time::{Duration, Instant};

use self::rig::{
    Options,
    azure::Emulated,
    builtin,
    daemon::{BARE, Daemon, Mode},
    floor::Site,
    median, table,
};

const SECRETS: [u64; 4] = [1, 10, 50, 100];
const DELAYS: [u64; 4] = [0, 5, 20, 50];
const HTTP2: Mode = Mode {
    http2: true,
    ..BARE
};

fn main() {
    rig::run(compare);
}

async fn compare(options: Options) {
    let (delays, times) = if options.quick {
        (&DELAYS[..2], 3)
    } else {
        (&DELAYS[..], 15)
    };
    let mut azure = Emulated::start(100).await;
    let daemons = [
        Daemon::start(&azure.ready, BARE).await,
        Daemon::start(&azure.ready, HTTP2).await,
    ];
    let floors = [
        Site::connect(&azure.ready, false, 100).await,
        Site::connect(&azure.ready, true, 100).await,
    ];
    let mut rows = Vec::new();
    for delay in delays {
        azure.delay(*delay).await;
        for secrets in SECRETS {
            rows.push(row(&mut azure, &daemons, &floors, *delay, secrets, times).await);
        }
    }
    table::print(
        "Wall time of one job, ms (median; every job has a token of its own)",
        &[
            "delay",
            "secrets",
            "cold h1",
            "cold h2",
            "ours h1",
            "ours h2",
            "floor h1",
            "floor h2",
            "built-in",
            "ours/floor",
            "built-in/ours",
            "over N = 1",
        ],
        &rows.iter().map(|row| row.cells(&rows)).collect::<Vec<_>>(),
    );
    println!(
        "\n  delay: of each answer, in ms; TLS handshakes have none. cold: the daemon's first request.\n  floor: one raw POST and then all GETs, by hand, on connections that are there already."
    );
}

/// A line of the table.
struct Row {
    delay: u64,
    secrets: u64,
    cold: [Duration; 2],
    ours: [Duration; 2],
    floors: [Duration; 2],
    builtin: Duration,
}

impl Row {
    fn cells(&self, all: &[Self]) -> Vec<String> {
        let one = all
            .iter()
            .find(|row| row.delay == self.delay && row.secrets == 1);
        // As it is installed: HTTP/1.1.
        let (ours, floor) = (self.ours[0], self.floors[0].min(self.floors[1]));
        vec![
            self.delay.to_string(),
            self.secrets.to_string(),
            table::milliseconds(self.cold[0]),
            table::milliseconds(self.cold[1]),
            table::milliseconds(self.ours[0]),
            table::milliseconds(self.ours[1]),
            table::milliseconds(self.floors[0]),
            table::milliseconds(self.floors[1]),
            table::milliseconds(self.builtin),
            table::ratio(ours, floor),
            format!("{:.0}", self.builtin.as_secs_f64() / ours.as_secs_f64()),
            table::ratio(ours, one.unwrap().ours[0]),
        ]
    }
}

async fn row(
    azure: &mut Emulated,
    daemons: &[Daemon; 2],
    floors: &[Site; 2],
    delay: u64,
    secrets: u64,
    times: usize,
) -> Row {
    let cold = [
        first(azure, BARE, secrets).await,
        first(azure, HTTP2, secrets).await,
    ];
    // What they do once they have run for a while: their connections are there.
    for daemon in daemons {
        ours(daemon, azure.tokens(2).await, secrets).await;
    }
    let ours = [
        ours(&daemons[0], azure.tokens(times).await, secrets).await,
        ours(&daemons[1], azure.tokens(times).await, secrets).await,
    ];
    let floors = [
        floor(&floors[0], azure.tokens(times).await, secrets).await,
        floor(&floors[1], azure.tokens(times).await, secrets).await,
    ];
    let tokens = azure
        .tokens(if secrets * delay > 500 { 1 } else { 3 })
        .await;
    let mut walls = Vec::new();
    for token in tokens {
        let since = Instant::now();
        builtin::job(&azure.ready, &token, secrets).await;
        walls.push(since.elapsed());
    }
    Row {
        delay,
        secrets,
        cold,
        ours,
        floors,
        builtin: median(walls),
    }
}

/// A daemon's first request: three times, each of another daemon.
async fn first(azure: &mut Emulated, mode: Mode, secrets: u64) -> Duration {
    let mut walls = Vec::new();
    for _ in 0..3 {
        let fresh = Daemon::start(&azure.ready, mode).await;
        walls.push(ours(&fresh, azure.tokens(1).await, secrets).await);
    }
    median(walls)
}

/// From connecting to the daemon to having the values.
async fn ours(daemon: &Daemon, tokens: Vec<String>, secrets: u64) -> Duration {
    let mut walls = Vec::new();
    for token in tokens {
        let since = Instant::now();
        let mut caller = daemon.caller().await;
        caller.resolve(&token, secrets).await.unwrap();
        walls.push(since.elapsed());
    }
    median(walls)
}

async fn floor(site: &Site, tokens: Vec<String>, secrets: u64) -> Duration {
    let mut walls = Vec::new();
    for token in tokens {
        let since = Instant::now();
        site.clone().job(token, secrets).await;
        walls.push(since.elapsed());
    }
    median(walls)
}
