//! The issuer's keys: rotated in the middle of a run, asked for by a flood of made-up ids, not to
//! be had, and published where they should not be.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use azure_emulator::IdTokenRequest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{
    future::join_all,
    stream::{self, StreamExt as _},
};
use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use crate::{
    call::{Caller, Refusal, ask},
    crowd::scaled,
    daemon::{Daemon, Place, until},
    signer,
    stage::{Stage, config, emulator},
    trap::Trap,
};

/// What the daemon may ask for at once, and how long until it may ask once more.
const BURST: usize = 3;
const REFILL: Duration = Duration::from_secs(30);

/// A refusal for want of keys says when to come back, and nobody is blamed for a field.
fn assert_unavailable(refusal: &Refusal, what: &str) {
    let reason = Reason::KeysUnavailable;
    assert_eq!(refusal.reason, reason, "{what}: {refusal:?}");
    let retry = refusal.retry.unwrap();
    let soon = Duration::from_secs(1)..=REFILL;
    assert!(soon.contains(&retry), "{what}: {retry:?}");
    assert!(refusal.violations.is_empty(), "{what}: {refusal:?}");
    // When to come back is said once, in a field of its own.
    let told = "cannot be had at the moment";
    assert!(refusal.message.ends_with(told), "{what}: {refusal:?}");
}

