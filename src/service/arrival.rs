//! What is known of a request before its body is read: its id, who calls, how long there is. A
//! caller that may not call is turned away here.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tonic::{Request, Status, metadata::MetadataMap};

use super::encode;
use crate::{
    audit::{
        Audit,
        event::{Caller, Local},
    },
    caller::{Principal, Remote},
    connections::{Connected, Party},
    error::Error,
    metrics::Front,
    process::Process,
    socket::Peer,
};

/// A request that may be read.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) request_id: String,
    pub(super) caller: Caller,
    /// Whom it counts against, and whose the tokens in it are; `None` for a job that came from GitLab.
    pub(super) principal: Option<Principal>,
    /// The calling process itself, where it still runs.
    pub(super) process: Option<Arc<Process>>,
    /// Which of the daemon's connections it came over.
    pub(super) connection: u64,
    pub(super) deadline: Instant,
}

/// Who may call, and how long a request may take.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) audit: Audit,
    /// Users of this host that may call; empty: whoever the socket's mode admits.
    pub(crate) allowed_uids: Arc<[u32]>,
    /// The longest, whatever the caller allows.
    pub(crate) request_timeout: Duration,
}

impl Door {
    /// Attaches an [`Arrival`] to a request, or turns it away.
    pub(crate) fn admit(&self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let request_id = request_id().map_err(|error| encode::status("", &error))?;
        let from = request.extensions().get::<Connected>().cloned();
        let admitted = self.may_call(&request_id, from);
        let from = admitted.map_err(|error| encode::status(&request_id, &error))?;
        let longest = self.request_timeout;
        let allowed = timeout(request.metadata()).map_or(longest, |asked| longest.min(asked));
        request.extensions_mut().insert(Arrival {
            request_id,
            caller: from.party.caller(),
            principal: Some(from.party.principal()),
            connection: from.id,
            process: from.party.process(),
            deadline: Instant::now() + allowed,
        });
        Ok(request)
    }

    fn may_call(&self, request_id: &str, from: Option<Connected>) -> Result<Connected, Error> {
        let denied = |problem| Error::CallerDenied { problem };
        let from = from.ok_or_else(|| denied("the calling process cannot be told"))?;
        match &from.party {
            Party::Process(peer) if !self.admits(peer.uid) => {}
            Party::Process(_) | Party::Remote(_) => return Ok(from),
        }
        let error = denied("this user of the host may not use the daemon");
        turned_away(&self.audit, request_id, from.party.caller(), &error);
        Err(error)
    }

    fn admits(&self, uid: u32) -> bool {
        self.allowed_uids.is_empty() || self.allowed_uids.contains(&uid)
    }
}

/// Where a gRPC request came in.
pub(super) fn front(caller: &Caller) -> Front {
    match caller {
        Caller::Local(_) => Front::Socket,
        Caller::Remote { .. } => Front::Tls,
    }
}

/// Puts on record that a request ends here, before it is read.
pub(super) fn turned_away(audit: &Audit, request_id: &str, caller: Caller, error: &Error) {
    span("connect", request_id, &caller).in_scope(|| {
        audit
            .record(front(&caller), "connect", request_id, caller)
            .close(Err(error));
    });
}

impl Party {
    fn caller(&self) -> Caller {
        match self {
            Self::Process(Peer { uid, gid, pid, .. }) => Caller::Local(Local {
                uid: *uid,
                gid: *gid,
                pid: *pid,
            }),
            Self::Remote(remote) => Caller::Remote(remote.clone()),
        }
    }

    fn process(&self) -> Option<Arc<Process>> {
        match self {
            Self::Process(peer) => peer.process.clone(),
            Self::Remote(_) => None,
        }
    }
}

impl Arrival {
    /// A job that GitLab gave now to the runner at `runner`.
    pub(crate) fn from_gitlab(runner: Remote, timeout: Duration) -> Result<Self, Error> {
        Ok(Self {
            request_id: request_id()?,
            caller: Caller::Remote(runner),
            principal: None,
            process: None,
            connection: 0,
            deadline: Instant::now() + timeout,
        })
    }

    /// What [`Door::admit`] attached.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let what = "a request that came past the door";
        let arrival = request.extensions().get::<Self>().cloned();
        arrival.ok_or_else(|| encode::status("", &Error::Bug { what }))
    }

    /// The span that all lines on this request are in.
    pub(super) fn span(&self, call: &'static str) -> tracing::Span {
        span(call, &self.request_id, &self.caller)
    }
}

/// At every level of the log: without the request's id no line on it leads back to its job.
fn span(call: &'static str, request_id: &str, caller: &Caller) -> tracing::Span {
    match caller {
        Caller::Local(Local { uid, gid, pid }) => {
            tracing::error_span!("request", call, request_id, uid, gid, pid)
        }
        Caller::Remote(Remote {
            address,
            certificate,
        }) => {
            let certificate = certificate.as_deref();
            tracing::error_span!("request", call, request_id, %address, certificate)
        }
    }
}

/// A name for a request, which nobody can guess.
fn request_id() -> Result<String, Error> {
    let mut random = [0; 16];
    let what = "the system gives no random numbers";
    getrandom::fill(&mut random).map_err(|_| Error::Bug { what })?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

/// The caller's own timeout, less what the answer needs to reach it: one that arrives late is none.
/// From the `grpc-timeout` header: at most eight digits and a unit.
fn timeout(metadata: &MetadataMap) -> Option<Duration> {
    const TRAVEL: Duration = Duration::from_millis(50);
    let header = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Some(timeout.saturating_sub(TRAVEL.min(timeout / 10)))
}
