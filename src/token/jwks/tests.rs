mod discovery;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time};
use url::Url;

use crate::{
    config::issuer::{Issuer, KeySource},
    secret::IdToken,
    token::{
        Error, Fetch, Fetched, Verifier, fetch,
        tests::{NEXT, OURS, Signer, issuer, key_set},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An issuer's server: what it answers, and what it was asked.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    keys: Vec<Value>,
    cache_control: Option<String>,
    down: bool,
    delay: Duration,
    /// Answers before anything else.
    first: VecDeque<Result<Fetched, fetch::Error>>,
    asked: Vec<String>,
}

impl Server {
    fn new(keys: &[&Signer]) -> Self {
        let server = Self::default();
        server.publish(keys);
        server.set(|inner| inner.cache_control = Some("public, max-age=86400".into()));
        server
    }

    fn set(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.0.lock().unwrap());
    }

    fn publish(&self, keys: &[&Signer]) {
        self.set(|inner| inner.keys = keys.iter().map(|key| key.jwk()).collect());
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().asked.len()
    }

    fn fetch(&self) -> Fetch {
        let server = self.clone();
        Fetch::new(move |url| {
            let server = server.clone();
            async move {
                let delay = {
                    let mut inner = server.0.lock().unwrap();
                    inner.asked.push(url.to_string());
                    inner.delay
                };
                time::sleep(delay).await;
                server.answer(&url)
            }
        })
    }

    fn answer(&self, url: &Url) -> Result<Fetched, fetch::Error> {
        let mut inner = self.0.lock().unwrap();
        if let Some(first) = inner.first.pop_front() {
            return first;
        }
        if inner.down {
            let url = url.to_string();
            return Err(fetch::Error::Status { url, status: 502 });
        }
        Ok(Fetched {
            body: key_set(&inner.keys),
            cache_control: inner.cache_control.clone(),
        })
    }

    fn verifier(&self) -> Verifier {
        let keys = Url::parse("https://keys.test/jwks").unwrap();
        Verifier::new(vec![(issuer(KeySource::Url(keys)), self.fetch())])
    }
}

async fn verify(verifier: &Verifier, token: &IdToken) -> Result<(), Error> {
    verifier.verify(token, SystemTime::now()).await.map(drop)
}

