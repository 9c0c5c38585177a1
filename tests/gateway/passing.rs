//! What passes through: everything, as it came.

use hyper::body::Bytes;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    gitlab::PIECE,
    runner::Polled,
    site::{Site, payload, variable},
};

#[tokio::test]
async fn every_other_answer_to_a_poll_passes_byte_for_byte() {
    let site = Site::new().await;
    let runner = site.runner();
    for (status, body) in [
        (200, "{\"secrets\":{\"A\":{\"azure_key_vault\":{}}}}"),
        (201, "{ no json"),
        (201, ""),
        (201, "[]"),
        (
            201,
            "{\"id\":1,\"token\":\"t\",\"secrets\":{},\"variables\":[ ]} trailing",
        ),
        (
            201,
            "{\"id\":1,\"token\":\"t\",\"secrets\":{\"V\":{\"vault\":null}}}",
        ),
        (204, ""),
        (400, "{\"message\":\"400\"}"),
        (403, "{\"message\":\"403 Forbidden\"}"),
        (409, "conflict"),
        (429, "slow down"),
        (500, "\u{0}\u{1}binary"),
        (503, "<html>"),
    ] {
        let answer = hyper::Response::builder().status(status);
        let answer = answer.header("Content-Type", "application/json");
        let answer = answer.header("X-GitLab-Last-Update", "cursor");
        let answer = answer.header("Retry-After", "7");
        site.gitlab.answers(answer.body(Bytes::from(body)).unwrap());
        let passed = runner.ask_once().await.unwrap();
        assert_eq!(passed.status().as_u16(), status, "{body}");
        assert_eq!(passed.headers()["X-GitLab-Last-Update"], "cursor");
        assert_eq!(passed.headers()["Retry-After"], "7");
        assert_eq!(passed.bytes().await.unwrap(), body, "{status}");
    }
}

#[tokio::test]
async fn a_poll_reaches_gitlab_as_the_runner_sent_it() {
    let site = Site::new().await;
    let runner = site.runner();
    let Polled::Nothing(headers) = runner.ask().await else {
        panic!("there is no job")
    };
    assert_eq!(headers["X-GitLab-Last-Update"], "a-cursor");
    let asked = site.gitlab.asked().pop().unwrap();
    assert_eq!(asked.headers["RUNNER-TOKEN"], crate::gitlab::RUNNER_TOKEN);
    assert_eq!(
        asked.headers["User-Agent"],
        "gitlab-runner 19.4.0 (HEAD; go1.26.5; linux/amd64)"
    );
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["system_id"], "s_1234567890ab");
    let host = site.gitlab.url.trim_start_matches("http://");
    assert_eq!(asked.headers["Host"], host);
    assert_eq!(asked.headers["X-Forwarded-For"], "127.0.0.1");
    assert_eq!(asked.headers["X-Forwarded-Host"], host);
    assert_eq!(asked.headers["X-Forwarded-Proto"], "http");
}

#[tokio::test]
async fn a_job_without_secrets_is_the_job_that_gitlab_sent() {
    let site = Site::new().await;
    for secrets in [
        Value::Null,
        json!({}),
        json!({"V": {"vault": {"path": "p"}}}),
    ] {
        let variables = json!([variable("A", "$B"), null, variable("A", "2")]);
        let mut job = payload(variables, secrets);
        job["id"] = 7.into();
        job["token"] = "token-of-job-7".into();
        let bytes = Bytes::from(serde_json::to_vec_pretty(&job).unwrap());
        site.gitlab.bytes(7, bytes.clone());
        let work = site.runner().ask().await.job();
        assert_eq!(work.bytes, bytes);
    }
    assert_eq!(site.counts(), (0, 0));
    // Nobody touched it.
    assert!(site.gitlab.lines().is_empty());
}

