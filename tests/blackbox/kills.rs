//! Everything is killed at any moment, again and again, while jobs come and go: nothing outlives
//! its bound. `RUNNER_SECRETS_FULL=1` does it ten times as long.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::process::Child;

use crate::{
    crowd::scaled,
    daemon::{names, until},
    job::{CLIENT, Job, entry},
    stage::{Stage, object},
};

/// How long files stay after the shell that took them.
const GRACE: Duration = Duration::from_millis(200);

/// What may pass beyond a bound on a machine with much to do.
const TOLERANCE: Duration = Duration::from_secs(2);

/// Jobs at the same time.
const JOBS: usize = 4;

/// A generator of moments, the same in every run: xorshift64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    /// Lets everything run until some moment in the life of a job, which takes some 100 ms to get
    /// its secrets.
    async fn moment(&mut self) {
        let moment = Duration::from_micros(self.roll(150_000));
        tokio::time::sleep(moment).await;
    }
}

/// A job that gets its secrets and waits: under `exec`, or in a shell.
fn job(stage: &Stage, under_exec: bool) -> Child {
    let spec = object(json!({"A": entry("db-password", true), "B": entry("api-key", true)}));
    let job = Job::new(stage, &stage.token(), spec);
    if under_exec {
        return job.start(CLIENT, &["exec", "--", "/bin/cat"]);
    }
    let script = r#"secrets=$("$CLIENT" env) || exit $?; eval "$secrets"; read -r line"#;
    job.start("/bin/sh", &["-c", script])
}

/// How many leases came to their end, as the daemon's log says.
fn ends(stage: &Stage) -> usize {
    stage.daemon.log().matches("a lease ended").count()
}

#[tokio::test]
async fn nothing_outlives_its_bound_whatever_is_killed() {
    let wanted = scaled(500);
    let grace = format!("{}ms", GRACE.as_millis());
    let mut stage = Stage::with(|config| config.text("files.owner_grace", &grace)).await;
    let mut dice = Dice(0x5eed_5eed_5eed_5eed);
    let (mut kills, mut daemons, mut ended) = (0, 0, 0);
    let mut slowest = Duration::ZERO;
    while kills < wanted {
        let mut jobs: Vec<Child> = (0..JOBS).map(|n| job(&stage, n % 2 == 0)).collect();
        if dice.roll(2) == 0 {
            dice.moment().await;
            ended += ends(&stage);
            stage.crash().await;
            stage.restart().await;
            (kills, daemons) = (kills + 1, daemons + 1);
        }
        for job in &mut jobs {
            dice.moment().await;
            // A client whose daemon was killed has ended by itself.
            kills += usize::from(job.try_wait().unwrap().is_none());
            job.kill().await.unwrap();
        }
        let last = Instant::now();
        until("no file and no note is left", || {
            stage.place.left().is_empty() && names(&stage.place.state()).is_empty()
        })
        .await;
        slowest = slowest.max(last.elapsed());
        assert!(
            slowest < GRACE + TOLERANCE,
            "something was left for {slowest:?}"
        );
    }
    ended += ends(&stage);
    println!(
        "{kills} kills, {daemons} of them of the daemon: {ended} leases, the last files gone {slowest:?} after the last kill"
    );
    // Most jobs had their secrets when they were killed, or this tests nothing.
    assert!(daemons > 0 && ended > kills / 3, "{daemons}, {ended}");
}

/// With inline delivery there is no daemon to see it: the next client does.
#[tokio::test]
async fn what_a_killed_client_left_is_deleted_by_the_next_client() {
    let stage = Stage::with(|config| config.text("listen.delivery", "inline")).await;
    let spec = object(json!({"A": entry("db-password", true)}));
    let job = Job::new(&stage, &stage.token(), spec);
    let told = stage.place.path("told");
    let script = format!("printf %s \"$A\" >'{told}'; cat", told = told.display());
    let mut client = job.start(CLIENT, &["exec", "--", "/bin/sh", "-c", &script]);
    let mut file = String::new();
    until("the command has its secret", || {
        file = std::fs::read_to_string(&told).unwrap_or_default();
        !file.is_empty()
    })
    .await;
    assert!(std::fs::exists(&file).unwrap());
    // A client beside it deletes nothing of a command that still runs.
    assert!(job.run(&["exec", "/bin/true"]).await.status.success());
    assert!(std::fs::exists(&file).unwrap());
    client.kill().await.unwrap();
    assert!(job.run(&["exec", "/bin/true"]).await.status.success());
    assert!(!std::fs::exists(&file).unwrap());
}
