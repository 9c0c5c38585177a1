//! The TLS listener: one address for every service, told apart by host name.
//!
//! Each request is logged when its head arrives, then meets the faults, then its service. A
//! handler is dropped when its client goes away; its entry in the log ends with it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::call::{Call, Route};
use crate::clock;
use crate::cloud::Site;
use crate::faults::{self, Outcome};
use crate::reply::{Body, Reply};
use crate::world::World;
use crate::{arm, entra, key_vault};

mod connection;

use connection::{Socket, Tasks};

/// No request of these protocols is near this size.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

/// After a failed accept (out of descriptors, mostly): time for connections to end.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until it is dropped, and drops them then.
pub(crate) async fn serve(listener: TcpListener, acceptor: TlsAcceptor, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, acceptor.clone(), Arc::clone(&world)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, world: Arc<World>) {
    let _open = world.requests.connected();
    // Only slower without it.
    drop(stream.set_nodelay(true));
    let (socket, abort) = Socket::new(stream);
    // A client that does not trust the authority ends here, and need not be told.
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let reset = Arc::new(Notify::new());
    let tasks = Tasks::default();
    let closing = {
        let world = Arc::clone(&world);
        async move { world.requests.closing().await }
    };
    let service = {
        let reset = Arc::clone(&reset);
        service_fn(move |request| handle(Arc::clone(&world), Arc::clone(&reset), request))
    };
    let builder = auto::Builder::new(tasks.executor());
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = serving => {}
        () = closing => {}
        () = reset.notified() => abort.on_close(),
    }
}

async fn handle(
    world: Arc<World>,
    reset: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let mut call = Call::of(&head);
    let in_flight = world
        .requests
        .open(clock::round_trip(world.clock.now()), &call);
    call.body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        // Too large, or cut off: what is missing from an empty body is refused by the service.
        Err(_) => Bytes::new(),
    };
    in_flight.body(&call.body);
    match outcome(&world, &call).await {
        Outcome::Answer(reply) => {
            in_flight.answered(reply.status);
            Ok(reply.send(Some(in_flight)))
        }
        Outcome::Reset => {
            in_flight.finish();
            reset.notify_one();
            std::future::pending().await
        }
        // The entry stays open for as long as the client waits.
        Outcome::Silence => std::future::pending().await,
    }
}

async fn outcome(world: &World, call: &Call) -> Outcome {
    let verdict = world.faults.take(call);
    if !verdict.delay.is_zero() {
        tokio::time::sleep(verdict.delay).await;
    }
    let Some((kind, pace)) = verdict.fault else {
        return Outcome::Answer(answer(world, call).await);
    };
    if let Some(outcome) = faults::before(world, call, &kind) {
        return outcome;
    }
    Outcome::Answer(faults::after(answer(world, call).await, &kind, pace))
}

async fn answer(world: &World, call: &Call) -> Reply {
    match (&call.site, call.route) {
        (Site::Login(_), _) | (Site::Own, Route::Token | Route::Openid | Route::Instance) => {
            entra::answer(world, call).await
        }
        (Site::Vault { .. }, _) | (Site::Own, Route::Secret) => key_vault::answer(world, call),
        (Site::Management(_), _) => arm::answer(world, call),
        (Site::Own, _) => world.issuer.answer(call),
        (Site::Unknown, _) => Reply::new(421, "text/plain", "No such host is emulated.\n"),
    }
}
