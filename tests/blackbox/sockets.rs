//! The daemon's sockets: whose they are, who else wants them, and what else is served there.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::OwnedFd,
        unix::{
            fs::MetadataExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    process::{Command, Stdio},
};

use futures_util::stream;
use runner_secrets_proto::{Reason, v1::variable::Content};
use rustix::process::Signal;
use serde_json::json;
use tonic::{Code, Request};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    call::{Caller, ask, origin},
    daemon::{Config, Daemon, PROGRAM, Place, names},
    signer::issued_by_us,
    stage::Stage,
};

const SERVICE: &str = "runner_secrets.v1.SecretsProvider";

/// A daemon that nobody asks for a secret.
fn idle(change: impl FnOnce(Config) -> Config) -> Place {
    let place = Place::new();
    let config = issued_by_us(Config::of(&place), &place.path(""));
    change(config).write(&place.path("config.toml"));
    place
}

async fn is_serving(caller: &Caller, service: &str) -> bool {
    let mut health = HealthClient::with_origin(caller.connection(), origin());
    let request = HealthCheckRequest {
        service: service.to_owned(),
    };
    let answer = health.check(request).await.unwrap().into_inner();
    answer.status() == ServingStatus::Serving
}

#[tokio::test]
async fn a_socket_has_its_mode_and_group_and_its_directory_to_itself() {
    // Its own group is one that everybody may give away.
    let group = rustix::process::getegid().as_raw();
    let group = if rustix::process::geteuid().is_root() {
        group + 54_321
    } else {
        group
    };
    for mode in [0o600, 0o660, 0o666] {
        let place = idle(|config| {
            config
                .text("listen.socket_mode", &format!("{mode:04o}"))
                .text("listen.socket_group", &group.to_string())
        });
        let _daemon = Daemon::start(&place.path("config.toml")).await;
        let socket = fs::symlink_metadata(place.socket()).unwrap();
        assert_eq!(socket.mode() & 0o7777, mode);
        assert_eq!(socket.gid(), group);
        assert_eq!(names(&place.path("api")), ["api.sock"]);
    }
    let place = idle(|config| config);
    let _daemon = Daemon::start(&place.path("config.toml")).await;
    let socket = fs::symlink_metadata(place.socket()).unwrap();
    assert_eq!(socket.mode() & 0o7777, 0o660);
}

/// Starts another daemon with the same configuration, which must not start.
async fn fails_to_start(place: &Place) -> String {
    let mut daemon = Daemon::spawn(&place.path("config.toml"));
    let status = daemon.ends().await;
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    daemon.log()
}

#[tokio::test]
async fn an_unknown_group_is_named() {
    let place = idle(|config| config.text("listen.socket_group", "no-such-group"));
    let log = fails_to_start(&place).await;
    assert!(log.contains("there is no group no-such-group"), "{log}");
    assert!(names(&place.path("api")).is_empty());
}

#[tokio::test]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let place = idle(|config| config);
    let path = place.path("config.toml");
    let mut first = Daemon::start(&path).await;
    let inode = fs::metadata(place.socket()).unwrap().ino();
    for _ in 0..3 {
        let log = fails_to_start(&place).await;
        let expected = format!(
            "{} is in use by another process; stop that one first, or configure another socket",
            place.socket().display()
        );
        assert!(log.contains(&expected), "{log}");
    }
    assert_eq!(fs::metadata(place.socket()).unwrap().ino(), inode);
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
    first.stop(Signal::TERM).await;
    // Now it may.
    let mut next = Daemon::start(&path).await;
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
    next.stop(Signal::TERM).await;
}

#[tokio::test]
async fn the_socket_of_a_killed_daemon_is_replaced() {
    let place = idle(|config| config);
    let path = place.path("config.toml");
    for _ in 0..2 {
        let mut daemon = Daemon::start(&path).await;
        assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
        daemon.signal(Signal::KILL);
        daemon.ends().await;
        assert!(place.socket().exists(), "it had no time to clean up");
    }
    let mut daemon = Daemon::start(&path).await;
    daemon.stop(Signal::TERM).await;
    assert!(names(&place.path("api")).is_empty());
}

