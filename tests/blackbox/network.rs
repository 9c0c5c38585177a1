//! The listener for callers over the network: TLS, who they are, and what they cannot do.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use azure_emulator::Emulator;
use runner_secrets_proto::Reason;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    authority::{Authority, Leaf, keys, write},
    call::{Ask, Caller, ask, origin},
    daemon::{Config, Daemon, PATIENCE, Place, until},
    stage::{self, Stage},
};

const HERE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A daemon with an address, and the authority of its certificate.
struct Network {
    stage: Stage,
    own: Authority,
    address: SocketAddr,
}

impl Network {
    /// Without certificates of clients.
    async fn new() -> Self {
        Self::with(None, |config| config).await
    }

    /// With another configuration, and clients' certificates of an authority.
    async fn with(clients: Option<&Authority>, change: impl FnOnce(Config) -> Config) -> Self {
        let (place, own) = (Place::new(), Authority::new("the operator"));
        own.leaf().write(&place);
        Self::by(place, own, stage::emulator().await, clients, change).await
    }

    async fn by(
        place: Place,
        own: Authority,
        emulator: Emulator,
        clients: Option<&Authority>,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let mut keys = keys(&place);
        if let Some(clients) = clients {
            let file = write(&place, "clients.pem", &clients.pem());
            keys = format!("{keys}client_ca = {file:?}\n");
        }
        let listen = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{keys}");
        let config = stage::config(&place, &emulator).more(&listen);
        change(config).write(&place.path("config.toml"));
        let mut command = crate::daemon::serve(&place.path("config.toml"));
        command.env("RUST_LOG", "debug");
        let mut daemon = Daemon::run(command);
        daemon.logs("listening address=").await;
        let log = daemon.log();
        let address = log.split("listening address=").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        let stage = Stage {
            daemon,
            emulator,
            place,
        };
        Self {
            stage,
            own,
            address,
        }
    }

    /// TCP from an address of this host.
    async fn tcp(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// TLS, as far as the client's side can tell.
    async fn tls(&self, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
        shake(self.tcp(HERE).await, config).await
    }

    /// Over TLS, with a certificate or without one.
    async fn caller(&self, from: Ipv4Addr, own: Option<&Leaf>) -> Caller {
        let config = self.own.trusted(own, &["h2"]);
        Caller::of(shake(self.tcp(from).await, config).await.unwrap()).await
    }

    /// Whether nobody is served who is set up like this. With TLS 1.3 a client is done before it is
    /// refused, and hears of it with the first thing that it reads.
    async fn refuses(&self, config: Arc<ClientConfig>) -> bool {
        match self.tls(config).await {
            Err(_) => true,
            Ok(mut stream) => closed(&mut stream).await,
        }
    }

    fn ask(&self) -> Ask {
        ask(&self.stage.token()).value("A", "db-password")
    }
}

async fn shake(tcp: TcpStream, config: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, tcp).await
}

/// Waits until the daemon closes a connection, and says whether it sent nothing of HTTP/2 before.
async fn closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> bool {
    let mut said = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    drop(end.expect("the daemon closes it"));
    // At most an alert of TLS, which has seven bytes.
    said.len() <= 7
}

fn caller(record: &Value) -> &Value {
    &record["caller"]
}

