use std::{sync::Arc, time::Duration};

use super::{DELIVERED, Front, Metrics, Snapshot, Step};
use crate::{
    audit::{
        chain::{Digest, Head},
        log::State,
    },
    config::rule::Rules,
    policy::{Defaults, Policy},
    readiness::{Dependency, Readiness},
};

fn now() -> Snapshot {
    Snapshot {
        leases: 2,
        files: 3,
        access_tokens: 0,
        audit: State::default(),
        audit_waiting: 0,
        audit_sinks: vec![("syslog", 5)],
        issuers: Vec::new(),
        policy: Arc::new(Policy::new(Rules::default(), Defaults::default())),
        readiness: Readiness::default(),
        certificates: Vec::new(),
    }
}

#[test]
fn everything_is_there_from_the_start_and_nothing_is_added_later() {
    let metrics = Metrics::new().unwrap();
    metrics.opens(Front::Socket);
    let series = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    let before = metrics.text(&now()).unwrap();
    assert!(before.contains(
        "runner_secrets_requests_total{call=\"resolve\",front=\"socket\",reason=\"AUDIT_FAILED\"} 0"
    ));
    assert!(!before.contains("front=\"gateway\""), "there is none");
    metrics.began();
    drop(metrics.step(Step::Fetch));
    metrics.ended(
        Front::Socket,
        "resolve",
        DELIVERED,
        Duration::from_millis(7),
    );
    let after = metrics.text(&now()).unwrap();
    assert_eq!(series(&before), series(&after));
    let durations =
        "runner_secrets_request_duration_seconds_bucket{call=\"resolve\",front=\"socket\"";
    for line in [
        "runner_secrets_requests_total{call=\"resolve\",front=\"socket\",reason=\"DELIVERED\"} 1",
        &format!("{durations},le=\"0.01\"}} 1"),
        &format!("{durations},le=\"0.005\"}} 0"),
        "runner_secrets_step_duration_seconds_count{step=\"fetch\"} 1",
        "runner_secrets_step_duration_seconds_count{step=\"verify\"} 0",
        "runner_secrets_requests_in_flight 0",
        "runner_secrets_audit_head 0",
        "runner_secrets_audit_sink_waiting{sink=\"syslog\"} 5",
        "runner_secrets_leases 2",
        "runner_secrets_files 3",
        "runner_secrets_ready{dependency=\"audit\"} 1",
    ] {
        assert!(after.contains(line), "{line}\n{after}");
    }
}

#[test]
fn there_is_one_checkpoint_at_a_time() {
    let metrics = Metrics::new().unwrap();
    let mut text = String::new();
    for seq in [1, 7] {
        let hash = Digest::of(&[seq]);
        let checkpoint = Some(Head {
            seq: seq.into(),
            hash,
        });
        let audit = State {
            checkpoint,
            ..State::default()
        };
        text = metrics.text(&Snapshot { audit, ..now() }).unwrap();
    }
    let last = format!(
        "runner_secrets_audit_checkpoint{{hash=\"{}\"}} 7",
        Digest::of(&[7])
    );
    assert!(text.contains(&last), "{text}");
    assert_eq!(text.matches("checkpoint{").count(), 1);
}

#[test]
fn what_was_counted_elsewhere_is_taken_over_and_never_counted_twice() {
    let metrics = Metrics::new().unwrap();
    let audit = State {
        missed: 4,
        ..State::default()
    };
    let mut seen = now();
    seen.audit = audit;
    seen.readiness
        .set(Dependency::Files, Err("gone".to_owned()));
    for _ in 0..2 {
        let text = metrics.text(&seen).unwrap();
        assert!(
            text.contains("runner_secrets_audit_missed_total 4"),
            "{text}"
        );
        assert!(
            text.contains("runner_secrets_ready{dependency=\"files\"} 0"),
            "{text}"
        );
        assert!(!text.contains("gone"), "a cause is no label");
    }
}
