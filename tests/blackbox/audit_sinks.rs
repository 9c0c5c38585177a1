//! Records on syslog and on standard output: what arrives, and what happens when nothing can.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::{fs::OpenOptionsExt as _, net::UnixDatagram},
    process::Command,
};

use runner_secrets_proto::{Reason, v1::AzureKeyVaultServer};
use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    process::Signal,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    call::{Caller, ask, azure, origin},
    collector::{Collector, Manner, Port, record},
    daemon::{Config, Daemon, PATIENCE, Place, serve, until},
    stage::{Stage, config, emulator},
    trail::{assert_chain, count, trail},
};

const SERVING: i32 = 1;
const NOT_SERVING: i32 = 2;

fn syslog(config: Config, port: u16) -> Config {
    config.text("audit.syslog", &format!("tcp://127.0.0.1:{port}"))
}

/// Nothing but a syslog server has the records.
pub(crate) fn only(config: Config, port: u16) -> Config {
    let config = syslog(config, port).unset("audit.path");
    let config = config
        .set("audit.file", false)
        .text("audit.durable", "syslog");
    often(config.text("audit.timeout", "500ms"))
}

/// A single job may ask as often as it takes to fill what is between here and there.
fn often(config: Config) -> Config {
    let config = config.set("limits.token_rate", 100_000);
    config.set("limits.caller_rate", 100_000)
}

async fn status(caller: &Caller) -> i32 {
    let mut health = HealthClient::with_origin(caller.connection(), origin());
    let answer = health.check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status
}

async fn is_served(stage: &Stage, caller: &Caller) {
    let request = ask(&stage.token()).value("A", "db-password");
    caller.resolve(request).await.unwrap();
}

async fn is_refused(stage: &Stage, caller: &Caller) {
    let before = stage.requests("secret").len();
    let request = ask(&stage.token()).value("A", "db-password");
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::AuditFailed, "{}", refusal.message);
    assert_eq!(stage.requests("secret").len(), before);
}

/// Waits until health says that requests are served, or that they are not.
async fn becomes(caller: &Caller, wanted: i32) {
    let became = async { while status(caller).await != wanted {} };
    let in_time = tokio::time::timeout(PATIENCE, became).await.is_ok();
    assert!(in_time, "health never says {wanted}");
}