#[tokio::test]
async fn a_job_on_the_network_gets_its_secrets_inline_and_the_record_says_from_where() {
    let network = Network::new().await;
    network.stage.put("db-password", "canary-of-the-network");
    let from_there = network.caller(ELSEWHERE, None).await;
    let token = network.stage.token();
    let asked = ask(&token)
        .value("A", "db-password")
        .file("B", "db-password");
    let verdicts = from_there.explain(asked.clone()).await.unwrap();
    assert!(verdicts.values().all(|verdict| verdict.granted));
    let answer = from_there.resolve(asked.clone()).await.unwrap();
    assert_eq!(answer.lease_id, "", "there are no files");
    assert!(!answer.disk_allowed);
    let bytes = from_there.bytes(asked).await;
    assert_eq!(bytes["A"], b"canary-of-the-network");
    assert_eq!(bytes["A"], bytes["B"]);
    assert!(network.stage.place.left().is_empty());
    let delivered = |record: &Value| record["reason"] == "DELIVERED" && record["call"] == "resolve";
    let record = network
        .stage
        .place
        .recorded("the delivery", delivered)
        .await;
    assert_eq!(caller(&record), &json!({"address": "127.0.0.2"}));
    assert_eq!(record["delivery"], "inline");
    let mut health = HealthClient::with_origin(from_there.connection(), origin());
    health.check(HealthCheckRequest::default()).await.unwrap();
    // Nor does anything of it get anywhere else.
    let trail = fs::read_to_string(network.stage.place.trail()).unwrap();
    for written in [network.stage.daemon.log(), trail] {
        assert!(!written.contains("canary-of-the-network"), "{written}");
        assert!(!written.contains(&token), "{written}");
    }
}

#[tokio::test]
async fn what_the_operator_allows_of_an_address_is_in_the_answer() {
    let allowed = |config: Config| config.more("inline_disk = true\nreflection = true\n");
    let network = Network::with(None, allowed).await;
    let caller = network.caller(HERE, None).await;
    assert!(caller.resolve(network.ask()).await.unwrap().disk_allowed);
}

#[tokio::test]
async fn a_caller_on_the_network_has_no_process_and_no_lease() {
    let network = Network::new().await;
    let remote = network.caller(HERE, None).await;
    let mut owned = network.ask();
    owned.0.owner_pid = 1;
    let refusal = remote.refused(owned).await;
    assert_eq!(refusal.reason, Reason::RequestInvalid);
    let (field, problem) = &refusal.violations[0];
    assert_eq!(field, "owner_pid");
    assert_eq!(
        problem,
        "names a process of this host, and nobody on the network is one; leave it out"
    );
    // Files of a job on the host stay, whoever knows the lease and has a token of that job.
    let local = network.stage.caller().await;
    let asked = ask(&network.stage.token()).file("A", "db-password");
    let lease = local.resolve(asked).await.unwrap().lease_id;
    let token = network.stage.token();
    remote.release(&lease, &token).await.unwrap();
    remote.release("no-lease", &token).await.unwrap();
    assert_eq!(network.stage.place.left().len(), 1);
    let refusal = remote.release("no-lease", "no token").await.unwrap_err();
    assert_eq!(refusal.reason, Reason::TokenInvalid);
}

#[tokio::test]
async fn only_clients_with_a_certificate_of_the_right_authority_are_served() {
    let (clients, others) = (Authority::new("the jobs"), Authority::new("the jobs"));
    let network = Network::with(Some(&clients), |config| config).await;
    for (what, leaf) in [
        ("none", None),
        ("another authority's", Some(others.client("jobs", 2100))),
        ("an expired one", Some(clients.client("jobs", 2001))),
    ] {
        let config = network.own.trusted(leaf.as_ref(), &["h2"]);
        assert!(network.refuses(config).await, "{what}");
    }
    assert!(network.stage.sent().is_empty());
    let leaf = clients.client("jobs", 2100);
    let caller = network.caller(HERE, Some(&leaf)).await;
    caller.bytes(network.ask()).await;
    let delivered = |record: &Value| record["reason"] == "DELIVERED";
    let record = network
        .stage
        .place
        .recorded("the delivery", delivered)
        .await;
    let known = json!({"address": "127.0.0.1", "certificate": "CN=jobs"});
    assert_eq!(record["caller"], known);
    let log = network.stage.daemon.log();
    assert!(log.contains("certificate=\"CN=jobs\""), "{log}");
    assert!(log.contains("no TLS with a caller"), "{log}");
}