/// Jobs that come and go while the issuer changes its key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_in_the_middle_of_a_run_loses_no_job() {
    const WORKERS: usize = 4;
    let stage = Arc::new(Stage::new().await);
    let before = stage.token();
    let done: Arc<[AtomicUsize; WORKERS]> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (stage, done, stop) = (stage.clone(), done.clone(), stop.clone());
        workers.push(tokio::spawn(async move {
            let caller = stage.caller().await;
            while !stop.load(Ordering::Relaxed) {
                let bytes = caller.bytes(ask(&stage.token()).value("A", "db-password"));
                assert_eq!(bytes.await["A"], b"correct horse battery staple");
                done[worker].fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    // Each goes on for a while: what it began before the change has ended.
    let some_more = async || {
        let seen: Vec<usize> = done.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        until("every worker goes on", || {
            let failed = workers.iter().any(tokio::task::JoinHandle::is_finished);
            let mut pairs = done.iter().zip(&seen);
            failed || pairs.all(|(done, seen)| done.load(Ordering::Relaxed) > seen + 2)
        })
        .await;
    };
    some_more().await;
    for rotation in 1..BURST {
        tokio::task::block_in_place(|| stage.emulator.rotate_keys(true).unwrap());
        some_more().await;
        let fetched = stage.requests("jwks").len();
        assert_eq!(fetched, 1 + rotation, "one for everybody who needs it");
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.await.unwrap();
    }
    // A job that has its token from before both is good until it ends.
    let caller = stage.caller().await;
    caller.bytes(ask(&before).value("A", "db-password")).await;
    assert_eq!(stage.requests("jwks").len(), BURST);
}

#[tokio::test]
async fn a_key_that_is_withdrawn_is_no_longer_good_and_the_new_one_is_at_once() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let before = stage.token();
    caller.bytes(ask(&before).value("A", "db-password")).await;
    stage.emulator.rotate_keys(false).unwrap();
    // Sixteen jobs at the same moment, each with a connection of its own.
    let jobs = (0..16).map(async |_| {
        let caller = stage.caller().await;
        caller
            .bytes(ask(&stage.token()).value("A", "db-password"))
            .await
    });
    for bytes in join_all(jobs).await {
        assert_eq!(bytes["A"], b"correct horse battery staple");
    }
    assert_eq!(stage.requests("jwks").len(), 2, "one fetch for all of them");
    stage.emulator.clear_requests();
    let refusal = caller.refused(ask(&before).value("A", "db-password")).await;
    assert_eq!(refusal.reason, Reason::TokenInvalid, "{refusal:?}");
    assert!(refusal.message.contains("does not publish"), "{refusal:?}");
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn made_up_key_ids_cost_the_issuer_a_handful_of_requests_and_hinder_nobody() {
    let count = scaled(10_000);
    let stage = Stage::with(|config| config.set("limits.caller_rate", 100_000)).await;
    let caller = stage.caller().await;
    let since = Instant::now();
    let good = stage.token();
    let (_, rest) = good.split_once('.').unwrap();
    let made_up = |number: usize| {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": format!("made-up-{number}")});
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{rest}")
    };
    let outcomes = stream::iter(0..count).map(async |number| {
        let refusal = caller.refused(ask(&made_up(number)).value("A", "db-password"));
        let refusal = refusal.await;
        if number % 50 == 0 {
            // A new job among them.
            let request = ask(&stage.token()).value("A", "db-password");
            let bytes = caller.bytes(request).await;
            assert_eq!(bytes["A"], b"correct horse battery staple");
        }
        match refusal.reason {
            Reason::TokenInvalid => {
                assert!(refusal.message.contains("does not publish"), "{refusal:?}");
            }
            _ => assert_unavailable(&refusal, "made up"),
        }
        refusal.reason
    });
    let reasons: Vec<Reason> = outcomes.buffer_unordered(16).collect().await;
    assert_eq!(reasons.len(), count);
    assert!(reasons.contains(&Reason::KeysUnavailable));
    let more = since.elapsed().as_secs() / REFILL.as_secs();
    let most = BURST + usize::try_from(more).unwrap();
    for route in ["jwks", "discovery"] {
        let asked = stage.requests(route).len();
        assert!(asked <= most, "{asked} requests for {route}");
    }
    assert_eq!(
        stage.counts().0,
        count.div_ceil(50),
        "who was made up went on to Entra"
    );
    // What the flood does cost: a new key may be noticed half a minute late. Its jobs are told to
    // come back, not that their tokens are bad.
    stage.emulator.rotate_keys(true).unwrap();
    if let Err(refusal) = caller
        .resolve(ask(&stage.token()).value("A", "db-password"))
        .await
    {
        assert_unavailable(&refusal, "a new key in a flood");
    }
}

/// Keys cannot be had when the daemon starts: it says so, goes on asking, and is well again as soon
/// as the issuer is.
async fn recovers(fault: Value, cause: &str) {
    let emulator = emulator().await;
    emulator.fault(&fault).unwrap();
    let mut stage = Stage::beside(emulator, |config| config).await;
    let caller = stage.caller().await;
    let request = ask(&stage.token()).value("A", "db-password");
    let refusal = caller.refused(request.clone()).await;
    assert_unavailable(&refusal, cause);
    let issuer = &stage.emulator.ready().issuer_url;
    assert!(refusal.message.contains(issuer), "{refusal:?}");
    // Why is for the operator.
    assert!(!refusal.message.contains(cause), "{refusal:?}");
    stage.daemon.logs(cause).await;
    assert!(stage.sent().is_empty());
    assert!(stage.requests("discovery").len() < BURST);
    stage.emulator.clear_faults();
    let bytes = caller.bytes(request).await;
    assert_eq!(bytes["A"], b"correct horse battery staple");
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_is_waited_for() {
    let status = |route, status| json!({"route": route, "kind": "status", "status": status});
    let kind = |route, kind| json!({"route": route, "kind": kind});
    let cases = [
        (status("discovery", 500), "answered with status 500"),
        (status("jwks", 503), "answered with status 503"),
        (
            kind("discovery", "reset"),
            "well-known/openid-configuration: ",
        ),
        (kind("jwks", "reset"), "discovery/keys: "),
        (kind("discovery", "html"), "answered with status 502"),
        (kind("jwks", "truncated"), "discovery/keys: "),
        (kind("jwks", "empty"), "is not JSON"),
        (kind("discovery", "hang"), "no answer within 5 s"),
        (kind("jwks", "hang"), "no answer within 5 s"),
    ];
    join_all(cases.map(|(fault, cause)| recovers(fault, cause))).await;
}

#[tokio::test]
async fn an_issuer_that_is_down_is_asked_a_handful_of_times() {
    let emulator = emulator().await;
    let down = json!({"route": "discovery", "kind": "status", "status": 500});
    emulator.fault(&down).unwrap();
    let stage = Stage::beside(emulator, |config| config).await;
    let since = Instant::now();
    let callers = (0..50).map(async |_| {
        let caller = stage.caller().await;
        caller
            .refused(ask(&stage.token()).value("A", "db-password"))
            .await
    });
    for refusal in join_all(callers).await {
        assert_unavailable(&refusal, "down");
    }
    // One after the other, none of them has a fetch to wait for.
    let caller = stage.caller().await;
    for _ in 0..20 {
        let refusal = caller.refused(ask(&stage.token()).value("A", "db-password"));
        assert_unavailable(&refusal.await, "still down");
    }
    let more = since.elapsed().as_secs() / REFILL.as_secs();
    let most = BURST + usize::try_from(more).unwrap();
    assert!(stage.requests("discovery").len() <= most);
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn known_keys_go_on_while_the_issuer_is_down() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let wanted = |token: &str| ask(token).value("A", "db-password");
    caller.bytes(wanted(&stage.token())).await;
    stage.fault(json!({"route": "jwks", "kind": "status", "status": 502}));
    stage.fault(json!({"route": "discovery", "kind": "reset"}));
    let known = stage.token();
    caller.bytes(wanted(&known)).await;
    stage.emulator.rotate_keys(true).unwrap();
    let unknown = stage.token();
    let refusal = caller.refused(wanted(&unknown)).await;
    assert_unavailable(&refusal, "a new key");
    caller.bytes(wanted(&known)).await;
    // What can be refused without a key still is, for what is wrong with it.
    let expired = stage.token_but(json!({"exp": 1}));
    let refusal = caller.refused(wanted(&expired)).await;
    assert_eq!(refusal.reason, Reason::TokenExpired, "{refusal:?}");
    stage.emulator.clear_faults();
    caller.bytes(wanted(&unknown)).await;
}

#[tokio::test]
async fn keys_come_from_the_url_that_the_operator_sets() {
    let emulator = emulator().await;
    let url = format!("{}/oauth/discovery/keys", emulator.ready().issuer_url);
    let stage = Stage::beside(emulator, |config| {
        config
            .text("issuer.url", signer::ISSUER)
            .text("issuer.jwks_url", &url)
    })
    .await;
    // Entra does not know this issuer, so it is not asked.
    let token = stage.token_but(json!({"iss": signer::ISSUER}));
    let caller = stage.caller().await;
    let verdicts = caller.explain(ask(&token).value("A", "db-password")).await;
    assert!(verdicts.unwrap()["A"].granted);
    let usual = caller
        .refused(ask(&stage.token()).value("A", "db-password"))
        .await;
    assert_eq!(usual.reason, Reason::TokenInvalid, "{usual:?}");
    assert_eq!(stage.requests("discovery").len(), 0);
    assert_eq!(stage.requests("jwks").len(), 1);
    assert!(stage.sent().is_empty());
}

#[tokio::test]
async fn keys_come_from_the_file_that_the_operator_names_and_a_file_can_appear_later() {
    let keys = Place::new();
    let stage = Stage::with(|config| signer::issued_by_us(config, &keys.path(""))).await;
    let caller = stage.caller().await;
    let wanted = |token: &str| ask(token).value("A", "db-password");
    let verdicts = caller.explain(wanted(&signer::token())).await;
    assert!(verdicts.unwrap()["A"].granted);
    // The emulator's keys are of no use here, whatever its tokens say.
    let other = stage.token_but(json!({"iss": signer::ISSUER}));
    let refusal = caller.refused(wanted(&other)).await;
    assert_eq!(refusal.reason, Reason::TokenInvalid, "{refusal:?}");
    assert!(stage.emulator.requests().is_empty());

    let keys = Place::new();
    let file = keys.path("jwks.json");
    let mut stage = Stage::with(|config| {
        let config = signer::issued_by_us(config, &keys.path(""));
        std::fs::remove_file(&file).unwrap();
        config
    })
    .await;
    let caller = stage.caller().await;
    let refusal = caller.refused(wanted(&signer::token())).await;
    assert_unavailable(&refusal, "no file");
    stage.daemon.logs("No such file or directory").await;
    signer::publish(&file);
    let verdicts = caller.explain(wanted(&signer::token())).await;
    assert!(verdicts.unwrap()["A"].granted);
}

/// Whoever can change one document of the issuer must not be able to name another server's.
#[tokio::test]
async fn keys_of_another_server_are_never_fetched() {
    let emulator = emulator().await;
    let trap = Trap::new();
    let issuer = emulator.ready().issuer_url.clone();
    let (own, elsewhere) = (issuer.trim_start_matches("https://"), trap.host());
    let document = |issuer: &str, jwks_uri: &str| {
        let body = json!({"issuer": issuer, "jwks_uri": jwks_uri});
        json!({"route": "discovery", "kind": "status", "status": 200, "body": body})
    };
    let keys = |uri: &str| document(&issuer, uri);
    let own_keys = format!("{issuer}/oauth/discovery/keys");
    let redirect = |route: &str, status: u16| {
        let headers = json!({"location": format!("https://{elsewhere}/keys")});
        json!({"route": route, "kind": "status", "status": status, "headers": headers})
    };
    let on_another = "has a jwks_uri on another server than the issuer's";
    let another = "names another issuer";
    let cases = [
        (document("https://gitlab.evil.test", &own_keys), another),
        (document(&format!("{issuer}/"), &own_keys), another),
        (document(&issuer.to_uppercase(), &own_keys), another),
        (
            document(
                &format!("https://{elsewhere}"),
                &format!("https://{elsewhere}/k"),
            ),
            another,
        ),
        (keys(&format!("https://{elsewhere}/keys")), on_another),
        (keys(&format!("http://{own}/keys")), on_another),
        (keys(&format!("http://{elsewhere}/keys")), on_another),
        (keys(&format!("https://{own}@{elsewhere}/keys")), on_another),
        (
            keys(&format!(
                "https://{}/keys",
                own.replace("localhost", "127.0.0.1")
            )),
            on_another,
        ),
        (keys("file:///etc/passwd"), on_another),
        (
            keys("/oauth/discovery/keys"),
            "has a jwks_uri that is no URL",
        ),
        (
            json!({"route": "discovery", "kind": "status", "status": 200, "body": {"issuer": issuer}}),
            "names no jwks_uri",
        ),
        (redirect("discovery", 301), "answered with status 301"),
        (redirect("discovery", 307), "answered with status 307"),
        (redirect("jwks", 302), "answered with status 302"),
        (redirect("jwks", 308), "answered with status 308"),
    ];
    let token = emulator.id_token(&IdTokenRequest::default()).unwrap();
    for (fault, problem) in cases {
        emulator.clear_faults();
        emulator.fault(&fault).unwrap();
        let place = Place::new();
        let path = place.path("config.toml");
        config(&place, &emulator).write(&path);
        let mut daemon = Daemon::start(&path).await;
        let caller = Caller::connect(&place.socket()).await;
        let refusal = caller.refused(ask(&token).value("A", "db-password")).await;
        assert_unavailable(&refusal, problem);
        daemon.logs(problem).await;
        assert_eq!(trap.visits(), 0, "{fault}");
    }
    let requests = emulator.requests();
    assert!(
        requests.iter().all(|request| request.host == own),
        "{requests:?}"
    );
    let jwks = requests.iter().filter(|request| request.route == "jwks");
    assert!(
        jwks.count() <= 2 * BURST,
        "only where the answer was a redirect"
    );
}
