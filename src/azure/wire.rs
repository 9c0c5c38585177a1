//! What goes over the wire, for one request of the Azure crates: sends it on the process's one HTTP
//! client, reads the answer to its end within a limit, and keeps the last answer that was no
//! success. The crates lose status and body of many errors on the way up; what came over the wire
//! is what errors are classified by.

use std::{
    error::Error as _,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use azure_core::{
    Error, Result,
    error::ErrorKind,
    http::{
        AsyncRawResponse, HttpClient, Request,
        headers::{CLIENT_REQUEST_ID, HeaderName, Headers},
    },
};
use futures_util::StreamExt as _;

/// A service's own id of a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// The largest real answer is a secret of 25 KB whose every byte is escaped in JSON.
pub(super) const LARGEST_BODY: usize = 256 * 1024;

/// The last thing that went wrong on the wire.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// An answer that was no success.
    Answered(Answer),
    /// No answer: what the network said, and whether it was a matter of time.
    Silent { timed_out: bool, said: String },
    /// The answer was larger than any real one, or broke off.
    Broken { said: String },
}

/// An answer that was no success.
#[derive(Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// The transport of one request of ours.
pub(super) struct Wire {
    http: reqwest::Client,
    fault: Mutex<Option<Fault>>,
    ids: Mutex<Ids>,
}

/// What the last request is called on either side.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// By the service.
    pub(super) service: Option<String>,
    /// By us.
    pub(super) client: Option<String>,
}

impl Wire {
    pub(super) fn new(http: &reqwest::Client) -> Arc<Self> {
        Arc::new(Self {
            http: http.clone(),
            fault: Mutex::default(),
            ids: Mutex::default(),
        })
    }

    /// The last thing that went wrong; `None` when every answer was a success.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What the last request is called.
    pub(super) fn ids(&self) -> Ids {
        self.ids
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn name(&self, ids: Ids) {
        *self.ids.lock().unwrap_or_else(PoisonError::into_inner) = ids;
    }

    fn note(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Reads a body to its end.
    async fn read(&self, answer: AsyncRawResponse) -> Result<AsyncRawResponse> {
        let (status, headers, mut body) = answer.deconstruct();
        let mut read = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.inspect_err(|error| self.note(Some(silent(error))))?;
            if read.len() + chunk.len() > LARGEST_BODY {
                let said = format!("an answer of more than {LARGEST_BODY} bytes");
                self.note(Some(Fault::Broken { said: said.clone() }));
                return Err(Error::with_message(ErrorKind::DataConversion, said));
            }
            read.extend_from_slice(&chunk);
        }
        self.note((!status.is_success()).then(|| {
            Fault::Answered(Answer {
                status: status.into(),
                headers: headers.clone(),
                body: read.clone(),
            })
        }));
        Ok(AsyncRawResponse::from_bytes(status, headers, read))
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> Result<AsyncRawResponse> {
        let client = id(request.headers(), &CLIENT_REQUEST_ID);
        let service = None;
        self.name(Ids {
            service,
            client: client.clone(),
        });
        let answer = self.http.execute_request(request).await;
        if let Ok(answer) = &answer {
            let service = id(answer.headers(), &REQUEST_ID);
            self.name(Ids { service, client });
        }
        self.read(answer.inspect_err(|error| self.note(Some(silent(error))))?)
            .await
    }
}

/// The id in a header. Ids are GUIDs; whatever else an answer holds is not for the record.
fn id(headers: &Headers, name: &HeaderName) -> Option<String> {
    const LONGEST: usize = 64;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    // `Headers::get_str` words the error for a wrong value before it looks at the value.
    let (_, id) = headers.iter().find(|(known, _)| *known == name)?;
    let id = id.as_str();
    (id.len() <= LONGEST && id.bytes().all(plain)).then(|| id.to_owned())
}

/// Everything in the chain of an error, for the operator: the useful part is at its end.
fn silent(error: &Error) -> Fault {
    let mut said = error.to_string();
    let mut timed_out = false;
    let mut cause = error.source();
    while let Some(error) = cause {
        timed_out |= error
            .downcast_ref::<reqwest::Error>()
            .is_some_and(reqwest::Error::is_timeout);
        said = format!("{said}: {error}");
        cause = error.source();
    }
    Fault::Silent { timed_out, said }
}

/// How long an unused connection is kept for the next job. Azure's load balancers forget a
/// connection after four minutes and its web servers close it after two; a request on a connection
/// that is being closed would fail.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(110);
/// With HTTP/2: often enough that nobody on the way forgets the connection, and a dead one is
/// noticed before a request has waited for long.
pub(super) const KEEP_ALIVE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(5));
/// Bounds for a single request; the caller's deadline bounds them all together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Entra and Key Vault answer within a second or two; ten is an outage.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