#[tokio::test]
async fn clients_can_tell_that_it_is_the_daemon() {
    let network = Network::new().await;
    let others = Authority::new("the operator");
    let refused = network.tls(others.trusted(None, &["h2"])).await;
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("invalid peer certificate"), "{error}");
    network.own.ended().write(&network.stage.place);
    network.stage.daemon.signal(Signal::HUP);
    let trusted = || network.own.trusted(None, &["h2"]);
    let mut shaken = network.tls(trusted()).await;
    while shaken.is_ok() {
        shaken = network.tls(trusted()).await;
    }
    let error = shaken.unwrap_err().to_string();
    assert!(error.contains("certificate expired"), "{error}");
}

#[tokio::test]
async fn nothing_but_http_2_over_tls_is_spoken() {
    let network = Network::new().await;
    // HTTP/2 in the clear, as over the socket, and HTTP/1.1.
    for hello in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut tcp = network.tcp(HERE).await;
        tcp.write_all(hello).await.unwrap();
        assert!(closed(&mut tcp).await);
    }
    for protocols in [&[][..], &["http/1.1"]] {
        let config = network.own.trusted(None, protocols);
        assert!(network.refuses(config).await, "{protocols:?}");
    }
    network.caller(HERE, None).await.bytes(network.ask()).await;
}

