//! The gRPC front: decodes a request, has it provided, encodes the answer. The only place that
//! makes a [`Status`]. Every request gets an id of ours, which is in the answer's headers, in
//! every error and in every line of the log.

mod arrival;
mod decode;
mod encode;

use std::{sync::Arc, time::SystemTime};

use runner_secrets_proto::v1::{
    ExplainResponse, ReleaseRequest, ReleaseResponse, ResolveRequest, ResolveResponse,
    secrets_provider_server::SecretsProvider,
};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use self::arrival::Arrival;
pub(crate) use self::{arrival::Door, decode::asked};
use crate::{
    config::{Delivery, Limits},
    error::{Advice, Error, Reader},
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
    pub(crate) delivery: Delivery,
    pub(crate) limits: Limits,
}

#[tonic::async_trait]
impl<V: Vault> SecretsProvider for Front<V> {
    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        answered("resolve", request, async |arrival, request| {
            let call = decode::call(self, arrival, request)?;
            let provided = self.provider.provide(&call).await?;
            Ok(encode::response(provided, self.delivery))
        })
        .await
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        answered("release", request, async |arrival, request| {
            let ReleaseRequest { lease_id, id_token } = request;
            let (token, uid) = (IdToken::new(id_token), arrival.caller.uid);
            let releasing = self
                .provider
                .release(&lease_id, uid, &token, arrival.deadline);
            releasing.await.map(|()| ReleaseResponse {})
        })
        .await
    }

    async fn explain(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        answered("explain", request, async |arrival, request| {
            let call = decode::call(self, arrival, request)?;
            let explanations = self.provider.explain(&call).await?;
            Ok(encode::explained(explanations))
        })
        .await
    }
}

/// What every call has in common: its lines in the log, its end on record, its id in the answer.
async fn answered<Asked, Told>(
    call: &'static str,
    request: Request<Asked>,
    work: impl AsyncFnOnce(&Arrival, Asked) -> Result<Told, Error>,
) -> Result<Response<Told>, Status> {
    let arrival = Arrival::of(&request)?;
    let span = arrival.span(call);
    let outcome = async {
        let open = Open::new();
        let outcome = work(&arrival, request.into_inner()).await;
        open.close(&outcome);
        outcome
    };
    encode::answer(&arrival.request_id, outcome.instrument(span).await)
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
            Err(error) => {
                let Advice {
                    by,
                    fix,
                    command,
                    row,
                } = error.advice(Reader::Operator);
                tracing::warn!(
                    milliseconds,
                    reason = error.reason().name(),
                    %error,
                    detail = error.detail(),
                    refused_by = by,
                    fix,
                    command = command.map(tracing::field::display),
                    row,
                    "refused"
                );
            }
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
