//! The gRPC front: decodes a request, has it provided, encodes the answer. The only place that
//! makes a [`Status`]. Every request gets an id of ours, which is in the answer's headers, in
//! every error and in every line of the log.

mod arrival;
mod decode;
mod encode;
mod entrance;

use std::sync::Arc;

use runner_secrets_proto::v1::{
    ExplainResponse, ReleaseRequest, ReleaseResponse, ResolveRequest, ResolveResponse,
    secrets_provider_server::SecretsProvider,
};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

pub(crate) use self::{
    arrival::{Arrival, Door},
    decode::asked,
    entrance::Entrance,
};
use crate::{
    audit::{Audit, Record, event::Caller},
    caller::Principal,
    config::{Delivery, Limits},
    error::Error,
    limits::{Admission, Admitted},
    metrics,
    provide::{Call, Provided, Provider},
    secret::IdToken,
    vault::Vault,
};

/// What the decoder takes, and refuses in its own words; `limits.request_bytes` lies below, so that
/// the answer is ours.
pub(crate) const MOST_DECODED: usize = 4 * 1024 * 1024;

/// One listener's service.
#[derive(Debug)]
pub(crate) struct Front<V> {
    pub(crate) audit: Audit,
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
        self.answered("resolve", request, async |arrival, request, record| {
            record.must_last()?;
            let call = decode::call(self, arrival, request)?;
            let provided = self.provider.provide(&call, record).await?;
            Ok(encode::response(provided, self.delivery))
        })
        .await
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        self.answered("release", request, async |arrival, request, record| {
            let ReleaseRequest { lease_id, id_token } = request;
            let what = "a release by nobody";
            let principal = arrival.principal.as_ref().ok_or(Error::Bug { what })?;
            let token = IdToken::new(id_token);
            let releasing =
                self.provider
                    .release(&lease_id, principal, &token, arrival.deadline, record);
            releasing.await.map(|()| ReleaseResponse {})
        })
        .await
    }

    async fn explain(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        self.answered("explain", request, async |arrival, request, record| {
            let call = decode::call(self, arrival, request)?;
            let explanations = self.provider.explain(&call, record).await?;
            Ok(encode::explained(explanations))
        })
        .await
    }
}

impl<V> Front<V> {
    /// What every call has in common: its lines in the log, its record, its id in the answer.
    async fn answered<Asked, Told>(
        &self,
        call: &'static str,
        request: Request<Asked>,
        work: impl AsyncFnOnce(&Arrival, Asked, &mut Record) -> Result<Told, Error>,
    ) -> Result<Response<Told>, Status> {
        let arrival = Arrival::of(&request)?;
        let work = async |record: &mut Record| work(&arrival, request.into_inner(), record).await;
        let front = arrival::front(&arrival.caller);
        let outcome = self.recorded(front, call, &arrival, work).await;
        encode::answer(&arrival.request_id, outcome)
    }

    /// The same for whoever answers in other words than gRPC's.
    async fn recorded<Told>(
        &self,
        front: metrics::Front,
        call: &'static str,
        arrival: &Arrival,
        work: impl AsyncFnOnce(&mut Record) -> Result<Told, Error>,
    ) -> Result<Told, Error> {
        let outcome = async {
            let mut record =
                self.audit
                    .record(front, call, &arrival.request_id, arrival.caller.clone());
            let outcome = work(&mut record).await;
            record.close(outcome.as_ref().map(|_| ()));
            outcome
        };
        outcome.instrument(arrival.span(call)).await
    }
}

impl<V: Vault> Front<V> {
    /// A `Resolve` of the job `job_id` that came another way; `asked` makes the request, and its
    /// mistakes are on record like any other refusal.
    ///
    /// It waits for its turn at any rate: GitLab hands a job out once, and a runner asks for no more
    /// of them than it runs.
    pub(crate) async fn resolve_job(
        &self,
        arrival: &Arrival,
        admission: &Arc<Admission>,
        job_id: String,
        asked: impl FnOnce() -> Result<ResolveRequest, Error>,
    ) -> Result<Provided, Error> {
        let work = async |record: &mut Record| {
            record.must_last()?;
            let _place = self.turn(arrival, admission).await?;
            let call = Call {
                job_id: Some(job_id),
                ..decode::call(self, arrival, asked()?)?
            };
            self.provider.provide(&call, record).await
        };
        let front = metrics::Front::Gateway;
        self.recorded(front, "resolve", arrival, work).await
    }

    async fn turn(&self, arrival: &Arrival, admission: &Arc<Admission>) -> Result<Admitted, Error> {
        let Caller::Remote(runner) = &arrival.caller else {
            let what = "a job of nobody";
            return Err(Error::Bug { what });
        };
        let _waiting = self.audit.metrics().waits();
        let runner = Principal::Remote(runner.clone());
        admission.wait(runner, 0, arrival.deadline).await
    }
}
