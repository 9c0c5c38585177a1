//! The three ways to stand in between, each with a whole job: plain HTTP, HTTPS with a certificate
//! of one's own, and CONNECT.

use std::{fs, sync::Arc};

use reqwest::{Certificate, Proxy, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs},
};

use crate::{
    authority::{self, Authority, write},
    daemon::Place,
    gitlab::{GitLab, State},
    runner::{Runner, Seen},
    site::{Site, entry, payload, variable},
};

/// The keys of the gateway's own certificate, and of the GitLab's authority.
fn keys(place: &Place, own: &Authority, gitlab: &Authority) -> String {
    keys_for("localhost", place, own, gitlab)
}

/// The same for a gateway of that name.
pub(crate) fn keys_for(name: &str, place: &Place, own: &Authority, gitlab: &Authority) -> String {
    own.leaf_of(name).write(place);
    let ca = write(place, "gitlab-ca.pem", &gitlab.pem());
    format!("{}ca_file = {ca:?}\n", authority::keys(place))
}

/// A GitLab's side of TLS.
fn acceptor(authority: &Authority) -> TlsAcceptor {
    acceptor_for("localhost", authority)
}

/// The same for a GitLab of that name.
pub(crate) fn acceptor_for(name: &str, authority: &Authority) -> TlsAcceptor {
    let leaf = authority.leaf_of(name);
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.certificate.der().clone()], leaf.private())
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn trusting(bundle: &str, client: reqwest::ClientBuilder) -> reqwest::ClientBuilder {
    // What the runner does with `tls-ca-file`: all that it may trust is in there.
    client.tls_certs_only(Certificate::from_pem_bundle(bundle.as_bytes()).unwrap())
}

async fn whole_job(site: &Site, runner: &Runner) {
    site.put("db", "one");
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    site.gitlab
        .job(7, payload(variables, json!({"DB": entry("db")})));
    let work = runner.ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    runner.run(&work).await;
    assert_eq!(site.gitlab.state(7), State::Success);
    assert!(site.gitlab.trace(7).contains("DB=[MASKED]\n"));
    let upload = runner.http().post(runner.api("jobs/7/artifacts"));
    let uploaded = upload.body("artifact").send().await.unwrap();
    assert_eq!(uploaded.status(), StatusCode::CREATED);
    site.gitlab
        .job(8, payload(json!([]), json!({"DB": entry("missing")})));
    assert!(runner.ask().await.is_nothing());
    assert!(matches!(site.gitlab.state(8), State::Failed(_)));
}

#[tokio::test]
async fn plain_http_before_a_gitlab_with_tls() {
    let theirs = Authority::new("the company");
    let gitlab = GitLab::with_tls(acceptor(&theirs)).await;
    let place = Place::new();
    let ca = place.path("gitlab-ca.pem");
    fs::write(&ca, theirs.pem()).unwrap();
    let site = Site::before(gitlab, &format!("ca_file = {ca:?}"), |config| config).await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    whole_job(&site, &runner).await;
    let mut asked = site.gitlab.asked().into_iter();
    let asked = asked.find(|asked| asked.path.ends_with("jobs/request"));
    let asked = asked.unwrap();
    assert_eq!(asked.headers["X-Forwarded-Proto"], "https");
}

#[tokio::test]
async fn https_with_a_certificate_of_the_operators() {
    let (own, theirs) = (
        Authority::new("the operator"),
        Authority::new("the company"),
    );
    let gitlab = GitLab::with_tls(acceptor(&theirs)).await;
    let place = Place::new();
    let keys = keys(&place, &own, &theirs);
    let site = Site::before(gitlab, &keys, |config| config).await;
    let port = site.address.rsplit(':').next().unwrap().to_owned();
    // The runner hands its bundle to git, which talks to GitLab itself: both have to be in it.
    let bundle = format!("{}{}", own.pem(), theirs.pem());
    let url = format!("https://localhost:{port}");
    let runner = Runner::with(&url, |client| trusting(&bundle, client));
    let site = site.ready(&runner).await;
    whole_job(&site, &runner).await;
    let git = Runner::with(&site.gitlab.url, |client| trusting(&bundle, client));
    let fetched = git.http().get(format!("{}/acme/shop.git", site.gitlab.url));
    assert_eq!(fetched.send().await.unwrap().status(), StatusCode::OK);
    // With the gateway's authority alone, it could not.
    let git = Runner::with(&site.gitlab.url, |client| trusting(&own.pem(), client));
    let fetched = git.http().get(format!("{}/acme/shop.git", site.gitlab.url));
    assert!(fetched.send().await.unwrap_err().is_connect());
}

