//! The daemon's monitoring address, asked as an operator's machines do.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::daemon::{Daemon, PATIENCE};

pub(crate) const LISTEN: &str = "127.0.0.1:0";

/// Where it is.
#[derive(Clone, Debug)]
pub(crate) struct Admin(pub(crate) String);

impl Admin {
    /// That of a daemon with `admin.listen`, which listens.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("/metrics")).unwrap();
        let (_, rest) = line.split_once("address=").unwrap();
        Self(rest.split_whitespace().next().unwrap().to_owned())
    }

    /// The status line and the body of an answer.
    pub(crate) async fn asked(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.0).await.unwrap();
        let request = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        timeout(PATIENCE, reading).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    /// What is missing, as `/readyz` says it: nothing where it is ready.
    pub(crate) async fn missing(&self) -> String {
        match self.asked("GET /readyz").await {
            (status, body) if status == "HTTP/1.1 200 OK" => {
                assert_eq!(body, "ready\n");
                String::new()
            }
            (status, body) => {
                assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
                let missing = body.strip_prefix("not ready: ").unwrap();
                missing.split(';').next().unwrap().to_owned()
            }
        }
    }

    /// Waits until this is missing, and gives how long that took by a clock that stands still while
    /// the machine has no time for us: an answer that takes longer than it ever should counts as one
    /// that did not, so a test does not fail for what others do to its machine.
    pub(crate) async fn until_missing(&self, expected: &str) -> Duration {
        const PROMPT: Duration = Duration::from_millis(20);
        let since = Instant::now();
        let mut took = Duration::ZERO;
        loop {
            let asked = Instant::now();
            let missing = self.missing().await;
            if missing == expected {
                return took;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "missing is {missing:?}, and never {expected:?}"
            );
            took += asked.elapsed().min(PROMPT);
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        let (status, metrics) = self.asked("GET /metrics").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        metrics
    }

    /// The value of a series.
    pub(crate) async fn value(&self, series: &str) -> f64 {
        let metrics = self.metrics().await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(series));
        let line = line.and_then(|line| line.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("{series}: {metrics}"));
        line.parse().unwrap()
    }

    /// All series, as they are written.
    pub(crate) async fn series(&self) -> BTreeSet<String> {
        let metrics = self.metrics().await;
        let lines = metrics.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect()
    }
}

/// The name of a series, and its labels.
pub(crate) fn taken_apart(series: &str) -> (&str, BTreeMap<&str, &str>) {
    let Some((name, labels)) = series.split_once('{') else {
        return (series, BTreeMap::new());
    };
    // No label of ours has a quotation mark in it.
    let pairs = labels.trim_end_matches('}').split("\",");
    let pairs = pairs.filter_map(|pair| pair.split_once("=\""));
    let pairs = pairs.map(|(label, value)| (label, value.trim_end_matches('"')));
    (name, pairs.collect())
}