#[tokio::test]
async fn whoever_is_slow_with_tls_is_hung_up_on() {
    let network = Network::with(None, |config| config.text("limits.idle_timeout", "1s")).await;
    let mut silent = network.tcp(HERE).await;
    let mut begun = network.tcp(HERE).await;
    // The head of a record of TLS, which is never there whole.
    begun.write_all(&[0x16, 3, 1, 0x10, 0]).await.unwrap();
    assert!(closed(&mut silent).await);
    assert!(closed(&mut begun).await);
    // Nor is a connection kept that nothing is asked over.
    let mut idle = network
        .tls(network.own.trusted(None, &["h2"]))
        .await
        .unwrap();
    let mut said = Vec::new();
    let end = timeout(PATIENCE, idle.read_to_end(&mut said)).await;
    drop(end.expect("the daemon closes it"));
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_others_out() {
    let network = Network::with(None, |config| config.set("limits.connections", 4)).await;
    let mut silent = Vec::new();
    for _ in 0..32 {
        silent.push(network.tcp(ELSEWHERE).await);
    }
    network.caller(HERE, None).await.bytes(network.ask()).await;
    network.stage.caller().await.bytes(network.ask()).await;
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_in_use_after_a_reload_and_a_bad_one_never() {
    let mut network = Network::new().await;
    let before = network.caller(HERE, None).await;
    before.bytes(network.ask()).await;
    let old = Authority::new("nobody");
    let old = std::mem::replace(&mut network.own, old);
    network.own.leaf().write(&network.stage.place);
    network.stage.daemon.signal(Signal::HUP);
    let daemon = &mut network.stage.daemon;
    daemon.logs("the certificate was read anew").await;
    network.caller(HERE, None).await.bytes(network.ask()).await;
    assert!(network.tls(old.trusted(None, &["h2"])).await.is_err());
    // What was connected goes on.
    before.bytes(network.ask()).await;
    // A key that does not fit, no certificate at all, and no file.
    let key = network.stage.place.path("key.pem");
    let spoilt: [&dyn Fn(); 3] = [
        &|| {
            write(
                &network.stage.place,
                "key.pem",
                &old.leaf().key.serialize_pem(),
            );
        },
        &|| {
            write(&network.stage.place, "cert.pem", "none");
        },
        &|| fs::remove_file(&key).unwrap(),
    ];
    for spoil in spoilt {
        spoil();
        let said = "the certificate was not read anew, the old one stays in use";
        let log = || network.stage.daemon.log().matches(said).count();
        let seen = log();
        network.stage.daemon.signal(Signal::HUP);
        until("the daemon says so", || log() > seen).await;
        network.caller(HERE, None).await.bytes(network.ask()).await;
    }
    let log = network.stage.daemon.log();
    assert!(log.contains("keys may not be consistent"), "{log}");
    assert!(log.contains("cert.pem: no items found"), "{log}");
}

#[tokio::test]
async fn a_client_whose_authority_was_taken_away_is_not_served_any_more() {
    let (clients, others) = (Authority::new("the jobs"), Authority::new("the others"));
    let mut network = Network::with(Some(&clients), |config| config).await;
    let leaf = clients.client("jobs", 2100);
    let config = network.own.trusted(Some(&leaf), &["h2"]);
    // With the same configuration, so that the client could go on with its session.
    let first = network.tls(config.clone()).await.unwrap();
    Caller::of(first).await.bytes(network.ask()).await;
    write(&network.stage.place, "clients.pem", &others.pem());
    network.stage.daemon.signal(Signal::HUP);
    let daemon = &mut network.stage.daemon;
    daemon.logs("the certificate was read anew").await;
    assert!(network.refuses(config).await);
    let leaf = others.client("jobs", 2100);
    let caller = network.caller(HERE, Some(&leaf)).await;
    caller.bytes(network.ask()).await;
}

#[tokio::test]
async fn a_token_is_of_the_address_that_presents_it_first() {
    let clients = Authority::new("the jobs");
    let network = Network::with(Some(&clients), |config| config).await;
    let (one, two) = (clients.client("one", 2100), clients.client("two", 2100));
    let first = network.caller(HERE, Some(&one)).await;
    let asked = network.ask();
    first.bytes(asked.clone()).await;
    let again = network.caller(HERE, Some(&one)).await;
    again.bytes(asked.clone()).await;
    for thief in [
        network.caller(ELSEWHERE, Some(&one)).await,
        network.caller(HERE, Some(&two)).await,
        network.stage.caller().await,
    ] {
        let refusal = thief.refused(asked.clone()).await;
        assert_eq!(refusal.reason, Reason::CallerDenied);
        let problem = "somebody at another address, or with another certificate, presented the same \
            ID token before";
        assert_eq!(refusal.message, problem);
    }
}

#[tokio::test]
async fn an_address_has_a_rate_of_its_own() {
    let network = Network::with(None, |config| config.set("limits.caller_rate", 1)).await;
    let (greedy, other) = (
        network.caller(HERE, None).await,
        network.caller(ELSEWHERE, None).await,
    );
    let mut refused = None;
    for _ in 0..30 {
        refused = greedy.resolve(ask("no token").value("A", "a")).await.err();
        let over = |refusal: &crate::call::Refusal| refusal.reason == Reason::Overloaded;
        if refused.as_ref().is_some_and(over) {
            break;
        }
    }
    let refused = refused.unwrap();
    assert_eq!(refused.reason, Reason::Overloaded);
    let problem = "this address sends more requests than limits.caller_rate allows";
    assert!(refused.message.contains(problem), "{refused:?}");
    // Another connection of the same address counts, another address and the socket do not.
    let again = network.caller(HERE, None).await;
    let refusal = again.refused(network.ask()).await;
    assert_eq!(refusal.reason, Reason::Overloaded);
    other.bytes(network.ask()).await;
    network.stage.caller().await.bytes(network.ask()).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_and_nothing_is_served() {
    let network = Network::new().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new();
    network.own.leaf().write(&place);
    let listen = format!("[[listen]]\naddress = {address:?}\n{}", keys(&place));
    let path = place.path("config.toml");
    Config::of(&place).more(&listen).write(&path);
    let mut daemon = Daemon::spawn(&path);
    assert_eq!(daemon.ends().await.code(), Some(1), "{}", daemon.log());
    let problem = format!("listen.address: {address}: Address already in use");
    assert!(daemon.log().contains(&problem), "{}", daemon.log());
    assert!(!place.socket().exists());
}
