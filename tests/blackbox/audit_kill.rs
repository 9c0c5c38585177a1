//! A daemon that is killed at any moment, again and again, while it delivers: the trail stays one
//! chain, and no secret was delivered that is not on it.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex},
};

use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::Request;

use crate::{
    call::{Caller, ask},
    crowd::scaled,
    daemon::{Daemon, Place, until},
    stage::{config, emulator},
    trail::trail,
};

/// The ids of leases that callers were given.
type Delivered = Arc<Mutex<BTreeSet<String>>>;

/// Asks again and again until the daemon is gone.
async fn asks(caller: Caller, token: String, delivered: Delivered) {
    let ask = ask(&token).file("A", "db-password");
    while let Ok(answer) = caller.try_send(Request::new(ask.0.clone())).await {
        delivered.lock().unwrap().insert(answer.lease_id);
    }
}

/// A number below `bound` that nobody can foresee.
fn any(bound: u64) -> u64 {
    RandomState::new().hash_one(0) % bound
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_under_load_has_delivered_nothing_off_the_record() {
    const CALLERS: usize = 4;
    let rounds = scaled(500);
    let (place, emulator) = (Place::new(), emulator().await);
    let path = place.path("config.toml");
    // Small, so that it is also killed while it changes files.
    config(&place, &emulator)
        .set("audit.rotate_size", 32 * 1024)
        .set("limits.token_rate", 1_000_000)
        .set("limits.caller_rate", 1_000_000)
        .write(&path);
    let directory = place.trail().parent().unwrap().to_owned();
    let token = emulator
        .id_token(&azure_emulator::IdTokenRequest::default())
        .unwrap();
    let delivered = Delivered::default();
    let mut on_record = 0;
    for round in 0..rounds {
        let mut daemon = Daemon::start(&path).await;
        let before = delivered.lock().unwrap().len();
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let caller = Caller::connect(&place.socket()).await;
            callers.spawn(asks(caller, token.clone(), delivered.clone()));
        }
        let enough = before + usize::try_from(any(12)).unwrap();
        until("the callers are served", || {
            delivered.lock().unwrap().len() >= enough
        })
        .await;
        for _ in 0..any(2_000) {
            tokio::task::yield_now().await;
        }
        daemon.signal(Signal::KILL);
        daemon.ends().await;
        callers.join_all().await;
        let records = trail(&directory);
        assert!(records.len() > on_record, "round {round}");
        on_record = records.len();
        assert_nothing_off_the_record(&records, &delivered.lock().unwrap());
    }
    let delivered = delivered.lock().unwrap().len();
    println!("killed {rounds} times: {delivered} deliveries seen, {on_record} records");
    assert!(delivered >= rounds, "hardly anything was going on");
}

fn assert_nothing_off_the_record(records: &[Value], delivered: &BTreeSet<String>) {
    let of = |event: &'static str| {
        records
            .iter()
            .filter(move |record| record["event"] == event)
    };
    let intents: BTreeSet<&str> = of("intent")
        .filter_map(|record| record["request_id"].as_str())
        .collect();
    assert!(delivered.len() <= intents.len());
    let mut outcomes = BTreeSet::new();
    for outcome in of("outcome").filter(|record| record["reason"] == "DELIVERED") {
        assert!(
            intents.contains(outcome["request_id"].as_str().unwrap()),
            "{outcome}"
        );
        outcomes.insert(outcome["lease_id"].as_str().unwrap().to_owned());
    }
    let off: Vec<_> = delivered.difference(&outcomes).collect();
    assert!(off.is_empty(), "delivered and not on record: {off:?}");
}
