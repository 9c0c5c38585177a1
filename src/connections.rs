//! The connections of all listeners, sockets and addresses: accepted as long as there is room for
//! them, served over HTTP/2, and closed when nobody uses them. Where there is no room, the longest unused connection
//! of whoever has the most makes some. Knows nothing of what is asked over them; a connection with a
//! request on it is left alone.

mod accept;
mod open;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};
use tonic::{
    body::Body,
    codegen::{Service as _, http},
    service::Routes,
};

use self::{
    accept::Accepted,
    open::{Busy, Open},
};
pub(crate) use self::{
    accept::{Connected, Listener, Party},
    open::{Connections, Limits},
};
use crate::metrics::Counted;

/// A request that is there at once needs no more, and a client that sends a byte at a time has to
/// be done with its first head by then.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Requests at a time on one connection. A job has one; clients that have more send up to a hundred
/// before they are told how many there may be, and those beyond would fail without a reason of ours.
const STREAMS: u32 = 100;
/// A client that is stopped, or only half there, does not answer; a living one does within
/// milliseconds.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// Of one message, before anybody reads it. More comes as it is read.
const WINDOW: u32 = 64 * 1024;
/// Larger than any head of gRPC; it is held for each stream.
const HEAD: u32 = 16 * 1024;
/// What a client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// How many connections there can be: as configured, or as many as take half of the files that the
/// system lets this process open, two each. The other half is for the files of jobs and the
/// connections to Azure.
pub(crate) fn most(configured: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // The connection, and the process at its other end.
    let room = files.map_or(usize::MAX, |files| {
        usize::try_from(files / 4).unwrap_or(usize::MAX)
    });
    if room < configured {
        tracing::warn!(
            configured,
            most = room,
            "limits.connections is more than a quarter of the files that may be open (RLIMIT_NOFILE, LimitNOFILE=)"
        );
    }
    configured.min(room).max(1)
}

/// Serves `routes` on `listener` until `stop`, then lets the requests that are running end.
pub(crate) async fn serve(
    listener: Listener,
    routes: Routes,
    connections: Arc<Connections>,
    connected: impl Fn() -> Counted,
    stop: impl Future<Output = ()> + Clone + Send + 'static,
) {
    let mut serving = JoinSet::new();
    let mut stopped = pin!(stop.clone());
    loop {
        let next = async {
            connections.room().await;
            listener.accept().await
        };
        let accepted = tokio::select! {
            accepted = next => accepted,
            Some(_) = serving.join_next() => continue,
            () = &mut stopped => break,
        };
        let open = connections.open(accepted.principal());
        let (routes, stop) = (routes.clone(), stop.clone());
        let counted = connected();
        serving.spawn(async move {
            let _counted = counted;
            match accepted {
                Accepted::Local(stream) => {
                    let party = accept::process(&stream);
                    connection(stream, routes, party, &open, stop).await;
                }
                Accepted::Remote(remote) => {
                    let shaken = tokio::select! {
                        shaken = remote.shake() => shaken,
                        () = open.evicted() => None,
                        () = open.unused(FIRST_REQUEST) => None,
                        () = stop.clone() => None,
                    };
                    if let Some((stream, party)) = shaken {
                        connection(stream, routes, Some(party), &open, stop).await;
                    }
                }
            }
        });
    }
    while serving.join_next().await.is_some() {}
}

/// One connection, from the first byte of HTTP/2 to its last.
async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Routes,
    party: Option<Party>,
    open: &Open,
    stop: impl Future<Output = ()>,
) {
    let id = open.id();
    let connected = party.map(|party| Connected { party, id });
    let answer = service_fn(|mut request: http::Request<Incoming>| {
        let busy = open.busy();
        if let Some(connected) = connected.clone() {
            request.extensions_mut().insert(connected);
        }
        let answer = routes.clone().call(request);
        async move { answer.await.map(|answer| held(answer, busy)) }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(KEEP_ALIVE.0)
        .keep_alive_timeout(KEEP_ALIVE.1)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW * 4)
        .max_header_list_size(HEAD)
        .serve_connection(TokioIo::new(stream), answer);
    let mut served = pin!(served);
    tokio::select! {
        _ = &mut served => return,
        // Says goodbye if that takes no time; somebody else is waiting.
        () = open.evicted() => {
            served.as_mut().graceful_shutdown();
            drop(served.now_or_never());
            return;
        }
        () = open.unused(FIRST_REQUEST) => {}
        () = stop => tokio::select! {
            _ = &mut served => return,
            // Who was accepted a moment ago is about to ask; without an answer its job fails.
            () = open.asked(GOODBYE) => {}
        }
    }
    served.as_mut().graceful_shutdown();
    // Who broke off, or does not say goodbye, is gone as well.
    tokio::select! {
        _ = served => {}
        () = open.unused_for(GOODBYE) => {}
    }
}

/// The answer, which keeps its connection busy until it is sent.
fn held(answer: http::Response<Body>, busy: Busy) -> http::Response<Body> {
    answer.map(|body| Body::new(open::Held::new(body, busy)))
}
