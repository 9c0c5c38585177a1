use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use url::Url;

use super::{Error, Fetch, Fetched, client};

/// A server that gives every connection this answer, and keeps it open if the answer is not whole.
async fn server(answer: Vec<u8>) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                // The client may be gone at any of these.
                drop(stream.read(&mut [0; 4096]).await);
                drop(stream.write_all(&answer).await);
                drop(stream.read(&mut [0; 1]).await);
            });
        }
    });
    Url::parse(&url).unwrap()
}

/// What the production client makes of it, but for the insistence on TLS.
async fn fetched(answer: impl Into<Vec<u8>>) -> Result<Fetched, Error> {
    let url = server(answer.into()).await;
    Fetch::with(client().no_proxy().build().unwrap())
        .get(url)
        .await
}

#[tokio::test]
async fn answers_come_with_what_they_say_on_caching() {
    let answer = "HTTP/1.1 200 OK\r\nCache-Control: max-age=7\r\nContent-Length: 2\r\n\r\n{}";
    let fetched = fetched(answer).await.unwrap();
    assert_eq!(fetched.body, b"{}");
    assert_eq!(fetched.cache_control.as_deref(), Some("max-age=7"));
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec()).await;
    let answer =
        format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}\r\nContent-Length: 0\r\n\r\n");
    let error = fetched(answer).await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 302, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn bodies_are_read_up_to_the_bound_only() {
    let endless = |length: usize| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1_u64 << 40);
        [head.into_bytes(), vec![b' '; length]].concat()
    };
    let error = fetched(endless(600 * 1024)).await.unwrap_err();
    assert!(
        error.to_string().ends_with("has more than 524288 bytes"),
        "{error}"
    );
}

#[tokio::test]
async fn failures_are_told_apart() {
    let gone = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    };
    let fetch = Fetch::with(client().no_proxy().build().unwrap());
    let error = fetch.get(Url::parse(&gone).unwrap()).await.unwrap_err();
    assert!(error.to_string().contains("onnection refused"), "{error}");
    let error = fetched("HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap_err();
    assert!(
        error.to_string().ends_with("answered with status 500"),
        "{error}"
    );
    let error = fetched("hello\r\n\r\n").await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. } | Error::Slow { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn servers_that_say_nothing_are_given_up() {
    let quick = client()
        .no_proxy()
        .timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = Fetch::with(quick)
        .get(server(Vec::new()).await)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Slow { .. }), "{error}");
}

#[tokio::test]
async fn nothing_is_fetched_without_tls() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".to_vec();
    let fetch = Fetch::https(Vec::new()).unwrap();
    let error = fetch.get(server(answer).await).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}
