//! What a durable record costs: requests a second, each of which waits for two records (its intent
//! and its outcome), by how many ask at once; on a disk, on a file system in memory, and to a log
//! that keeps nothing, in one run.
//!
//! `RUNNER_SECRETS_DISK` names a directory on the disk to measure; otherwise it is the temporary
//! directory.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up should stop, and says what it measured"
)]

use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use runner_secrets::{
    audit::{
        event::{Event, Request, Secret},
        log::{Log, Writer},
    },
    config::{Audit, audit},
};
use tokio::{runtime::Runtime, task::JoinSet};

/// Long enough for a thousand syncs of a slow disk.
const LONG: Duration = Duration::from_secs(3);

const CALLERS: [u64; 4] = [1, 16, 64, 256];

fn main() {
    let runtime = Runtime::new().unwrap();
    let disk = env::var_os("RUNNER_SECRETS_DISK").map_or_else(env::temp_dir, PathBuf::from);
    println!(
        "{:<10} {:>8} {:>12} {:>10} {:>14}",
        "records", "callers", "requests/s", "p50", "syncs/request"
    );
    for (name, directory) in [
        ("nowhere", None),
        ("in memory", Some(Path::new("/dev/shm"))),
        ("on disk", Some(disk.as_path())),
    ] {
        for callers in CALLERS {
            let place = directory.map(|directory| tempfile::tempdir_in(directory).unwrap());
            let (log, writer) = match &place {
                Some(place) => Log::open(&settings(&place.path().join("audit.jsonl"))).unwrap(),
                None => Log::to_nowhere().unwrap(),
            };
            let measured = runtime.block_on(measure(&log, writer, callers));
            println!("{name:<10} {callers:>8} {measured}");
        }
    }
}

fn settings(path: &Path) -> Audit {
    Audit {
        file: Some(audit::File {
            path: path.to_owned(),
            rotate_size: 100 << 20,
            keep: None,
            keep_for: None,
        }),
        syslog: None,
        stdout: false,
        durable: audit::Durable::File,
        signing_key: None,
        checkpoint_interval: Duration::from_secs(600),
        timeout: Duration::from_secs(5),
        user: audit::User::Login,
    }
}

async fn measure(log: &Log, writer: Writer, callers: u64) -> String {
    let since = Instant::now();
    let before = log.watch().borrow().syncs;
    let mut asking = JoinSet::new();
    for caller in 0..callers {
        asking.spawn(requests(log.clone(), caller, since + LONG));
    }
    let mut times = asking.join_all().await.concat();
    let took = since.elapsed();
    let syncs = log.watch().borrow().syncs - before;
    assert!(log.failing().is_none());
    writer.close(LONG).unwrap();
    times.sort();
    let count = times.len();
    let middle = times.get(count / 2).copied().unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (rate, share) = (
        count as f64 / took.as_secs_f64(),
        syncs as f64 / count as f64,
    );
    format!("{rate:>12.0} {:>7} us {share:>14.3}", middle.as_micros())
}

/// Requests, one after the other, and how long each took.
async fn requests(log: Log, caller: u64, until: Instant) -> Vec<Duration> {
    let mut times = Vec::new();
    while Instant::now() < until {
        let since = Instant::now();
        let request = request(caller);
        let outcome = Request {
            reason: Some("DELIVERED".to_owned()),
            ..request.clone()
        };
        log.commit(Event::Intent(request)).await.unwrap();
        log.commit(Event::Outcome(outcome)).await.unwrap();
        times.push(since.elapsed());
    }
    times
}

/// As long as a usual one.
fn request(caller: u64) -> Request {
    let secret = |number| Secret {
        variable: format!("SECRET_{number}"),
        vault: Some("https://acme-prod.vault.azure.net".to_owned()),
        name: format!("db-password-{number}"),
        rule: Some("shop production".to_owned()),
        ..Secret::default()
    };
    Request {
        request_id: format!("{caller:032x}"),
        call: "resolve".to_owned(),
        secrets: (0..3).map(secret).collect(),
        ..Request::default()
    }
}
