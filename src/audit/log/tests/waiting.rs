//! Those who wait: in order, together, not for ever.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{PATIENCE, Place, ids, intent};
use crate::{
    audit::log::{Log, queue::MOST_WAITING},
    config::audit::{Authority, Durable, Server, Syslog},
};

#[tokio::test]
async fn many_who_wait_share_a_few_syncs() {
    const CALLERS: u64 = 2_000;
    let place = Place::new();
    let (log, writer) = place.open();
    let before = log.watch().borrow().syncs;
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        let log = log.clone();
        callers.spawn(async move { log.commit(intent(number)).await });
    }
    while let Some(answer) = callers.join_next().await {
        answer.unwrap().unwrap();
    }
    let syncs = log.watch().borrow().syncs - before;
    assert!(syncs < CALLERS / 4, "{syncs} syncs for {CALLERS} records");
    writer.close(PATIENCE).unwrap();
    assert_eq!(ids(&place.records()).len() as u64, CALLERS);
}

#[tokio::test]
async fn records_are_in_the_order_in_which_they_came() {
    let place = Place::new();
    let (log, writer) = place.open();
    let mut wanted = Vec::new();
    for number in 0..500 {
        wanted.push(number.to_string());
        if number % 7 == 0 {
            log.commit(intent(number)).await.unwrap();
        } else {
            log.write(intent(number));
        }
    }
    writer.close(PATIENCE).unwrap();
    assert_eq!(ids(&place.records()), wanted);
}

#[tokio::test]
async fn what_is_kept_while_the_trail_fails_has_a_bound_and_the_rest_is_counted() {
    let place = Place::new();
    let (log, writer) = place.open();
    std::fs::remove_file(place.current()).unwrap();
    std::fs::create_dir(place.current()).unwrap();
    log.commit(intent("refused")).await.unwrap_err();
    let kept: Vec<String> = (0..MOST_WAITING).map(|number| number.to_string()).collect();
    for id in &kept {
        log.write(intent(id));
    }
    for _ in 0..3 {
        log.write(intent("too many"));
    }
    assert_eq!(log.watch().borrow().lost, 3);
    std::fs::remove_dir(place.current()).unwrap();
    super::works(&log).await;
    writer.close(PATIENCE).unwrap();
    let found = place.trail();
    assert_eq!(found[1]["event"], "recovered");
    assert_eq!(found[1]["lost"], 3);
    assert_eq!(ids(&found), kept);
}

/// A log whose sink takes nothing any more: a peer that does not read.
async fn blocked() -> (TcpListener, Log, super::Writer) {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port();
    let place = Place::with(|settings| {
        settings.file = None;
        settings.durable = Durable::Syslog;
        settings.timeout = Duration::from_millis(300);
        settings.syslog = Some(Syslog {
            server: Server::Tcp(Authority {
                host: "127.0.0.1".to_owned(),
                port,
            }),
            ca: None,
        });
    });
    let (log, writer) = place.open();
    let full = async {
        while log.failing().is_none() {
            // More than any buffer between here and there holds, in the end.
            log.write(intent("x".repeat(1 << 20)));
            drop(log.commit(intent("waits")).await);
        }
    };
    tokio::time::timeout(PATIENCE, full).await.unwrap();
    (peer, log, writer)
}

#[tokio::test]
async fn a_sink_that_blocks_refuses_at_once_and_holds_nobody_up() {
    let (peer, log, writer) = blocked().await;
    let since = Instant::now();
    let refused = log.commit(intent("refused")).await.unwrap_err();
    assert!(since.elapsed() < Duration::from_millis(200));
    let cause = &refused.cause;
    assert!(
        cause == "the syslog server has not answered for 300ms"
            || cause.starts_with("audit.syslog: tcp://127.0.0.1:"),
        "{cause}"
    );
    let since = Instant::now();
    let closed = writer.close(Duration::from_millis(500));
    assert!(since.elapsed() < PATIENCE / 4, "closing waits for the sink");
    drop((peer, closed));
}

#[tokio::test]
async fn a_sink_that_does_not_count_lags_up_to_a_bound_and_what_it_misses_is_counted() {
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = peer.local_addr().unwrap().port();
    let place = Place::with(|settings| {
        settings.syslog = Some(Syslog {
            server: Server::Tcp(Authority {
                host: "127.0.0.1".to_owned(),
                port,
            }),
            ca: None,
        });
    });
    let (log, writer) = place.open();
    let fill = async {
        while log.watch().borrow().missed == 0 {
            for _ in 0..1_000 {
                log.write(intent("x".repeat(1_000)));
            }
            log.commit(intent("in between")).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, fill).await.unwrap();
    assert!(log.failing().is_none());
    let since = Instant::now();
    writer.close(PATIENCE).unwrap();
    assert!(since.elapsed() < PATIENCE / 4, "closing waits for the sink");
    drop(peer);
}
