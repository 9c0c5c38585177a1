//! A request to an emulated service, read whole and taken apart.
//!
//! The many forms in which real clients write the same URL (doubled and trailing slashes, encoded
//! query names, a port in the host) end here; services see one form.

use hyper::body::Bytes;
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::cloud::{Cloud, Site};

/// What a request is for; the request log and faults use these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    Token,
    Secret,
    Jwks,
    Discovery,
    Openid,
    Instance,
    Arm,
    Proxy,
    Other,
}

impl Route {
    const ALL: [Self; 9] = [
        Self::Token,
        Self::Secret,
        Self::Jwks,
        Self::Discovery,
        Self::Openid,
        Self::Instance,
        Self::Arm,
        Self::Proxy,
        Self::Other,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Secret => "secret",
            Self::Jwks => "jwks",
            Self::Discovery => "discovery",
            Self::Openid => "openid",
            Self::Instance => "instance",
            Self::Arm => "arm",
            Self::Proxy => "proxy",
            Self::Other => "other",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|route| route.name() == name)
    }
}

/// The head of a request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// As the client wrote it, with a port if there was one.
    pub(crate) authority: String,
    pub(crate) site: Site,
    pub(crate) route: Route,
    /// Path and query as the client wrote them.
    pub(crate) target: String,
    /// The path's parts, decoded, empty ones left out.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn of(head: &Parts) -> Self {
        let authority = authority(&head.uri, &head.headers);
        let site = Site::of(&host_of(&authority));
        let segments = segments(head.uri.path());
        Self {
            method: head.method.clone(),
            route: route(&site, &segments),
            site,
            authority,
            target: head
                .uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            segments,
            query: form(head.uri.query().unwrap_or_default().as_bytes()),
            headers: head.headers.clone(),
            body: Bytes::new(),
        }
    }

    /// The host name, lower-case, without a port.
    pub(crate) fn host(&self) -> String {
        host_of(&self.authority)
    }

    /// A header, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A query parameter.
    pub(crate) fn query(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as an HTML form.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        form(&self.body)
    }
}

fn form(bytes: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(bytes).into_owned().collect()
}

fn authority(uri: &Uri, headers: &HeaderMap) -> String {
    let from_header = || {
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        host.unwrap_or_default().to_owned()
    };
    uri.authority()
        .map_or_else(from_header, ToString::to_string)
}

fn host_of(authority: &str) -> String {
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    host.to_ascii_lowercase()
}

fn segments(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts
        .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
        .collect()
}

/// Under the emulator's own name the path alone tells the services apart.
fn route(site: &Site, segments: &[String]) -> Route {
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (site, path.as_slice()) {
        (Site::Own, [".well-known", "openid-configuration"]) => Route::Discovery,
        (Site::Own, ["oauth", "discovery", "keys"]) => Route::Jwks,
        (Site::Own | Site::Vault { .. }, ["secrets" | "deletedsecrets", ..]) => Route::Secret,
        (Site::Own | Site::Login(_), path) => login_route(path),
        (Site::Management(_), _) => Route::Arm,
        (Site::Vault { .. } | Site::Unknown, _) => Route::Other,
    }
}

fn login_route(path: &[&str]) -> Route {
    match path {
        [_, "discovery", "instance"] => Route::Instance,
        [_, "oauth2", "token"] | [_, "oauth2", "v2.0", "token"] => Route::Token,
        [_, ".well-known", "openid-configuration"]
        | [_, "v2.0", ".well-known", "openid-configuration"]
        | [_, "discovery", "keys"]
        | [_, "discovery", "v2.0", "keys"] => Route::Openid,
        _ => Route::Other,
    }
}

/// The cloud of a login host; the emulator's own name serves them all.
pub(crate) fn login_cloud(site: &Site) -> Cloud {
    match site {
        Site::Login(cloud) | Site::Management(cloud) | Site::Vault { cloud, .. } => *cloud,
        Site::Own | Site::Unknown => Cloud::Local,
    }
}