/// A token that names a key which does not exist.
fn made_up(kid: usize) -> IdToken {
    let token = OURS.token_for_today();
    let (_, rest) = token.expose().split_once('.').unwrap();
    let header = json!({"alg": "RS256", "kid": format!("made-up-{kid}")}).to_string();
    let header = BASE64_URL_SAFE_NO_PAD.encode(header);
    IdToken::new(format!("{header}.{rest}"))
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_and_kept_as_long_as_the_server_says() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    let token = OURS.token_for_today();
    for _ in 0..100 {
        verify(&verifier, &token).await.unwrap();
    }
    assert_eq!(server.fetches(), 1);
    time::advance(17 * HOUR).await;
    verify(&verifier, &token).await.unwrap();
    assert_eq!(server.fetches(), 1);
    // Ahead of time, and nobody waits for it.
    time::advance(2 * HOUR).await;
    server.set(|inner| inner.delay = Duration::from_secs(3));
    let start = time::Instant::now();
    verify(&verifier, &token).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    time::sleep(MINUTE).await;
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_are_renewed_ahead_of_time_by_one_fetch_at_a_time() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    let token = OURS.token_for_today();
    verify(&verifier, &token).await.unwrap();
    time::advance(19 * HOUR).await;
    server.set(|inner| inner.delay = Duration::from_secs(3));
    for _ in 0..10 {
        verify(&verifier, &token).await.unwrap();
        time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn fetch_that_fails_is_not_tried_again_for_the_same_caller() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    server.set(|inner| inner.down = true);
    let error = verify(&verifier, &NEXT.token_for_today())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::KeysUnavailable);
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn how_long_keys_keep_has_bounds() {
    for (said, kept) in [
        (None, HOUR),
        (Some("max-age=0"), MINUTE),
        (Some("no-store"), MINUTE),
        (Some("No-Cache, max-age=86400"), MINUTE),
        (Some("max-age=600"), 10 * MINUTE),
        (Some("max-age=\"600\""), 10 * MINUTE),
        (Some("max-age=99999999"), DAY),
        (Some("max-age=-1"), MINUTE),
        (Some("max-age=x"), MINUTE),
        (Some("private"), HOUR),
    ] {
        let server = Server::new(&[&OURS]);
        server.set(|inner| inner.cache_control = said.map(str::to_owned));
        let verifier = server.verifier();
        verifier.warm().await;
        // A key that was withdrawn is good until then and no longer.
        server.publish(&[&NEXT]);
        let token = OURS.token_for_today();
        time::advance(kept.mul_f32(0.74)).await;
        verify(&verifier, &token).await.unwrap();
        assert_eq!(server.fetches(), 1, "{said:?}");
        time::advance(kept.mul_f32(0.27)).await;
        let error = verify(&verifier, &token).await.unwrap_err();
        assert!(
            matches!(error, Error::UnknownKey { .. }),
            "{said:?}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rotation_loses_no_job() {
    let server = Server::new(&[&OURS]);
    server.set(|inner| inner.delay = Duration::from_millis(200));
    let verifier = Arc::new(server.verifier());
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    time::advance(5 * MINUTE).await;
    server.publish(&[&OURS, &NEXT]);
    let mut jobs = JoinSet::new();
    for index in 0..200_u64 {
        let verifier = Arc::clone(&verifier);
        jobs.spawn(async move {
            time::sleep(Duration::from_millis(index * 5)).await;
            let key = if index % 2 == 0 { &OURS } else { &NEXT };
            verify(&verifier, &key.token_for_today()).await
        });
    }
    for outcome in jobs.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(server.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn fetch_that_began_before_the_rotation_proves_nothing() {
    let server = Server::new(&[&OURS]);
    let old = Fetched {
        body: key_set(&[OURS.jwk()]),
        cache_control: None,
    };
    let verifier = Arc::new(server.verifier());
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    server.publish(&[&OURS, &NEXT]);
    server.set(|inner| {
        inner.first.push_back(Ok(old));
        inner.delay = Duration::from_secs(1);
    });
    let early = {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verify(&verifier, &made_up(1)).await })
    };
    time::sleep(Duration::from_millis(500)).await;
    // Joins the fetch that is under way, which answers with the old keys, then has its own.
    verify(&verifier, &NEXT.token_for_today()).await.unwrap();
    assert!(matches!(
        early.await.unwrap(),
        Err(Error::UnknownKey { .. })
    ));
    assert_eq!(server.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn flood_of_made_up_keys_costs_a_handful_of_fetches() {
    let server = Server::new(&[&OURS]);
    server.set(|inner| inner.delay = Duration::from_millis(50));
    let verifier = Arc::new(server.verifier());
    verifier.warm().await;
    let mut reasons = [0_usize; 2];
    let mut flood = JoinSet::new();
    for kid in 0..10_000 {
        let verifier = Arc::clone(&verifier);
        flood.spawn(async move { verify(&verifier, &made_up(kid)).await.unwrap_err() });
    }
    for error in flood.join_all().await {
        match error.reason() {
            Reason::TokenInvalid => reasons[0] += 1,
            Reason::KeysUnavailable => reasons[1] += 1,
            other => panic!("{other}"),
        }
        // Whoever may come again is told when, and that is soon.
        let soon = error
            .retry_after()
            .is_none_or(|after| after <= Duration::from_secs(30));
        assert!(soon, "{error}");
    }
    assert!(server.fetches() <= 5, "{}", server.fetches());
    assert!(reasons[0] > 0, "{reasons:?}");
    // One after the other as well.
    for kid in 0..1_000 {
        assert!(verify(&verifier, &made_up(kid)).await.is_err());
    }
    assert!(server.fetches() <= 5, "{}", server.fetches());
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    // A new key is noticed within half a minute all the same.
    server.publish(&[&OURS, &NEXT]);
    time::advance(Duration::from_secs(31)).await;
    verify(&verifier, &NEXT.token_for_today()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn budget_fills_up_in_quiet_times_and_not_beyond() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    verifier.warm().await;
    time::advance(2 * HOUR).await;
    for kid in 0..100 {
        assert!(verify(&verifier, &made_up(kid)).await.is_err());
    }
    assert_eq!(server.fetches(), 1 + 3);
    time::advance(10 * MINUTE).await;
    for kid in 0..100 {
        assert!(verify(&verifier, &made_up(kid)).await.is_err());
    }
    assert_eq!(server.fetches(), 1 + 3 + 3);
}

#[tokio::test(start_paused = true)]
async fn issuer_down_at_start_says_when_to_come_again() {
    let server = Server::new(&[&OURS]);
    server.set(|inner| inner.down = true);
    let verifier = server.verifier();
    verifier.warm().await;
    let token = OURS.token_for_today();
    for _ in 0..1_000 {
        let error = verify(&verifier, &token).await.unwrap_err();
        assert_eq!(error.reason(), Reason::KeysUnavailable);
        assert!(error.retry_after().is_some());
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            cause,
            "https://keys.test/jwks: the server answered with status 502"
        );
        assert!(!error.to_string().contains("keys.test"), "{error}");
    }
    assert_eq!(server.fetches(), 3);
    let [status] = verifier.status().try_into().unwrap();
    assert_eq!((status.keys, status.age), (0, None));
    assert!(status.failure.is_some());
    server.set(|inner| inner.down = false);
    time::advance(Duration::from_secs(30)).await;
    verify(&verifier, &token).await.unwrap();
    let [status] = verifier.status().try_into().unwrap();
    assert_eq!((status.keys, status.age), (1, Some(Duration::ZERO)));
    assert!(status.failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn issuer_down_later_stops_nobody_for_a_day() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    let token = OURS.token_for_today();
    verify(&verifier, &token).await.unwrap();
    server.set(|inner| {
        inner.down = true;
        inner.delay = Duration::from_secs(4);
    });
    let mut waited = 0;
    for _ in 0..47 {
        time::advance(HOUR).await;
        let start = time::Instant::now();
        verify(&verifier, &token).await.unwrap();
        waited += usize::from(start.elapsed() > Duration::ZERO);
        time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(
        waited, 0,
        "nobody waits: asking ahead of time has failed already"
    );
    let error = verify(&verifier, &made_up(1)).await.unwrap_err();
    assert_eq!(error.reason(), Reason::KeysUnavailable);
    time::advance(HOUR).await;
    let error = verify(&verifier, &token).await.unwrap_err();
    assert_eq!(error.reason(), Reason::KeysUnavailable);
}

#[tokio::test(start_paused = true)]
async fn stale_keys_wait_once_for_newer_ones() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    let token = OURS.token_for_today();
    verify(&verifier, &token).await.unwrap();
    time::advance(DAY + HOUR).await;
    server.set(|inner| {
        inner.down = true;
        inner.delay = Duration::from_secs(4);
    });
    let start = time::Instant::now();
    verify(&verifier, &token).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(4));
    verify(&verifier, &token).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(4));
}

#[tokio::test(start_paused = true)]
async fn slow_issuer_holds_up_neither_another_nor_known_keys() {
    let (slow, quick) = (Server::new(&[&OURS]), Server::new(&[&OURS]));
    let url = Url::parse("https://keys.test/jwks").unwrap();
    let other = Issuer {
        url: "https://slow.test".into(),
        ..issuer(KeySource::Url(url.clone()))
    };
    let verifier = Arc::new(Verifier::new(vec![
        (other, slow.fetch()),
        (issuer(KeySource::Url(url)), quick.fetch()),
    ]));
    slow.set(|inner| inner.delay = Duration::from_secs(60));
    let start = time::Instant::now();
    let warming = {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verifier.warm().await })
    };
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    warming.await.unwrap();
    // The bound on waiting, not what the server would take.
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    let failure = verifier.status()[0].failure.clone().unwrap();
    assert!(matches!(failure, fetch::Error::Slow { .. }), "{failure}");

    quick.set(|inner| inner.delay = Duration::from_secs(4));
    let unknown = {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verify(&verifier, &made_up(1)).await })
    };
    time::sleep(Duration::from_secs(1)).await;
    let start = time::Instant::now();
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(unknown.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn caller_who_hangs_up_takes_nothing_from_the_others() {
    let server = Server::new(&[&OURS]);
    server.set(|inner| inner.delay = Duration::from_secs(2));
    let verifier = Arc::new(server.verifier());
    let first = {
        let verifier = Arc::clone(&verifier);
        tokio::spawn(async move { verify(&verifier, &OURS.token_for_today()).await })
    };
    time::sleep(Duration::from_secs(1)).await;
    first.abort();
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    assert_eq!(server.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn fetch_that_panics_is_a_fetch_that_failed() {
    let url = Url::parse("https://keys.test/jwks").unwrap();
    let fetch = Fetch::new(|_| async { panic!("a defect") });
    let verifier = Verifier::new(vec![(issuer(KeySource::Url(url)), fetch)]);
    let error = verify(&verifier, &OURS.token_for_today())
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::KeysUnavailable);
}

#[tokio::test(start_paused = true)]
async fn useless_documents_do_not_take_the_place_of_good_keys() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    server.publish(&[]);
    assert!(verify(&verifier, &made_up(1)).await.is_err());
    let failure = verifier.status()[0].failure.clone().unwrap().to_string();
    assert!(failure.contains("has no RSA signature key"), "{failure}");
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn refused_tokens_cause_no_fetch() {
    let server = Server::new(&[&OURS]);
    let verifier = server.verifier();
    let late = SystemTime::now() + 2 * HOUR;
    let error = verifier
        .verify(&OURS.token_for_today(), late)
        .await
        .unwrap_err();
    assert_eq!(error.reason(), Reason::TokenExpired);
    assert!(
        verify(&verifier, &IdToken::new("x.y.z".into()))
            .await
            .is_err()
    );
    assert_eq!(server.fetches(), 0);
}

#[tokio::test]
async fn keys_in_a_file_are_read_again_for_an_unknown_key() {
    let path = std::env::temp_dir().join(format!("runner-secrets-jwks-{}", std::process::id()));
    std::fs::write(&path, key_set(&[OURS.jwk()])).unwrap();
    let no_network = Fetch::new(|_| async { panic!("a file needs no network") });
    let verifier = Verifier::new(vec![(issuer(KeySource::File(path.clone())), no_network)]);
    verify(&verifier, &OURS.token_for_today()).await.unwrap();
    std::fs::write(&path, key_set(&[NEXT.jwk()])).unwrap();
    verify(&verifier, &NEXT.token_for_today()).await.unwrap();
    std::fs::write(&path, vec![b' '; 600 * 1024]).unwrap();
    assert!(verify(&verifier, &OURS.token_for_today()).await.is_err());
    let failure = verifier.status()[0].failure.clone().unwrap().to_string();
    assert!(failure.contains("has more than 524288 bytes"), "{failure}");
    std::fs::remove_file(&path).unwrap();
    assert!(verify(&verifier, &made_up(1)).await.is_err());
    verify(&verifier, &NEXT.token_for_today()).await.unwrap();
}
