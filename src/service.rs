//! The gRPC front: decodes a request, has it provided, encodes the answer. The only place that
//! makes a [`Status`]. Every request gets an id of ours, which is in the answer's headers, in
//! every error and in every line of the log.

mod decode;
mod encode;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use runner_secrets_proto::v1::{
    ReleaseRequest, ReleaseResponse, ResolveRequest, ResolveResponse,
    secrets_provider_server::SecretsProvider,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status, transport::server::UdsConnectInfo};
use tracing::Instrument as _;

use crate::{
    azure::Cloud,
    config::{Delivery, Limits},
    error::Error,
    provide::Provider,
    secret::IdToken,
    vault::Vault,
};

/// What the decoder takes, and refuses in its own words; `limits.request_bytes` lies below, so that
/// the answer is ours.
pub(crate) const MOST_DECODED: usize = 4 * 1024 * 1024;

/// One listener's service.
#[derive(Debug)]
pub(crate) struct Front<V> {
    pub(crate) provider: Arc<Provider<V>>,
    pub(crate) cloud: Arc<Cloud>,
    pub(crate) delivery: Delivery,
    pub(crate) limits: Limits,
}

#[tonic::async_trait]
impl<V: Vault> SecretsProvider for Front<V> {
    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        let arrival = Arrival::new(&request, &self.limits)?;
        let span = tracing::info_span!("resolve", request_id = arrival.request_id);
        let answer = async {
            let open = Open::new();
            let call = decode::call(self, &arrival, request.into_inner());
            let provided = match call {
                Ok(call) => self.provider.provide(&call).await,
                Err(error) => Err(error),
            };
            open.close(&provided);
            provided.map(|provided| encode::response(provided, self.delivery))
        };
        let answer = answer.instrument(span).await;
        encode::answer(&arrival.request_id, answer)
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        let arrival = Arrival::new(&request, &self.limits)?;
        let _span = tracing::info_span!("release", request_id = arrival.request_id).entered();
        let open = Open::new();
        let ReleaseRequest { lease_id, id_token } = request.into_inner();
        let token = IdToken::new(id_token);
        let released = self.provider.release(&lease_id, arrival.uid, &token);
        open.close(&released);
        encode::answer(&arrival.request_id, released.map(|()| ReleaseResponse {}))
    }
}

/// What is known of a request before it is read.
struct Arrival {
    request_id: String,
    uid: u32,
    pid: Option<i32>,
    deadline: Instant,
}

impl Arrival {
    fn new<T>(request: &Request<T>, limits: &Limits) -> Result<Self, Status> {
        let mut random = [0; 16];
        let random = getrandom::fill(&mut random).map(|()| u128::from_ne_bytes(random));
        let what = "the system gives no random numbers";
        let bug = |_| encode::status("", &Error::Bug { what });
        let request_id = format!("{:032x}", random.map_err(bug)?);
        let peer = request.extensions().get::<UdsConnectInfo>();
        let peer = peer.and_then(|peer| peer.peer_cred.as_ref());
        let problem = "the calling process cannot be told";
        let peer =
            peer.ok_or_else(|| encode::status(&request_id, &Error::CallerDenied { problem }))?;
        let allowed = limits.request_timeout;
        let allowed = timeout(request).map_or(allowed, |asked| allowed.min(asked));
        Ok(Self {
            request_id,
            uid: peer.uid(),
            pid: peer.pid(),
            deadline: Instant::now() + allowed,
        })
    }
}

/// The caller's own timeout, less what the answer needs to reach it: one that arrives late is none.
/// From the `grpc-timeout` header: at most eight digits and a unit.
fn timeout<T>(request: &Request<T>) -> Option<Duration> {
    const TRAVEL: Duration = Duration::from_millis(50);
    let header = request.metadata().get("grpc-timeout")?.to_str().ok()?;
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

/// Writes how a request ended, also when its caller hung up and this is only dropped.
struct Open {
    since: SystemTime,
    closed: bool,
}

impl Open {
    fn new() -> Self {
        Self {
            since: SystemTime::now(),
            closed: false,
        }
    }

    fn close<T>(mut self, outcome: &Result<T, Error>) {
        self.closed = true;
        let milliseconds = self.milliseconds();
        match outcome {
            Ok(_) => tracing::info!(milliseconds, "done"),
            Err(error) => tracing::warn!(
                milliseconds,
                reason = error.reason().name(),
                %error,
                detail = error.detail(),
                "refused"
            ),
        }
    }

    fn milliseconds(&self) -> u128 {
        self.since.elapsed().unwrap_or_default().as_millis()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.closed {
            tracing::warn!(
                milliseconds = self.milliseconds(),
                "abandoned: the caller hung up"
            );
        }
    }
}
