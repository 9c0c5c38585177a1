//! Work for many jobs: so many at a time, or so many a second whatever becomes of them.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// What was done and how long each took.
pub(crate) struct Done<T> {
    pub(crate) all: Vec<T>,
    /// In ascending order.
    pub(crate) times: Vec<Duration>,
    pub(crate) wall: Duration,
}

impl<T> Done<T> {
    fn new(done: Vec<(T, Duration)>, since: Instant) -> Self {
        let wall = since.elapsed();
        let (all, mut times): (Vec<T>, Vec<Duration>) = done.into_iter().unzip();
        times.sort_unstable();
        Self { all, times, wall }
    }
}

/// Does `work` with each token, `concurrent` at a time.
pub(crate) async fn closed<T, Working>(
    tokens: Vec<String>,
    concurrent: usize,
    work: impl Fn(String) -> Working + Clone + Send + 'static,
) -> Done<T>
where
    T: Send + 'static,
    Working: Future<Output = T> + Send,
{
    let tokens = Arc::new(Mutex::new(tokens));
    let since = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..concurrent {
        let (tokens, work) = (tokens.clone(), work.clone());
        workers.spawn(async move {
            let mut done = Vec::new();
            loop {
                let Some(token) = tokens.lock().await.pop() else {
                    return done;
                };
                let since = Instant::now();
                done.push((work(token).await, since.elapsed()));
            }
        });
    }
    let done = workers.join_all().await;
    Done::new(done.into_iter().flatten().collect(), since)
}

/// Begins `per_second` times a second, evenly. A time begins when it was due, so that a queue that
/// builds up counts.
pub(crate) async fn open<T, Working>(
    tokens: Vec<String>,
    per_second: f64,
    work: impl Fn(String) -> Working,
) -> Done<T>
where
    T: Send + 'static,
    Working: Future<Output = T> + Send + 'static,
{
    let since = Instant::now();
    let every = Duration::from_secs_f64(1.0 / per_second);
    let mut working = JoinSet::new();
    let mut due = since;
    for token in tokens {
        sleep_until(due).await;
        let (begun, work) = (due, work(token));
        working.spawn(async move { (work.await, begun.elapsed()) });
        due += every;
    }
    Done::new(working.join_all().await, since)
}
