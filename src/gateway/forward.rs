//! What changes on everything that passes through, and nothing else does: the headers that are
//! about one connection only (RFC 9110, section 7.6), the host, and who the runner is. Bodies pass
//! as they come, in both directions; a request that becomes another protocol becomes a tunnel.

use std::net::IpAddr;

use hyper::{
    Request, Response, StatusCode, Version,
    body::Incoming,
    header::{
        CONNECTION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE, VIA,
    },
    http::{request, response},
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::gitlab::{Body, Broken, GitLab, streaming};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Passes a request on and its answer back.
pub(super) async fn forward(
    gitlab: &GitLab,
    peer: IpAddr,
    mut request: Request<Incoming>,
    leaving: &CancellationToken,
) -> Result<Response<Body>, Broken> {
    let wanted = request.headers().get(UPGRADE).cloned();
    let wanted = wanted.filter(|_| names(request.headers(), "upgrade"));
    let runner = wanted.is_some().then(|| upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    outward(&mut parts, gitlab, peer);
    if let Some(protocol) = wanted {
        ask_to_upgrade(&mut parts.headers, protocol);
    }
    let request = Request::from_parts(parts, streaming(body));
    let mut response = gitlab.send(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(passed(response));
    }
    let protocol = response.headers().get(UPGRADE).cloned();
    let gitlab = upgrade::on(&mut response);
    if let Some(runner) = runner {
        tokio::spawn(tunnel(runner, gitlab, leaving.clone()));
    }
    let mut response = passed(response);
    if let Some(protocol) = protocol {
        ask_to_upgrade(response.headers_mut(), protocol);
    }
    Ok(response)
}

/// Makes a runner's request one of the gateway's.
pub(super) fn outward(parts: &mut request::Parts, gitlab: &GitLab, peer: IpAddr) {
    end_to_end(&mut parts.headers);
    let headers = &mut parts.headers;
    // GitLab makes addresses of these for its answers, and shows the runner's.
    let before = headers.get_all(&FORWARDED_FOR).iter();
    let mut hops: Vec<String> = before
        .filter_map(|hop| hop.to_str().ok().map(str::to_owned))
        .collect();
    hops.push(peer.to_canonical().to_string());
    if let Ok(hops) = hops.join(", ").parse() {
        headers.insert(FORWARDED_FOR, hops);
    }
    headers.insert(FORWARDED_HOST, gitlab.host().clone());
    if let Ok(scheme) = gitlab.scheme().as_str().parse() {
        headers.insert(FORWARDED_PROTO, scheme);
    }
    headers.append(VIA, via(parts.version));
    parts.version = Version::HTTP_11;
}

/// Makes GitLab's answer one of the gateway's.
pub(super) fn passed(response: Response<Incoming>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    inward(&mut parts);
    Response::from_parts(parts, streaming(body))
}

/// The same for an answer whose body is looked at.
pub(super) fn inward(parts: &mut response::Parts) {
    end_to_end(&mut parts.headers);
    parts.headers.append(VIA, via(parts.version));
}

/// Removes what is about one connection.
fn end_to_end(headers: &mut HeaderMap) {
    let listed: Vec<HeaderName> = listed(headers)
        .filter_map(|name| name.parse().ok())
        .collect();
    for name in listed {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        PROXY_CONNECTION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// What `Connection` says.
fn listed(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(CONNECTION).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

fn names(headers: &HeaderMap, option: &str) -> bool {
    listed(headers).any(|name| name.eq_ignore_ascii_case(option))
}

fn ask_to_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 runner-secrets",
        _ => "1.1 runner-secrets",
    })
}

/// Carries bytes both ways until either side has done, or the gateway leaves.
async fn tunnel(runner: OnUpgrade, gitlab: OnUpgrade, leaving: CancellationToken) {
    let carrying = async {
        let (runner, gitlab) = (runner.await?, gitlab.await?);
        let (mut runner, mut gitlab) = (TokioIo::new(runner), TokioIo::new(gitlab));
        tokio::io::copy_bidirectional(&mut runner, &mut gitlab).await?;
        Ok::<_, Broken>(())
    };
    tokio::select! {
        carried = carrying => if let Err(error) = carried {
            tracing::debug!(error, "a tunnel broke");
        },
        () = leaving.cancelled() => {}
    }
}
