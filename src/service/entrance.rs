//! Between the door and the work: a request waits for its turn before its message is read, and a
//! message that never ends is not waited for.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::timeout_at;
use tonic::{
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use super::{
    arrival::{Arrival, turned_away},
    encode,
};
use crate::{audit::Audit, error::Error, limits::Admission};

/// The work itself ends at the deadline; this is for what comes before it.
const LATE: Duration = Duration::from_secs(1);

/// A service that requests are let into in turns.
#[derive(Clone, Debug)]
pub(crate) struct Entrance<S> {
    pub(crate) service: S,
    pub(crate) admission: Arc<Admission>,
    pub(crate) audit: Audit,
}

impl<S: NamedService> NamedService for Entrance<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Entrance<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let arrival = request.extensions().get::<Arrival>().cloned();
        let mut entrance = self.clone();
        Box::pin(async move {
            let what = "a request that came past the door";
            let Some(arrival) = arrival else {
                return Ok(encode::status("", &Error::Bug { what }).into_http());
            };
            let answer = entrance.enter(&arrival, request).await;
            Ok(answer
                .unwrap_or_else(|error| encode::status(&arrival.request_id, &error).into_http()))
        })
    }
}

impl<S> Entrance<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
{
    /// Waits for a turn, and answers.
    async fn enter(
        &mut self,
        arrival: &Arrival,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Error> {
        let what = "a request of nobody";
        let principal = arrival.principal.clone().ok_or(Error::Bug { what })?;
        let connection = arrival.connection;
        let waiting = self.audit.metrics().waits();
        let entering = self
            .admission
            .enter(principal, connection, arrival.deadline);
        let _place = entering
            .await
            .map_err(|error| self.refused(arrival, error))?;
        drop(waiting);
        match timeout_at(arrival.deadline + LATE, self.service.call(request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => {
                let waiting = "waiting for the rest of the request";
                Err(self.refused(arrival, Error::DeadlineExceeded { waiting }))
            }
        }
    }

    /// Puts on record a request that ends here.
    fn refused(&self, arrival: &Arrival, error: Error) -> Error {
        turned_away(
            &self.audit,
            &arrival.request_id,
            arrival.caller.clone(),
            &error,
        );
        error
    }
}
