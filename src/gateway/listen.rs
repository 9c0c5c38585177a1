//! Connections of runners: plain, TLS, or TLS inside of a CONNECT. Each is one task; when the daemon
//! stops, those that are idle end at once and the others with their current request.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Gateway,
    gitlab::{Body, empty},
    said,
};
use crate::{metrics::Front, vault::Vault};

/// Runners keep an idle connection for 90 s, and are the ones to close it.
const IDLE: Duration = Duration::from_secs(120);
/// Longer than a handshake takes round the world.
const HANDSHAKE: Duration = Duration::from_secs(10);

impl<V: Vault> Gateway<V> {
    /// Serves until `stop`, then lets everything end that has begun.
    pub(crate) async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: impl Future<Output = ()> + Send,
    ) {
        let admitted = Arc::new(Semaphore::new(self.connections));
        let accepting = async {
            loop {
                // Whoever comes when all are taken waits in the kernel's queue.
                let Ok(permit) = admitted.clone().acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((connection, peer)) => {
                        self.open
                            .spawn(self.clone().greet(connection, peer, permit));
                    }
                    Err(error) => {
                        // Long enough not to spin, short enough that nobody notices.
                        const PAUSE: Duration = Duration::from_millis(100);
                        tracing::warn!(%error, "cannot accept a connection");
                        sleep(PAUSE).await;
                    }
                }
            }
        };
        tokio::select! {
            () = accepting => {},
            () = stop => {},
        }
        drop(listener);
        self.leaving.cancel();
        self.open.close();
        self.open.wait().await;
        // Jobs that are being failed or given back.
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn greet(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        permit: OwnedSemaphorePermit,
    ) {
        let _connected = self.front.audit.metrics().connects(Front::Gateway);
        let peer = peer.ip();
        // Without it, the end of an answer could wait for an acknowledgement.
        drop(tcp.set_nodelay(true));
        match &self.tls {
            Some(tls) if !self.connect => {
                if let Some(tls) = shake(&tls.acceptor(), tcp).await {
                    self.clone().converse(tls, peer).await;
                }
            }
            _ => self.clone().converse(tcp, peer).await,
        }
        drop(permit);
    }

    /// Answers the requests of a connection.
    async fn converse(
        self: Arc<Self>,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
    ) {
        let gateway = self.clone();
        let answering = service_fn(move |request| {
            let gateway = gateway.clone();
            async move {
                Ok::<_, Infallible>(if gateway.connect {
                    gateway.open_tunnel(peer, request)
                } else {
                    gateway.answer(peer, request).await
                })
            }
        });
        self.until_it_ends(io, answering).await;
    }

    /// A CONNECT to GitLab: from here on the gateway is GitLab, with its own certificate.
    fn open_tunnel(
        self: Arc<Self>,
        peer: IpAddr,
        mut request: Request<Incoming>,
    ) -> Response<Body> {
        if request.method() != Method::CONNECT {
            let mut answer = said(
                StatusCode::METHOD_NOT_ALLOWED,
                "this address is a proxy for CONNECT\n",
            );
            let allowed = HeaderValue::from_static("CONNECT");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        let authority = request.uri().authority();
        if !authority.is_some_and(|authority| self.gitlab.is_at(authority)) {
            tracing::warn!(%peer, "a CONNECT to another host than GitLab's is refused");
            return said(
                StatusCode::MISDIRECTED_REQUEST,
                "this proxy leads to GitLab only: put other hosts into NO_PROXY\n",
            );
        }
        let upgrading = upgrade::on(&mut request);
        let gateway = self.clone();
        self.open.spawn(async move {
            let Some(acceptor) = gateway.tls.as_ref().map(|tls| tls.acceptor()) else {
                return;
            };
            let Ok(Ok(upgraded)) = timeout(HANDSHAKE, upgrading).await else {
                return;
            };
            if let Some(tls) = shake(&acceptor, TokioIo::new(upgraded)).await {
                let inside = gateway.clone();
                let answering = service_fn(move |request| {
                    let gateway = inside.clone();
                    async move { Ok::<_, Infallible>(gateway.answer(peer, request).await) }
                });
                gateway.until_it_ends(tls, answering).await;
            }
        });
        Response::new(empty())
    }

    async fn until_it_ends<S, Answering>(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        answering: S,
    ) where
        S: hyper::service::Service<
                Request<Incoming>,
                Response = Response<Body>,
                Error = Infallible,
                Future = Answering,
            > + Send,
        Answering: Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
    {
        let conversing = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .preserve_header_case(true)
            .serve_connection(TokioIo::new(io), answering)
            .with_upgrades();
        let mut conversing = pin!(conversing);
        let ended = tokio::select! {
            ended = conversing.as_mut() => ended,
            () = self.leaving.cancelled() => {
                conversing.as_mut().graceful_shutdown();
                conversing.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }
}

async fn shake<Io: AsyncRead + AsyncWrite + Unpin>(
    acceptor: &TlsAcceptor,
    io: Io,
) -> Option<tokio_rustls::server::TlsStream<Io>> {
    match timeout(HANDSHAKE, acceptor.accept(io)).await {
        Ok(Ok(tls)) => Some(tls),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no TLS with a runner");
            None
        }
        Err(_) => None,
    }
}
