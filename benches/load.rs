//! `cargo bench --bench load`: what requests cost the daemon when there are many: throughput and
//! processor time beside a floor that sends the same HTTP requests with nothing around them, what
//! the daemon adds to the floor's latency, memory, and the client. Everything in one run; daemon,
//! emulator and floor are processes of their own. With `-- --quick`, little of it; `throughput`,
//! `latency`, `memory` and `client` name the tables.

#![expect(
    clippy::too_many_lines,
    clippy::unchecked_time_subtraction,
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up should stop"
)]

mod rig;

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::json;
use tokio::{process::Command, time::Instant};

use self::rig::{
    Options,
    azure::{Emulated, secret_name},
    daemon::{BARE, Daemon, Mode, USUAL},
    floor::{self, Told},
    job, load, median,
    part::Part,
    process, quantile, table,
};

/// Secrets of a job.
const SECRETS: u64 = 10;
const CONCURRENT: [usize; 4] = [1, 16, 64, 256];

/// What the daemon does in each line of the tables besides reading secrets. There is no daemon
/// without an audit trail: in memory it costs no disk.
const MODES: [(&str, Mode); 4] = [
    ("inline, trail in memory", BARE),
    (
        "the same over HTTP/2",
        Mode {
            http2: true,
            ..BARE
        },
    ),
    (
        "files, trail in memory",
        Mode {
            files: true,
            ..BARE
        },
    ),
    ("files, trail on disk", USUAL),
];

/// How much is done.
struct Counts {
    /// Jobs in one measurement.
    jobs: usize,
    /// Requests over which memory is looked at.
    soak: usize,
    /// Runs of the client.
    runs: usize,
}

fn main() {
    rig::run(async |options: Options| {
        let counts = if options.quick {
            Counts {
                jobs: 100,
                soak: 1_000,
                runs: 5,
            }
        } else {
            Counts {
                jobs: 2_000,
                soak: 100_000,
                runs: 100,
            }
        };
        let mut azure = Emulated::start(SECRETS).await;
        if options.wants("throughput") {
            throughput(&mut azure, &counts, options.concurrent).await;
        }
        if options.wants("latency") {
            latency(&mut azure, &counts).await;
        }
        if options.wants("memory") {
            memory(&mut azure, &counts).await;
        }
        if options.wants("client") {
            client(&mut azure, &counts).await;
        }
    });
}

/// Requests a second and what each costs.
async fn throughput(azure: &mut Emulated, counts: &Counts, only: Option<usize>) {
    let mut rows = Vec::new();
    let wanted = |concurrent: &usize| only.is_none_or(|only| only == *concurrent);
    for concurrent in CONCURRENT.into_iter().filter(wanted) {
        let jobs = counts.jobs.max(concurrent * 4);
        let mut least: Option<Cost> = None;
        for http2 in [false, true] {
            let mut part = floor::start(&azure.ready, http2, 128).await;
            floor_closed(azure, &mut part, 50, 10).await;
            let cost = floor_closed(azure, &mut part, jobs, concurrent).await;
            let name = if http2 {
                "floor, HTTP/2"
            } else {
                "floor, HTTP/1.1"
            };
            rows.push(cost.cells(name, concurrent, None));
            if least.as_ref().is_none_or(|least| cost.cpu < least.cpu) {
                least = Some(cost);
            }
        }
        for (name, mode) in MODES {
            let daemon = Daemon::start(&azure.ready, mode).await;
            closed(azure, &daemon, 50, 10).await;
            let cost = closed(azure, &daemon, jobs, concurrent).await;
            rows.push(cost.cells(name, concurrent, least.as_ref()));
        }
    }
    table::print(
        "Jobs of ten secrets, no delay: each with a token of its own, over a connection of its own",
        &["", "at a time", "jobs/s", "CPU/job, ms", "over the floor's"],
        &rows,
    );
}

/// What jobs cost.
struct Cost {
    per_second: f64,
    cpu: Duration,
}

impl Cost {
    #[expect(clippy::cast_precision_loss, reason = "thousands of jobs")]
    fn of(jobs: usize, wall: Duration, cpu: Duration) -> Self {
        Self {
            per_second: jobs as f64 / wall.as_secs_f64(),
            cpu: cpu.div_f64(jobs as f64),
        }
    }

