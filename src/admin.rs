//! What the operator's machines ask: `/metrics`, `/livez` and `/readyz`, over plain HTTP, on an
//! address of the operator's choice. Any process on that network can ask, jobs among them: there is
//! nothing here but numbers, and a client that says nothing is hung up on.

use std::{convert::Infallible, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use crate::readiness::{Dependency, Readiness};

/// What there is to tell.
#[derive(Clone)]
pub struct Admin {
    /// What the daemon depends on to do anything.
    pub readiness: watch::Receiver<Readiness>,
    /// The numbers, as Prometheus reads them.
    pub numbers: Arc<dyn Fn() -> Result<String, prometheus::Error> + Send + Sync>,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// A listener that nobody is answered on yet.
#[derive(Debug)]
pub struct Bound {
    listener: std::net::TcpListener,
    address: SocketAddr,
}

/// A monitoring system and a few people.
const CONNECTIONS: usize = 32;
/// Longer than any network takes for a line.
const SILENCE: Duration = Duration::from_secs(5);

impl Bound {
    /// Takes the address.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The address, with the port that it got where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Admin {
    /// Answers for as long as it is polled.
    pub async fn serve(self, bound: Bound) -> io::Result<()> {
        let listener = TcpListener::from_std(bound.listener)?;
        let admitted = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // Whoever comes when all are taken waits in the kernel's queue.
            let Ok(permit) = admitted.clone().acquire_owned().await else {
                return Ok(());
            };
            let Ok((connection, _)) = listener.accept().await else {
                // Without a file descriptor to spare: not to spin is all that can be done.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let admin = self.clone();
            tokio::spawn(async move {
                admin.converse(connection).await;
                drop(permit);
            });
        }
    }

    async fn converse(self, connection: TcpStream) {
        let answering = service_fn(|request| {
            let answer = self.answer(&request);
            async { Ok::<_, Infallible>(answer) }
        });
        let conversing = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE)
            .keep_alive(false)
            .serve_connection(TokioIo::new(connection), answering);
        // Also where somebody reads the answer byte by byte; what became of it is their matter.
        drop(tokio::time::timeout(SILENCE * 2, conversing).await);
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => self.numbers(),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /metrics, /livez and /readyz\n".to_owned(),
            ),
        }
    }

    /// Why it is not ready is the operator's to read in the log, not every process's.
    fn readiness(&self) -> Response<Full<Bytes>> {
        let readiness = self.readiness.borrow();
        if readiness.is_complete() {
            return text(StatusCode::OK, "ready\n".to_owned());
        }
        let missing: Vec<&str> = readiness.missing().map(Dependency::name).collect();
        let missing = missing.join(", ");
        text(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {missing}; the log says why\n"),
        )
    }

    fn numbers(&self) -> Response<Full<Bytes>> {
        match (self.numbers)() {
            Ok(numbers) => {
                let mut answer = text(StatusCode::OK, numbers);
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                answer.headers_mut().insert(CONTENT_TYPE, format);
                answer
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

fn text(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}