#[tokio::test]
async fn of_twenty_daemons_on_one_socket_exactly_one_serves() {
    let place = idle(|config| config);
    let path = place.path("config.toml");
    // A stale socket makes all of them want to replace it.
    let mut dead = Daemon::start(&path).await;
    dead.signal(Signal::KILL);
    dead.ends().await;
    let mut daemons: Vec<Daemon> = (0..20).map(|_| Daemon::spawn(&path)).collect();
    let mut serving = 0;
    for daemon in &mut daemons {
        if daemon.listens_or_ends().await {
            serving += 1;
        } else {
            assert_eq!(daemon.ends().await.code(), Some(1));
            let log = daemon.log();
            assert!(log.contains("is in use by another process"), "{log}");
        }
    }
    assert_eq!(serving, 1);
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
    assert_eq!(names(&place.path("api")), ["api.sock"]);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let place = idle(|config| config);
    fs::create_dir(place.path("api")).unwrap();
    fs::write(place.socket(), "precious").unwrap();
    let log = fails_to_start(&place).await;
    assert!(
        log.contains("exists and is no socket; move it away"),
        "{log}"
    );
    assert_eq!(fs::read(place.socket()).unwrap(), b"precious");
    assert_eq!(names(&place.path("api")), ["api.sock"]);
}

#[tokio::test]
async fn the_socket_of_another_program_is_left_alone() {
    let place = idle(|config| config);
    fs::create_dir(place.path("api")).unwrap();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let log = fails_to_start(&place).await;
    assert!(log.contains("is in use by another process"), "{log}");
    // The daemon's own knock, and then ours.
    drop(listener.accept().unwrap());
    let _ours = UnixStream::connect(place.socket()).unwrap();
    drop(listener.accept().unwrap());
}

/// The daemon with listening sockets as systemd passes them, by way of a shell that moves standard
/// input to where they belong.
pub(crate) fn activated(place: &Place, listener: UnixListener) -> Command {
    let script = r#"exec 3<&0 </dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@""#;
    let mut command = Command::new("/bin/sh");
    command.env_clear().args(["-c", script, "sh", PROGRAM]);
    command.args(["serve", "--config"]);
    command.arg(place.path("config.toml"));
    command.stdin(Stdio::from(OwnedFd::from(listener)));
    command
}

#[tokio::test]
async fn a_socket_that_systemd_passes_is_served_and_left_to_systemd() {
    let place = idle(|config| config);
    fs::create_dir(place.path("api")).unwrap();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let inode = fs::metadata(place.socket()).unwrap().ino();
    // Who connects before the daemon runs is served as soon as it does.
    let early = UnixStream::connect(place.socket()).unwrap();
    let kept = listener.try_clone().unwrap();
    let mut daemon = Daemon::run(activated(&place, listener));
    daemon.listens().await;
    drop(early);
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
    assert_eq!(fs::metadata(place.socket()).unwrap().ino(), inode);
    daemon.stop(Signal::TERM).await;
    assert_eq!(fs::metadata(place.socket()).unwrap().ino(), inode);
    // It still listens: systemd holds it, and starts the daemon again.
    assert!(UnixStream::connect(place.socket()).is_ok());
    let mut again = Daemon::run(activated(&place, kept));
    again.listens().await;
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
    again.stop(Signal::INT).await;
}

#[tokio::test]
async fn a_passed_socket_that_nobody_asked_for_is_a_mistake() {
    let place = idle(|config| config);
    let other = place.path("other.sock");
    let listener = UnixListener::bind(&other).unwrap();
    let mut daemon = Daemon::run(activated(&place, listener));
    assert_eq!(daemon.ends().await.code(), Some(1));
    let expected = format!(
        "systemd passed the socket {}, which no [[listen]] names",
        other.display()
    );
    assert!(daemon.log().contains(&expected), "{}", daemon.log());
}

#[tokio::test]
async fn health_is_always_served() {
    let place = idle(|config| config);
    let _daemon = Daemon::start(&place.path("config.toml")).await;
    let caller = Caller::connect(&place.socket()).await;
    for service in ["", SERVICE] {
        assert!(is_serving(&caller, service).await, "{service:?}");
    }
}