#[tokio::test]
async fn unknown_paths_and_methods_pass_with_their_headers() {
    let site = Site::new().await;
    let runner = site.runner();
    let url = format!("http://{}/some/new%2Fthing;x?a=b%20c&d", site.address);
    for method in ["GET", "POST", "PURGE", "PROPFIND", "DELETE"] {
        let request = runner
            .http()
            .request(Method::from_bytes(method.as_bytes()).unwrap(), &url);
        let request = request
            .header("X-One", "1")
            .header("Connection", "X-Hop, keep-alive");
        let request = request
            .header("X-Hop", "not for GitLab")
            .header("TE", "trailers");
        let request = request
            .header("X-Forwarded-For", "203.0.113.7")
            .body("body");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["RateLimit-Remaining"], "7");
        assert!(!answer.headers().contains_key("X-Hop"));
        assert!(
            answer.headers()["Via"]
                .to_str()
                .unwrap()
                .contains("runner-secrets")
        );
        let seen: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(seen["method"], method);
        assert_eq!(seen["path"], "/some/new%2Fthing;x?a=b%20c&d");
        assert_eq!(seen["body"], "body");
        let headers = seen["headers"].as_array().unwrap();
        let value = |name: &str| {
            let found = headers.iter().find(|header| header[0] == name);
            found.map(|header| header[1].as_str().unwrap().to_owned())
        };
        assert_eq!(value("x-one").as_deref(), Some("1"));
        assert_eq!(value("x-hop"), None);
        assert_eq!(value("te"), None);
        assert_eq!(
            value("x-forwarded-for").as_deref(),
            Some("203.0.113.7, 127.0.0.1")
        );
    }
}

#[tokio::test]
async fn the_job_router_is_not_to_be_found() {
    let site = Site::new().await;
    let runner = site.runner();
    let found = runner.http().get(runner.api("runners/router/discovery"));
    let found = found.send().await.unwrap();
    assert_eq!(found.status(), StatusCode::NOT_IMPLEMENTED);
    assert!(site.gitlab.asked().is_empty());
}

#[tokio::test]
async fn artifacts_stream_through_in_little_memory() {
    const PIECES: u64 = 6 * 1024;
    let site = Site::new().await;
    let runner = site.runner();
    let before = site.memory().await;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (0..PIECES).map(move |_| Ok::<_, std::io::Error>(piece.clone()));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let upload = runner
        .http()
        .post(runner.api("jobs/7/artifacts?artifact_format=zip"));
    let uploaded = upload.body(body).send().await.unwrap();
    assert_eq!(uploaded.status(), StatusCode::CREATED);
    let bytes = PIECES * PIECE as u64;
    assert_eq!(uploaded.text().await.unwrap(), bytes.to_string());
    let download = runner
        .http()
        .get(runner.api(&format!("jobs/7/artifacts?{PIECES}")));
    let mut downloaded = download.send().await.unwrap();
    let mut count = 0;
    while let Some(chunk) = downloaded.chunk().await.unwrap() {
        count += chunk.len() as u64;
    }
    assert_eq!(count, bytes);
    // Three quarters of a gigabyte went through.
    let grown = site.memory().await.saturating_sub(before);
    assert!(grown < 32 * 1024 * 1024, "{grown} bytes more");
}

#[tokio::test]
async fn a_redirect_to_the_object_store_is_the_runners_to_follow() {
    let site = Site::new().await;
    let runner = site.runner();
    let url = runner.api("jobs/7/artifacts?direct_download=true");
    let answer = runner.http().get(url).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(
        answer.headers()["Location"],
        "https://objects.invalid/a?signature=b%2Fc"
    );
}

#[tokio::test]
async fn a_connection_can_become_another_protocol() {
    let site = Site::new().await;
    let mut io = tokio::net::TcpStream::connect(&site.address).await.unwrap();
    let request = "GET /-/terminal HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\n\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(io.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    for frame in ["\u{1}\u{0}one", "two"] {
        io.write_all(frame.as_bytes()).await.unwrap();
        let mut back = vec![0; frame.len()];
        io.read_exact(&mut back).await.unwrap();
        assert_eq!(back, frame.as_bytes());
    }
}

#[tokio::test]
async fn a_gitlab_that_is_not_there_is_one_to_try_again() {
    let mut site = Site::new().await;
    let runner = site.runner();
    drop(std::mem::replace(
        &mut site.gitlab,
        crate::gitlab::GitLab::new().await,
    ));
    let answer = runner.ask_once().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
}
