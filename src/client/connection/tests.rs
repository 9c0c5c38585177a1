use std::{os::unix::net::UnixListener, path::PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Client, Error, Spec};
use crate::client::Environment;

fn spec() -> Spec {
    let text = "A: {azure_key_vault: {name: a}, token: e30.e30.e30}";
    let environment: Environment = [("RUNNER_SECRETS", text)].into_iter().collect();
    Spec::from_environment(&environment).unwrap().unwrap()
}

fn place() -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("api.sock");
    (place, socket)
}

fn this_uid() -> [u32; 1] {
    [rustix::process::geteuid().as_raw()]
}

#[tokio::test]
async fn a_missing_socket_is_named_with_the_systems_words() {
    let (_place, socket) = place();
    let error = Client::connect(&socket, &[]).await.unwrap_err();
    let socket = socket.display();
    assert_eq!(
        error.to_string(),
        format!("no daemon at the socket {socket}: No such file or directory (os error 2)")
    );
    assert_eq!(error.exit(), 69);
}

#[tokio::test]
async fn a_socket_that_nobody_serves_is_unreachable() {
    let (_place, socket) = place();
    drop(UnixListener::bind(&socket).unwrap());
    let error = Client::connect(&socket, &[]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("Connection refused (os error 111)")
    );
}

/// A listener with the shortest queue there is, and what fills it.
fn busy(socket: &std::path::Path) -> (rustix::fd::OwnedFd, Vec<std::os::unix::net::UnixStream>) {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

    let (family, kind) = (AddressFamily::UNIX, SocketType::STREAM);
    let listener = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    rustix::net::bind(&listener, &SocketAddrUnix::new(socket).unwrap()).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let waiting = vec![std::os::unix::net::UnixStream::connect(socket).unwrap()];
    (listener, waiting)
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_accepts_nobody_is_waited_for_but_not_forever() {
    let (_place, socket) = place();
    let _queue = busy(&socket);
    let before = tokio::time::Instant::now();
    let error = Client::connect(&socket, &this_uid()).await.unwrap_err();
    assert_eq!(error.exit(), 69);
    let waited = before.elapsed();
    assert!(waited >= super::CONNECT, "{waited:?}");
}

/// Time is paused: it runs on to the deadline as soon as nothing else can happen.
#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_is_given_up() {
    let (_place, socket) = place();
    let _silent = UnixListener::bind(&socket).unwrap();
    let mut client = Client::connect(&socket, &this_uid()).await.unwrap();
    let error = client.resolve(&spec(), None).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { .. }), "{error}");
    assert!(error.to_string().ends_with("within 60 s"), "{error}");
    assert_eq!(error.exit(), 75);
}

#[tokio::test]
async fn a_server_that_speaks_something_else_or_hangs_up_is_no_daemon() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b""] {
        let (_place, socket) = place();
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        let mut client = Client::connect(&socket, &this_uid()).await.unwrap();
        let error = client.resolve(&spec(), None).await.unwrap_err();
        server.await.unwrap();
        assert_eq!(error.exit(), 69, "{error}");
        assert!(
            error.to_string().contains("the connection broke"),
            "{error}"
        );
    }
}
