//! Where keys come from: an HTTPS server or a file, read with a bound on time and size. Redirects
//! are not followed, so that keys come from the server that the operator named and no other.

use std::{fmt, path::Path, pin::Pin, sync::Arc, time::Duration};

use reqwest::{Certificate, Client, ClientBuilder, StatusCode, header::CACHE_CONTROL, redirect};
use tokio::io::AsyncReadExt as _;
use url::Url;

#[cfg(test)]
mod tests;

// A job waits for this at worst; a GitLab that needs longer is down for its users too.
const TIMEOUT: Duration = Duration::from_secs(5);

// GitLab's key set has 1 to 2 KB; nobody publishes so many keys, and anybody can err on a URL.
const LARGEST: usize = 512 * 1024;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The body.
    pub body: Vec<u8>,
    /// The header `Cache-Control`.
    pub cache_control: Option<String>,
}

/// Why keys could not be had, for the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What the server sent is not what it should be.
    #[error("{url}: the document {problem}")]
    Document {
        /// Which document.
        url: String,
        /// The end of the sentence.
        problem: String,
    },
    /// The file with the keys cannot be read.
    #[error("{path}: {problem}")]
    File {
        /// Which file.
        path: String,
        /// What the operating system says.
        problem: String,
    },
    /// Nothing after five seconds.
    #[error("{url}: no answer within {} s", TIMEOUT.as_secs())]
    Slow {
        /// What was asked for.
        url: String,
    },
    /// The server answered, but not with 200.
    #[error("{url}: the server answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// No connection, or it broke.
    #[error("{url}: {problem}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the HTTP library says, with its causes.
        problem: String,
    },
}

/// Gets a document. A closure, so that the cache is tested without a network.
#[derive(Clone)]
pub struct Fetch(Arc<dyn Fn(Url) -> Answer + Send + Sync>);

type Answer = Pin<Box<dyn Future<Output = Result<Fetched, Error>> + Send>>;

impl Fetch {
    /// Fetches with `fetch`.
    pub fn new<F, A>(fetch: F) -> Self
    where
        F: Fn(Url) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Fetched, Error>> + Send + 'static,
    {
        Self(Arc::new(move |url| Box::pin(fetch(url))))
    }

    /// Fetches over HTTPS. `roots` are trusted besides the system's certificate authorities. On a
    /// proxy the usual variables decide, as for Azure.
    pub fn https(roots: Vec<Certificate>) -> Result<Self, reqwest::Error> {
        let mut client = client().https_only(true);
        if !roots.is_empty() {
            client = client.tls_certs_merge(roots);
        }
        client.build().map(Self::with)
    }

    fn with(client: Client) -> Self {
        Self::new(move |url| {
            let client = client.clone();
            async move { get(&client, url).await }
        })
    }

    /// One document, whatever the closure does, within the time that there is.
    pub(crate) async fn get(&self, url: Url) -> Result<Fetched, Error> {
        let slow = Error::Slow {
            url: url.to_string(),
        };
        match tokio::time::timeout(TIMEOUT, (self.0)(url)).await {
            Ok(answer) => answer,
            Err(_) => Err(slow),
        }
    }
}

impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetch")
    }
}

fn client() -> ClientBuilder {
    Client::builder()
        .http1_only()
        .redirect(redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("runner-secrets/", env!("CARGO_PKG_VERSION")))
}

async fn get(client: &Client, url: Url) -> Result<Fetched, Error> {
    let shown = url.to_string();
    let broken = |error: reqwest::Error| unreachable(&shown, &error);
    let mut response = client.get(url).send().await.map_err(broken)?;
    if response.status() != StatusCode::OK {
        return Err(Error::Status {
            url: shown,
            status: response.status().as_u16(),
        });
    }
    let cache_control = response.headers().get(CACHE_CONTROL);
    let cache_control = cache_control.and_then(|value| value.to_str().ok().map(str::to_owned));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > LARGEST {
            return Err(too_large(shown));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Fetched {
        body,
        cache_control,
    })
}

/// A file, like a document that may be kept as shortly as the cache allows: a changed file is
/// noticed within that time.
pub(super) async fn file(path: &Path) -> Result<Fetched, Error> {
    let shown = path.display().to_string();
    let broken = |error: std::io::Error| Error::File {
        path: shown.clone(),
        problem: error.to_string(),
    };
    let file = tokio::fs::File::open(path).await.map_err(broken)?;
    let mut body = Vec::new();
    let mut bounded = file.take(LARGEST as u64 + 1);
    bounded.read_to_end(&mut body).await.map_err(broken)?;
    if body.len() > LARGEST {
        return Err(too_large(shown));
    }
    Ok(Fetched {
        body,
        cache_control: Some("no-cache".to_owned()),
    })
}

fn too_large(url: String) -> Error {
    let problem = format!("has more than {LARGEST} bytes");
    Error::Document { url, problem }
}

/// The library's sentence says little without its causes.
fn unreachable(url: &str, error: &reqwest::Error) -> Error {
    if error.is_timeout() {
        let url = url.to_owned();
        return Error::Slow { url };
    }
    let mut problem = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if !problem.is_empty() {
            problem.push_str(": ");
        }
        problem.push_str(&error.to_string());
        cause = error.source();
    }
    Error::Unreachable {
        url: url.to_owned(),
        problem,
    }
}