#[tokio::test]
async fn each_record_is_a_message_byte_for_byte_with_its_number_and_hash() {
    let collector = Collector::start();
    let mut stage = Stage::with(|config| syslog(config, collector.port)).await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    drop(caller);
    stage.daemon.stop(Signal::TERM).await;
    collector.gets(r#""event":"checkpoint""#).await;
    let messages = collector.messages();
    let file = fs::read_to_string(stage.place.trail()).unwrap();
    let sent: Vec<&str> = messages.iter().map(|message| record(message)).collect();
    assert_eq!(sent, file.lines().collect::<Vec<_>>());
    for message in &messages {
        let (head, record) = message.split_once("] ").unwrap();
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let parts: Vec<&str> = head.splitn(7, ' ').collect();
        // Facility 13, log audit; severity 6; version 1.
        assert_eq!(parts[0], "<110>1");
        assert_eq!(parts[1], record["time"]);
        assert_eq!(parts[3], "runner-secretsd");
        assert!(parts[4].parse::<u32>().is_ok());
        assert_eq!(parts[5], "audit");
        let (seq, hash) = (&record["seq"], record["hash"].as_str().unwrap());
        let data = format!("[runner-secrets@32473 seq=\"{seq}\" hash=\"{hash}\"");
        assert_eq!(parts[6], data);
    }
}

#[tokio::test]
async fn a_server_that_does_not_count_refuses_nobody_and_gets_everything_later() {
    let port = Port::new();
    let mut stage = Stage::with(|config| syslog(config, port.number())).await;
    let caller = stage.caller().await;
    stage
        .daemon
        .logs("an audit sink fails: its records wait")
        .await;
    is_served(&stage, &caller).await;
    assert_eq!(status(&caller).await, SERVING);
    let collector = Collector::at(port, None);
    collector.gets("DELIVERED").await;
    collector.now(Manner::Closes).await;
    is_served(&stage, &caller).await;
    is_served(&stage, &caller).await;
    collector.now(Manner::Takes).await;
    drop(caller);
    let seen = || count(&collector.records(), "outcome") == 3;
    until("all outcomes have come", seen).await;
    stage.daemon.stop(Signal::TERM).await;
    let failed = stage.daemon.log().matches("an audit sink fails").count();
    assert!((1..=2).contains(&failed), "{}", stage.daemon.log());
}

#[tokio::test]
async fn a_server_that_counts_and_closes_refuses_everything_until_it_takes_again() {
    let collector = Collector::start();
    let stage = Stage::with(|config| only(config, collector.port)).await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    for _ in 0..2 {
        collector.now(Manner::Closes).await;
        is_refused(&stage, &caller).await;
        becomes(&caller, NOT_SERVING).await;
        is_refused(&stage, &caller).await;
        collector.now(Manner::Takes).await;
        becomes(&caller, SERVING).await;
        is_served(&stage, &caller).await;
    }
    let seen = || count(&collector.records(), "recovered") >= 2;
    until("the server knows of it", seen).await;
    assert_eq!(collector.records()[0]["event"], "header");
    assert!(!stage.place.trail().exists());
}

#[tokio::test]
async fn a_server_that_counts_may_come_after_the_daemon() {
    let port = Port::new();
    let stage = Stage::with(|config| only(config, port.number())).await;
    let caller = stage.caller().await;
    becomes(&caller, NOT_SERVING).await;
    is_refused(&stage, &caller).await;
    let collector = Collector::at(port, None);
    becomes(&caller, SERVING).await;
    is_served(&stage, &caller).await;
    collector.gets("DELIVERED").await;
    let records = collector.records();
    assert_eq!(records[0]["event"], "header");
    assert_eq!(count(&records, "recovered"), 1);
    assert_eq!(count(&records, "start"), 1);
}

#[tokio::test]
async fn a_server_that_counts_and_does_not_read_is_noticed_and_holds_up_no_end() {
    let collector = Collector::start();
    let mut stage = Stage::with(|config| only(config, collector.port)).await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    collector.now(Manner::DoesNotRead).await;
    let token = stage.token();
    let mut large = ask(&token);
    for number in 0..50 {
        let variable = format!("V{number}");
        large = large
            .file(&variable, &"x".repeat(120))
            .but(&variable, |secret| {
                azure(secret).server = Some(AzureKeyVaultServer {
                    url: "https://other.vault.azure.net".to_owned(),
                    ..AzureKeyVaultServer::default()
                });
            });
    }
    // What it has not read fills the buffers between here and there.
    let mut asked = 0;
    loop {
        let denied = caller.refused(large.clone()).await.reason;
        if denied == Reason::AuditFailed {
            break;
        }
        assert_eq!(denied, Reason::PolicyDenied);
        let request = ask(&token).value("A", "db-password");
        if let Err(refusal) = caller.resolve(request).await {
            assert_eq!(refusal.reason, Reason::AuditFailed);
            break;
        }
        asked += 1;
        assert!(asked < 2_000, "the buffers are never full");
    }
    // What was on its way when it was noticed may be taken by a new connection, which is empty again.
    drop(caller);
    stage.daemon.signal(Signal::TERM);
    // It says that the trail was not closed, but it ends.
    stage.daemon.ends().await;
}

#[tokio::test]
async fn tls_needs_a_certificate_of_the_operators_ca() {
    let (collector, ca) = Collector::tls();
    let (_, other) = Collector::tls();
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    fs::write(path("ca.pem"), ca).unwrap();
    fs::write(path("other.pem"), other).unwrap();
    let with = |config: Config, ca: &str| {
        let server = format!("tls://localhost:{}", collector.port);
        let config = config.text("audit.syslog", &server);
        let config = config.text("audit.syslog_ca_file", &path(ca));
        let config = config.unset("audit.path").set("audit.file", false);
        config.text("audit.durable", "syslog")
    };
    let stage = Stage::with(|config| with(config, "ca.pem")).await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    collector.gets("DELIVERED").await;
    collector.now(Manner::Closes).await;
    is_refused(&stage, &caller).await;
    collector.now(Manner::Takes).await;
    becomes(&caller, SERVING).await;
    assert_eq!(count(&collector.records(), "header"), 1);

    let mut stage = Stage::with(|config| with(config, "other.pem")).await;
    let caller = stage.caller().await;
    is_refused(&stage, &caller).await;
    stage.daemon.logs("invalid peer certificate").await;
}

#[tokio::test]
async fn the_hosts_own_socket_gets_a_datagram_for_each_record() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("log");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut stage =
        Stage::with(|config| config.text("audit.syslog", &format!("unix:{}", path.display())))
            .await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    drop(caller);
    stage.daemon.stop(Signal::TERM).await;
    socket.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut records = Vec::new();
    while let Ok(length) = socket.recv(&mut buffer) {
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(message.starts_with("<110>1 "), "{message}");
        records.push(record(&message).to_owned());
    }
    let records = assert_chain(&records);
    assert_eq!(records, trail(stage.place.trail().parent().unwrap()));
}