    fn cells(&self, name: &str, concurrent: usize, floor: Option<&Self>) -> Vec<String> {
        vec![
            name.to_owned(),
            concurrent.to_string(),
            format!("{:.0}", self.per_second),
            format!("{:.3}", self.cpu.as_secs_f64() * 1000.0),
            floor.map_or(String::new(), |floor| table::ratio(self.cpu, floor.cpu)),
        ]
    }
}

async fn floor_closed(
    azure: &mut Emulated,
    part: &mut Part,
    jobs: usize,
    concurrent: usize,
) -> Cost {
    let tokens = azure.tokens(jobs).await;
    let before = process::cpu(part.pid());
    let command = floor::Command::Closed {
        tokens,
        secrets: SECRETS,
        concurrent,
    };
    let told: Told = part.ask(&command).await;
    Cost::of(jobs, told.wall, process::cpu(part.pid()) - before)
}

/// Resolves; what it takes to delete the files afterwards is not part of it.
async fn closed(azure: &mut Emulated, daemon: &Daemon, jobs: usize, concurrent: usize) -> Cost {
    let tokens = azure.tokens(jobs).await;
    let before = process::cpu(daemon.pid());
    let socket = daemon.socket();
    let work = move |token| job::job(socket.clone(), token, SECRETS);
    let done = load::closed(tokens, concurrent, work).await;
    let cost = Cost::of(jobs, done.wall, process::cpu(daemon.pid()) - before);
    job::release(&daemon.socket(), done.all).await;
    cost
}

/// What the daemon adds, at rates that leave everybody time.
async fn latency(azure: &mut Emulated, counts: &Counts) {
    // Key Vault answers 4,000 reads of a vault in ten seconds.
    #[expect(clippy::cast_precision_loss, reason = "ten")]
    let one_vault = 400.0 / SECRETS as f64;
    latency_at(azure, one_vault, counts.jobs / 2, "what one vault allows").await;
    let mut part = floor::start(&azure.ready, false, 128).await;
    floor_closed(azure, &mut part, 50, 10).await;
    let saturated = floor_closed(azure, &mut part, counts.jobs, 64).await;
    drop(part);
    let half = saturated.per_second / 2.0;
    latency_at(
        azure,
        half,
        counts.jobs * 2,
        "half of what the floor can do",
    )
    .await;
}

async fn latency_at(azure: &mut Emulated, per_second: f64, jobs: usize, rate: &str) {
    let mut rows = Vec::new();
    let cells = |name: &str, times: &[Duration], floor: Option<&[Duration]>| {
        let quantiles = [0.5, 0.99, 0.999].map(|part| {
            let ours = quantile(times, part);
            let over = floor.map_or(ours, |floor| ours.saturating_sub(quantile(floor, part)));
            table::milliseconds(over)
        });
        [&[name.to_owned()], &quantiles[..]].concat()
    };
    let mut part = floor::start(&azure.ready, false, 128).await;
    floor_closed(azure, &mut part, 50, 10).await;
    let command = floor::Command::Open {
        tokens: azure.tokens(jobs).await,
        secrets: SECRETS,
        per_second,
    };
    let floor: Told = part.ask(&command).await;
    drop(part);
    rows.push(cells("floor", &floor.times, None));
    for (name, mode) in MODES {
        let daemon = Daemon::start(&azure.ready, mode).await;
        closed(azure, &daemon, 50, 10).await;
        let (tokens, socket) = (azure.tokens(jobs).await, daemon.socket());
        let work = move |token| job::job(socket.clone(), token, SECRETS);
        let done = load::open(tokens, per_second, work).await;
        let name = format!("{name}, over the floor");
        rows.push(cells(&name, &done.times, Some(&floor.times)));
    }
    table::print(
        &format!("Latency, ms: {per_second:.0} jobs a second, {rate}"),
        &["", "p50", "p99", "p99.9"],
        &rows,
    );
}