/// Who watches is told, and does not keep the daemon.
#[tokio::test]
async fn health_says_so_when_the_daemon_stops() {
    let mut stage = Stage::new().await;
    let caller = stage.caller().await;
    let mut watched = Vec::new();
    for service in ["", SERVICE] {
        let mut health = HealthClient::with_origin(caller.connection(), origin());
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut answers = health.watch(request).await.unwrap().into_inner();
        let first = answers.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::Serving, "{service:?}");
        watched.push((service, answers));
    }
    stage.fault(json!({"route": "secret", "kind": "delay", "delay_ms": 500}));
    let request = ask(&stage.token()).value("A", "db-password");
    let call = tokio::spawn(async move { caller.resolve(request).await });
    stage.asked("secret").await;
    stage.daemon.signal(Signal::TERM);
    for (service, mut answers) in watched {
        let next = answers.message().await.unwrap().unwrap();
        assert_eq!(next.status(), ServingStatus::NotServing, "{service:?}");
        assert_eq!(answers.message().await.unwrap(), None, "{service:?}");
    }
    assert!(call.await.unwrap().is_ok());
    let status = stage.daemon.ends().await;
    assert_eq!(status.code(), Some(0), "{}", stage.daemon.log());
}

#[tokio::test]
async fn reflection_is_served_where_it_is_configured() {
    for reflects in [false, true] {
        let place = idle(|config| config.set("listen.reflection", reflects));
        let _daemon = Daemon::start(&place.path("config.toml")).await;
        let caller = Caller::connect(&place.socket()).await;
        let mut client = ServerReflectionClient::with_origin(caller.connection(), origin());
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let asked = client.server_reflection_info(Request::new(stream::iter([request])));
        let mut answers = match asked.await {
            Ok(answers) => answers.into_inner(),
            Err(refused) => {
                assert!(!reflects, "{refused}");
                assert_eq!(refused.code(), Code::Unimplemented);
                continue;
            }
        };
        assert!(reflects);
        let answer = answers.message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
            panic!("{answer:?}");
        };
        let services: Vec<String> = list.service.into_iter().map(|found| found.name).collect();
        assert!(services.iter().any(|name| name == SERVICE), "{services:?}");
    }
}

#[tokio::test]
async fn what_is_no_request_of_ours_harms_nobody() {
    let place = idle(|config| config);
    let _daemon = Daemon::start(&place.path("config.toml")).await;
    let caller = Caller::connect(&place.socket()).await;
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
    let get = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    for said in [
        bytes,
        get,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        Vec::new(),
    ] {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        // It may hang up before it has heard all of it.
        drop(stream.write_all(&said));
    }
    // A service that is not there.
    let mut other = ServerReflectionClient::with_origin(caller.connection(), origin());
    let nothing = stream::iter(Vec::<ServerReflectionRequest>::new());
    let refused = other.server_reflection_info(Request::new(nothing)).await;
    assert_eq!(refused.unwrap_err().code(), Code::Unimplemented);
    assert!(is_serving(&caller, SERVICE).await);
    assert!(is_serving(&Caller::connect(&place.socket()).await, SERVICE).await);
}

#[tokio::test]
async fn each_listener_delivers_in_its_own_way() {
    let place = Place::new();
    let emulator = crate::stage::emulator().await;
    let inline = place.path("inline/api.sock");
    let second = format!(
        "[[listen]]\nsocket = {:?}\ndelivery = \"inline\"\nsocket_mode = \"0666\"\n",
        inline.display().to_string()
    );
    let config = crate::stage::config(&place, &emulator).more(&second);
    config.write(&place.path("config.toml"));
    let mut stage = Stage {
        daemon: Daemon::start(&place.path("config.toml")).await,
        emulator,
        place,
    };
    let request = ask(&stage.token()).file("A", "db-password");
    let files = stage.caller().await.resolve(request.clone()).await.unwrap();
    let inline_caller = Caller::connect(&inline).await;
    let values = inline_caller.resolve(request).await.unwrap();
    assert!(matches!(
        files.variables["A"].content,
        Some(Content::Path(_))
    ));
    assert!(matches!(
        values.variables["A"].content,
        Some(Content::Value(_))
    ));
    assert_eq!(stage.place.left().len(), 1);
    // A lease is the job's, whichever way it asks.
    let other = stage.token_but(json!({"job_id": "813"}));
    let refused = inline_caller.release(&files.lease_id, &other).await;
    assert_eq!(refused.unwrap_err().reason, Reason::CallerDenied);
    let token = stage.token();
    inline_caller
        .release(&files.lease_id, &token)
        .await
        .unwrap();
    assert!(stage.place.left().is_empty());
    stage.daemon.stop(Signal::TERM).await;
    assert!(!inline.exists());
    assert!(!stage.place.socket().exists());
}
