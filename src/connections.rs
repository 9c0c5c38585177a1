//! The connections of all listeners: accepted as long as there is room for them, served over
//! HTTP/2, and closed when nobody uses them. Where there is no room, the longest unused connection
//! of whoever has the most makes some. Knows nothing of what is asked over them; a connection with a
//! request on it is left alone.

mod open;

use std::{pin::pin, sync::Arc, time::Duration};

use futures_util::FutureExt as _;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::sleep,
};
use tonic::{
    body::Body,
    codegen::{Service as _, http},
    service::Routes,
};

use self::open::{Busy, Open};
pub(crate) use self::open::{Connections, Limits};
use crate::socket::Peer;

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
    listener: UnixListener,
    routes: Routes,
    connections: Arc<Connections>,
    stop: impl Future<Output = ()> + Clone + Send + 'static,
) {
    let mut serving = JoinSet::new();
    let mut stopped = pin!(stop.clone());
    loop {
        let next = async {
            connections.room().await;
            accepted(&listener).await
        };
        let stream = tokio::select! {
            stream = next => stream,
            Some(_) = serving.join_next() => continue,
            () = &mut stopped => break,
        };
        let uid = stream.peer_cred().map(|peer| peer.uid());
        let open = connections.open(uid.ok());
        let peer = Peer::of(&stream, open.id());
        let peer = peer.inspect_err(|error| tracing::warn!(%error, "a caller cannot be told"));
        let peer = peer.ok();
        serving.spawn(connection(stream, routes.clone(), peer, open, stop.clone()));
    }
    while serving.join_next().await.is_some() {}
}

/// The next connection. Failing to accept, as without free file descriptors, passes.
async fn accepted(listener: &UnixListener) -> UnixStream {
    // Long enough not to spin, short enough that nobody notices.
    const PAUSE: Duration = Duration::from_millis(100);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One connection, from its first byte to its last.
async fn connection(
    stream: UnixStream,
    routes: Routes,
    peer: Option<Peer>,
    open: Open,
    stop: impl Future<Output = ()>,
) {
    let open = &open;
    let answer = service_fn(|mut request: http::Request<Incoming>| {
        let busy = open.busy();
        request.extensions_mut().insert(peer.clone());
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
