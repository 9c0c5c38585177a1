//! What passing through costs. Figures for people, so nothing is asserted but that it works:
//!
//! ```sh
//! cargo test --release --test gateway -- --ignored --nocapture figures
//! ```

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hyper::body::Bytes;
use reqwest::StatusCode;

use crate::{gitlab::PIECE, runner::Runner, site::Site};

/// One poll after the other; how long the middle one took.
async fn poll_takes(runner: &Runner) -> Duration {
    let mut took = Vec::new();
    for _ in 0..2000 {
        let since = Instant::now();
        let answer = runner.ask_once().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        took.push(since.elapsed());
    }
    took.sort();
    took[took.len() / 2]
}

/// Polls of 32 runners at once, in a second.
async fn polls_a_second(runner: &Runner) -> f64 {
    const EACH: u32 = 200;
    let since = Instant::now();
    let polling = (0..32).map(|_| async {
        for _ in 0..EACH {
            runner.ask_once().await.unwrap();
        }
    });
    join_all(polling).await;
    f64::from(32 * EACH) / since.elapsed().as_secs_f64()
}

/// Megabytes a second of one upload.
async fn upload(runner: &Runner) -> f64 {
    const PIECES: u32 = 16 * 1024;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (0..PIECES).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let since = Instant::now();
    let upload = runner.http().post(runner.api("jobs/7/artifacts"));
    let uploaded = upload.body(body).send().await.unwrap();
    assert_eq!(uploaded.status(), StatusCode::CREATED);
    f64::from(PIECES) * 0.065_536 / since.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures"]
async fn figures() {
    let site = Site::new().await;
    let (direct, through) = (Runner::at(&site.gitlab.url), site.runner());
    for (name, runner) in [("direct", &direct), ("through the gateway", &through)] {
        let poll = poll_takes(runner).await;
        let rate = polls_a_second(runner).await;
        let upload = upload(runner).await;
        println!("{name}: a 204 poll takes {poll:?}, {rate:.0} polls/s, upload {upload:.0} MB/s");
        site.gitlab.forget();
    }
}