#[tokio::test]
async fn a_file_that_does_not_count_refuses_nobody_and_begins_anew() {
    let collector = Collector::start();
    let mut stage = Stage::with(|config| {
        let config = syslog(config, collector.port);
        config.text("audit.durable", "syslog")
    })
    .await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    let outcome = |record: &serde_json::Value| record["event"] == "outcome";
    stage.place.recorded("the outcome", outcome).await;
    fs::remove_file(stage.place.trail()).unwrap();
    is_served(&stage, &caller).await;
    stage.daemon.logs("which is a copy, misses records").await;
    assert_eq!(status(&caller).await, SERVING);
    is_served(&stage, &caller).await;
    drop(caller);
    stage.daemon.stop(Signal::TERM).await;
    collector.gets("\"event\":\"stop\"").await;
    let records = collector.records();
    assert_eq!(count(&records, "outcome"), 3);
    let copied = stage.place.records();
    assert_eq!(copied[0]["event"], "header");
    assert_eq!(count(&copied, "stop"), 1);
    assert!(count(&copied, "outcome") >= 1);
}

/// A daemon whose standard output is the other end of a pipe.
async fn into_pipe() -> (Stage, File) {
    let (place, emulator) = (Place::new(), emulator().await);
    let pipe = place.path("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let reader = File::options()
        .read(true)
        .custom_flags(flags)
        .open(&pipe)
        .unwrap();
    let path = place.path("config.toml");
    often(config(&place, &emulator))
        .set("audit.stdout", true)
        .write(&path);
    let serve = serve(&path);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "pipe=$1; shift; exec \"$@\" >\"$pipe\"", "sh"]);
    command
        .arg(&pipe)
        .arg(serve.get_program())
        .args(serve.get_args());
    command.env_clear();
    let mut daemon = Daemon::run(command);
    daemon.listens().await;
    let stage = Stage {
        daemon,
        emulator,
        place,
    };
    (stage, reader)
}

#[tokio::test]
async fn standard_output_has_every_record() {
    let (mut stage, mut reader) = into_pipe().await;
    let caller = stage.caller().await;
    is_served(&stage, &caller).await;
    drop(caller);
    stage.daemon.stop(Signal::TERM).await;
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, fs::read_to_string(stage.place.trail()).unwrap());
}

#[tokio::test]
async fn a_pipe_that_nobody_reads_refuses_nobody_and_holds_up_no_end() {
    let (mut stage, reader) = into_pipe().await;
    let caller = stage.caller().await;
    let token = stage.token();
    // A pipe holds 64 KiB.
    let full = 3 * 64 * 1024;
    while fs::metadata(stage.place.trail()).unwrap().len() < full {
        caller
            .resolve(ask(&token).value("A", "db-password"))
            .await
            .unwrap();
    }
    drop(caller);
    stage.daemon.stop(Signal::TERM).await;
    let log = stage.daemon.log();
    assert!(
        log.contains("stopped before an audit sink had all records"),
        "{log}"
    );
    let records = trail(stage.place.trail().parent().unwrap());
    assert_eq!(count(&records, "stop"), 1);
    drop(reader);
}
