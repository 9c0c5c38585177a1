use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use runner_secrets_proto::Reason;
use tokio::{
    task::{JoinSet, yield_now},
    time::{Instant, sleep},
};

use super::{Bounds, Gate, Gates, Pass};
use crate::{
    azure::{fault::Sign, traffic::Traffic},
    error::Service,
    limits::Rate,
};

const SECOND: Duration = Duration::from_secs(1);

fn gate(requests: usize, rate: Option<Rate>) -> Arc<Gate> {
    let bounds = Bounds { requests, rate };
    Gate::new(Service::KeyVault, bounds, Traffic::unread())
}

async fn pass(gate: &Arc<Gate>, job: u8) -> Pass {
    let deadline = Instant::now() + SECOND * 30;
    gate.pass([job; 32], deadline).await.unwrap()
}

async fn refused(gate: &Arc<Gate>, patience: Duration) -> Reason {
    let refused = gate.pass([0; 32], Instant::now() + patience).await;
    refused.unwrap_err().reason()
}

/// Waits for a pass in another task, which waits when this returns.
async fn waiting(gate: &Arc<Gate>, job: u8) -> tokio::task::JoinHandle<Pass> {
    let gate = Arc::clone(gate);
    let waiting = tokio::spawn(async move { pass(&gate, job).await });
    yield_now().await;
    waiting
}

#[tokio::test(start_paused = true)]
async fn jobs_take_turns() {
    let gate = gate(1, None);
    let mut going = pass(&gate, 1).await;
    let mut queue = Vec::new();
    for job in [1, 1, 1, 2, 3, 2] {
        queue.push((job, waiting(&gate, job).await));
    }
    let mut order = Vec::new();
    while !queue.is_empty() {
        drop(going);
        yield_now().await;
        let at = queue.iter().position(|(_, waiting)| waiting.is_finished());
        let (job, next) = queue.remove(at.unwrap());
        order.push(job);
        going = next.await.unwrap();
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 1]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_during_a_pause_and_who_cannot_wait_is_refused_at_once() {
    let gate = gate(10, None);
    let start = Instant::now();
    let (first, second) = (pass(&gate, 1).await, pass(&gate, 2).await);
    first.ended(Sign::Throttles(Some(SECOND * 3)));
    assert_eq!(refused(&gate, SECOND * 2).await, Reason::UpstreamThrottled);
    assert_eq!(Instant::now(), start);
    second.ended(Sign::Works);
    drop(pass(&gate, 3).await);
    assert!(Instant::now() >= start + SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn a_pause_reaches_who_waits_already() {
    let gate = gate(1, None);
    let going = pass(&gate, 1).await;
    let other = Arc::clone(&gate);
    let impatient = tokio::spawn(async move { refused(&other, SECOND * 2).await });
    let patient = waiting(&gate, 2).await;
    let start = Instant::now();
    going.ended(Sign::Throttles(Some(SECOND * 3)));
    assert_eq!(impatient.await.unwrap(), Reason::UpstreamThrottled);
    assert_eq!(Instant::now(), start);
    drop(patient.await.unwrap());
    assert!(Instant::now() >= start + SECOND * 3);
}

#[tokio::test(start_paused = true)]
async fn what_waited_for_a_pause_goes_at_the_rate_and_not_all_at_once() {
    let gate = gate(100, Some(Rate::new(10, 100)));
    let start = Instant::now();
    pass(&gate, 1).await.ended(Sign::Throttles(Some(SECOND)));
    let mut jobs = JoinSet::new();
    for job in 0..20 {
        let gate = Arc::clone(&gate);
        jobs.spawn(async move { pass(&gate, job).await.ended(Sign::Works) });
    }
    jobs.join_all().await;
    let took = Instant::now() - start;
    assert!(
        took >= Duration::from_millis(2800) && took <= SECOND * 4,
        "{took:?}"
    );
}

/// What a service is asked in an outage: what was under way when it began, what shows that it is
/// one, and one request a second.
#[tokio::test(start_paused = true)]
async fn an_outage_causes_no_storm_and_its_end_is_noticed_within_two_seconds() {
    let gate = gate(16, None);
    let end = Instant::now() + SECOND * 30;
    let (asked, served) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let mut jobs = JoinSet::new();
    for job in 0..200 {
        let (gate, asked, served) = (gate.clone(), asked.clone(), served.clone());
        jobs.spawn(async move {
            loop {
                let deadline = Instant::now() + SECOND * 30;
                if let Ok(pass) = gate.pass([job; 32], deadline).await {
                    sleep(Duration::from_millis(20)).await;
                    if Instant::now() >= end {
                        pass.ended(Sign::Works);
                        served.fetch_add(1, Ordering::Relaxed);
                        return Instant::now();
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                    pass.ended(Sign::Fails(None));
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
    }
    let ends = jobs.join_all().await;
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= 16 + 5 + 30, "{asked}");
    assert_eq!(served.load(Ordering::Relaxed), 200);
    let last = ends.into_iter().max().unwrap();
    assert!(last <= end + SECOND * 2, "{:?}", last - end);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_gives_its_place_back() {
    let gate = gate(1, None);
    let going = pass(&gate, 1).await;
    let gone = waiting(&gate, 2).await;
    let next = waiting(&gate, 3).await;
    gone.abort();
    drop(going);
    drop(next.await.unwrap());
    assert_eq!(refused_after(&gate, SECOND).await, None);
}

/// `None`: it was let through.
async fn refused_after(gate: &Arc<Gate>, patience: Duration) -> Option<Reason> {
    let passed = gate.pass([0; 32], Instant::now() + patience).await;
    passed.err().map(|error| error.reason())
}

#[tokio::test(start_paused = true)]
async fn gates_that_nobody_needs_are_forgotten() {
    let bounds = Bounds {
        requests: 1,
        rate: None,
    };
    let gates = Gates::new(Service::Entra, bounds, Traffic::unread());
    let kept = gates.to("kept");
    let paused = pass(&gates.to("paused"), 1).await;
    paused.ended(Sign::Throttles(Some(SECOND)));
    for tenant in 0..5000 {
        drop(gates.to(&tenant.to_string()));
    }
    assert!(gates.by_name.lock().unwrap().len() <= 1000);
    assert!(Arc::ptr_eq(&kept, &gates.to("kept")));
    let paused = gates.to("paused");
    assert_eq!(
        refused(&paused, SECOND / 2).await,
        Reason::UpstreamThrottled
    );
}