/// Memory: with nothing to do, with much, and after much.
async fn memory(azure: &mut Emulated, counts: &Counts) {
    let mebibytes = |kibibytes: u64| {
        #[expect(clippy::cast_precision_loss, reason = "less than a terabyte")]
        let kibibytes = kibibytes as f64;
        format!("{:.1}", kibibytes / 1024.0)
    };
    let daemon = Daemon::start(&azure.ready, USUAL).await;
    // More of the program is paged in while it starts to listen.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (idle, _) = process::memory(daemon.pid());
    let mut rows = vec![vec!["idle".to_owned(), mebibytes(idle), String::new()]];
    azure.delay(20).await;
    let tokens = azure.tokens(1024).await;
    let socket = daemon.socket();
    let work = move |token| job::to_its_end(socket.clone(), token, SECRETS);
    drop(load::closed(tokens, 256, work).await);
    let (now, most) = process::memory(daemon.pid());
    rows.push(vec![
        "at 256 jobs at a time".to_owned(),
        mebibytes(now),
        mebibytes(most),
    ]);
    azure.delay(0).await;
    // A hundred times each token: making one takes longer than all else.
    let tenth = counts.soak / 10;
    for (name, requests) in [("after a tenth of", tenth), ("after", counts.soak - tenth)] {
        let tokens = azure.tokens(requests.div_ceil(100)).await;
        let tokens = tokens.iter().flat_map(|token| vec![token.clone(); 100]);
        let socket = daemon.socket();
        let work = move |token| job::to_its_end(socket.clone(), token, 1);
        drop(load::closed(tokens.collect(), 16, work).await);
        let (now, most) = process::memory(daemon.pid());
        let name = format!("{name} {} requests", counts.soak);
        rows.push(vec![name, mebibytes(now), mebibytes(most)]);
    }
    table::print("Resident memory, MiB", &["", "now", "most"], &rows);
}

/// The client: its size, and from start to exit with ten secrets, less what the daemon takes.
async fn client(azure: &mut Emulated, counts: &Counts) {
    let (program, what) = client_program();
    let size = std::fs::metadata(&program).unwrap().len();
    let daemon = Daemon::start(&azure.ready, USUAL).await;
    let spec: serde_json::Map<_, _> = (0..SECRETS)
        .map(|index| {
            let secret = json!({"azure_key_vault": {"name": secret_name(index)}, "token": "$JWT"});
            (format!("V{index}"), secret)
        })
        .collect();
    let spec = serde_json::Value::Object(spec).to_string();
    let job_id = azure.next_job.to_string();
    let token = azure.tokens(1).await.remove(0);
    let mut walls = [Vec::new(), Vec::new()];
    let mut leases = Vec::new();
    for _ in 0..counts.runs {
        let mut command = Command::new(&program);
        command.arg("env").env_clear().stdin(Stdio::null());
        command.env("RUNNER_SECRETS_SOCKET", daemon.socket());
        command
            .env("RUNNER_SECRETS", &spec)
            .env("JWT", &token)
            .env("CI_JOB_ID", &job_id);
        let since = Instant::now();
        let output = command.output().await.unwrap();
        walls[0].push(since.elapsed());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // What the daemon takes, with the same token and an access token that is there already.
        let mut caller = daemon.caller().await;
        let since = Instant::now();
        let answer = caller.resolve(&token, SECRETS).await.unwrap();
        walls[1].push(since.elapsed());
        leases.push((answer.lease_id, token.clone()));
    }
    job::release(&daemon.socket(), leases).await;
    let [whole, inside] = walls.map(median);
    #[expect(clippy::cast_precision_loss, reason = "some megabytes")]
    let megabytes = size as f64 / 1_000_000.0;
    table::print(
        &format!("The client ({what})"),
        &[
            "size, MB",
            "start to exit, ms",
            "of that in the daemon",
            "the client's own",
        ],
        &[vec![
            format!("{megabytes:.2}"),
            table::milliseconds(whole),
            table::milliseconds(inside),
            table::milliseconds(whole.saturating_sub(inside)),
        ]],
    );
}

/// The static client as it is installed, where it has been built, else this profile's.
fn client_program() -> (PathBuf, &'static str) {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/target/");
    let musl = format!(
        "{target}{}-unknown-linux-musl/client/runner-secrets",
        std::env::consts::ARCH
    );
    if std::path::Path::new(&musl).exists() {
        return (musl.into(), "static, profile client");
    }
    let how = "not the static one: cargo build --profile client --no-default-features --bin runner-secrets --target …-musl";
    (env!("CARGO_BIN_EXE_runner-secrets").into(), how)
}