#[tokio::test]
async fn a_certificate_that_was_renewed_is_in_use_after_a_reload() {
    let (own, next) = (Authority::new("the operator"), Authority::new("the next"));
    let theirs = Authority::new("the company");
    let gitlab = GitLab::with_tls(acceptor(&theirs)).await;
    let place = Place::new();
    let keys = keys(&place, &own, &theirs);
    let mut site = Site::before(gitlab, &keys, |config| config).await;
    let port = site.address.rsplit(':').next().unwrap().to_owned();
    let url = format!("https://localhost:{port}");
    let version = async |authority: &Authority| {
        let runner = Runner::with(&url, |client| trusting(&authority.pem(), client));
        let asked = runner.http().get(runner.api("version")).send().await;
        asked.map(|answer| answer.status())
    };
    assert_eq!(version(&own).await.unwrap(), StatusCode::OK);
    next.leaf().write(&place);
    site.daemon.signal(Signal::HUP);
    site.daemon.logs("the certificate was read anew").await;
    assert_eq!(version(&next).await.unwrap(), StatusCode::OK);
    assert!(version(&own).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn connect_in_gitlabs_own_name() {
    let (own, theirs) = (
        Authority::new("the operator"),
        Authority::new("the company"),
    );
    let gitlab = GitLab::with_tls(acceptor(&theirs)).await;
    let place = Place::new();
    let keys = format!("connect = true\n{}", keys(&place, &own, &theirs));
    let site = Site::before(gitlab, &keys, |config| config).await;
    let bundle = format!("{}{}", own.pem(), theirs.pem());
    let proxy = format!("http://{}", site.address);
    // The manager has HTTPS_PROXY and the bundle; its URL is GitLab's.
    let through = |url: &str| {
        Runner::with(url, |client| {
            trusting(&bundle, client).proxy(Proxy::https(&proxy).unwrap())
        })
    };
    let runner = through(&site.gitlab.url);
    let site = site.ready(&runner).await;
    whole_job(&site, &runner).await;
    // Jobs talk to GitLab directly, with the same bundle.
    let job = Runner::with(&site.gitlab.url, |client| trusting(&bundle, client));
    let upload = job
        .http()
        .post(job.api("jobs/7/artifacts"))
        .body("artifact");
    assert_eq!(upload.send().await.unwrap().status(), StatusCode::CREATED);
    // Nothing else is reached through it.
    let elsewhere = through("https://localhost:1");
    assert!(elsewhere.ask_once().await.unwrap_err().is_connect());
    let plain = Runner::at(&proxy).ask_once().await.unwrap();
    assert_eq!(plain.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn a_gateway_without_connect_is_no_proxy() {
    let site = Site::new().await;
    let proxy = format!("http://{}", site.address);
    let through = Runner::with("https://localhost:1", |client| {
        client.proxy(Proxy::https(&proxy).unwrap())
    });
    assert!(through.ask_once().await.unwrap_err().is_connect());
    assert!(site.gitlab.asked().is_empty());
}

#[tokio::test]
async fn several_gateways_serve_several_gitlabs() {
    let (one, two) = (GitLab::new().await, GitLab::new().await);
    let more = format!(
        "[[gateway]]\nlisten = \"127.0.0.1:0\"\ngitlab_url = {:?}\n",
        two.url
    );
    let site = Site::before(one, "", |config| config.more(&more)).await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    let log = site.daemon.log();
    let mut lines = log.lines().rev();
    let second = lines.find(|line| line.contains("a gateway listens"));
    let second = second.unwrap().split("address=").nth(1).unwrap();
    let second = second.split_whitespace().next().unwrap();
    let other = Runner::at(&format!("http://{second}"));
    site.gitlab.job(7, payload(json!([]), json!({})));
    two.job(8, payload(json!([]), json!({})));
    assert_eq!(runner.ask().await.job().id(), 7);
    assert_eq!(other.ask().await.job().id(), 8);
    assert!(runner.ask().await.is_nothing());
}

#[tokio::test]
async fn a_gitlab_below_a_path_stays_there() {
    let mut gitlab = GitLab::new().await;
    gitlab.url.push_str("/gitlab");
    let site = Site::before(gitlab, "", |config| config).await;
    let runner = Runner::at(&format!("http://{}/gitlab", site.address));
    let found = runner.http().get(runner.api("runners/router/discovery"));
    assert_eq!(
        found.send().await.unwrap().status(),
        StatusCode::NOT_IMPLEMENTED
    );
    let other = runner
        .http()
        .get(runner.api("version"))
        .send()
        .await
        .unwrap();
    let seen: serde_json::Value = serde_json::from_slice(&other.bytes().await.unwrap()).unwrap();
    assert_eq!(seen["path"], "/gitlab/api/v4/version");
}
