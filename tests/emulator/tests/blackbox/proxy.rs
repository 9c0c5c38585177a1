//! Which names the proxy leads to the emulator.

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::Bench;

/// The status line of the proxy's answer.
async fn ask(bench: &Bench, line: &str) -> String {
    let address = bench.ready().proxy_url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{line}\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn emulated_names_are_tunnelled_and_all_others_refused() {
    let bench = Bench::new().await;
    let own = bench.ready().issuer_url.strip_prefix("https://").unwrap();
    for (authority, status) in [
        ("login.microsoftonline.com:443", 200),
        ("LOGIN.microsoftonline.US:443", 200),
        ("login.partner.microsoftonline.cn:443", 200),
        ("login.chinacloudapi.cn:443", 200),
        ("management.azure.com:443", 200),
        ("demo.vault.azure.net:443", 200),
        ("demo.vault.usgovcloudapi.net:443", 200),
        ("demo.vault.azure.cn:443", 200),
        (own, 200),
        ("nobody.vault.azure.net:443", 502),
        ("demo.vault.azure.net:80", 502),
        ("demo.vault.azure.net.example.com:443", 502),
        ("localhost:1", 502),
        ("gitlab.com:443", 502),
        ("demo.vault.azure.net", 502),
    ] {
        let answer = ask(&bench, &format!("CONNECT {authority} HTTP/1.1")).await;
        assert_eq!(answer, format!("HTTP/1.1 {status}"), "{authority}");
    }
    assert_eq!(bench.requests("proxy").len(), 15);
    assert_eq!(bench.requests("proxy")[13].status, Some(502));
    assert_eq!(bench.requests("proxy")[13].method, "CONNECT");
}

#[tokio::test]
async fn plain_http_is_not_forwarded() {
    let bench = Bench::new().await;
    let answer = bench.http.get("http://example.com/").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(ask(&bench, "nonsense").await, "HTTP/1.1 400");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let bench = Bench::new().await;
    let url = format!(
        "{}/.well-known/openid-configuration",
        bench.ready().issuer_url
    );
    let second = bench.direct.get(&url).send().await.unwrap();
    assert_eq!(second.version(), reqwest::Version::HTTP_2);
    let pem = std::fs::read(&bench.ready().ca_file).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(&pem).unwrap()])
        .http1_only()
        .no_proxy()
        .build()
        .unwrap();
    let first = client.get(&url).send().await.unwrap();
    assert_eq!(first.version(), reqwest::Version::HTTP_11);
    assert_eq!(bench.emulator.connections().accepted, 2);
}
