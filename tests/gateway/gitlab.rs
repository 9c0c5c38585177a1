//! A GitLab that takes nothing which the real one would refuse: two-phase commit with its 400s and
//! its two minutes, traces by range, checksums, states in their order. Everything that it was asked
//! is remembered in order. It shares nothing with the gateway, and knows nothing of secrets.

mod jobs;
mod streams;

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, UPGRADE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Notify,
    task::JoinSet,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;

pub(crate) use streams::PIECE;

/// The runner's own token.
pub(crate) const RUNNER_TOKEN: &str = "glrt-of-the-runner";
/// How long GitLab waits until a job that it handed out is acknowledged.
const WINDOW: Duration = Duration::from_secs(120);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A running GitLab.
pub(crate) struct GitLab {
    pub(crate) url: String,
    world: Arc<World>,
    // Ends with the last of these.
    _tasks: JoinSet<()>,
}

/// What the tests can change.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// Whether a job has to be acknowledged before it runs.
    pub(crate) two_phase: bool,
    /// Whether a poll without a job is held until there is one.
    pub(crate) holds: bool,
    /// Whether payloads are compressed for whoever accepts that, or for everybody.
    pub(crate) gzip: Gzip,
    /// How often the final state is answered 202 first.
    pub(crate) accepted: u32,
    /// Answers to any change of a job's state.
    pub(crate) refuses: Option<StatusCode>,
    /// The answer to the next changes of states, before anything is looked at.
    pub(crate) stumbles: VecDeque<StatusCode>,
    /// How much of the next part of a log is kept, although all of it is acknowledged.
    pub(crate) keeps: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gzip {
    Asked,
    Always,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// Its method and path, with the state where it says one.
    pub(crate) fn line(&self) -> String {
        let state: Option<Value> = serde_json::from_slice(&self.body).ok();
        let state = state.and_then(|body| body.get("state")?.as_str().map(str::to_owned));
        let path = self.path.split('?').next().unwrap();
        match state {
            Some(state) => format!("{} {path} {state}", self.method),
            None => format!("{} {path}", self.method),
        }
    }
}

/// What a job has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Queued,
    /// Handed out, and not acknowledged.
    Waiting,
    Running,
    Success,
    Failed(String),
}

/// A job, as GitLab sees it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) token: String,
    pub(crate) payload: Bytes,
    pub(crate) state: State,
    pub(crate) trace: Vec<u8>,
    until: Instant,
}

struct World {
    jobs: Mutex<BTreeMap<i64, Job>>,
    canned: Mutex<VecDeque<Response<Bytes>>>,
    asked: Mutex<Vec<Asked>>,
    manners: Mutex<Manners>,
    changed: Notify,
    later: Mutex<Duration>,
    uploaded: Mutex<u64>,
    polling: Mutex<u32>,
}

impl GitLab {
    pub(crate) async fn new() -> Self {
        Self::start("http", None).await
    }

    /// With TLS.
    pub(crate) async fn with_tls(acceptor: TlsAcceptor) -> Self {
        Self::start("https", Some(acceptor)).await
    }

    async fn start(scheme: &str, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let manners = Manners {
            two_phase: true,
            holds: false,
            gzip: Gzip::Asked,
            accepted: 0,
            refuses: None,
            stumbles: VecDeque::new(),
            keeps: None,
        };
        let world = Arc::new(World {
            jobs: Mutex::default(),
            canned: Mutex::default(),
            asked: Mutex::default(),
            manners: Mutex::new(manners),
            changed: Notify::new(),
            later: Mutex::default(),
            uploaded: Mutex::default(),
            polling: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, acceptor, world.clone()));
        Self {
            url: format!("{scheme}://localhost:{port}"),
            world,
            _tasks: tasks,
        }
    }

    /// Queues a job. `payload` gets its id and token.
    pub(crate) fn job(&self, id: i64, payload: Value) {
        let mut payload = payload;
        payload["id"] = id.into();
        payload["token"] = format!("token-of-job-{id}").into();
        self.bytes(id, Bytes::from(payload.to_string()));
    }

    /// Queues a job whose payload is exactly this.
    pub(crate) fn bytes(&self, id: i64, payload: Bytes) {
        let job = Job {
            token: format!("token-of-job-{id}"),
            payload,
            state: State::Queued,
            trace: Vec::new(),
            until: Instant::now(),
        };
        self.world.jobs().insert(id, job);
        self.world.changed.notify_waiters();
    }

    /// What the next poll is answered, whatever is queued.
    pub(crate) fn answers(&self, response: Response<Bytes>) {
        self.world.canned.lock().unwrap().push_back(response);
    }

    pub(crate) fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.world.manners.lock().unwrap());
    }

    /// Lets time go by, for GitLab only.
    pub(crate) fn wait(&self, time: Duration) {
        *self.world.later.lock().unwrap() += time;
    }

    pub(crate) fn state(&self, id: i64) -> State {
        self.world.jobs()[&id].state.clone()
    }

    /// A job's log.
    pub(crate) fn trace(&self, id: i64) -> String {
        String::from_utf8(self.world.jobs()[&id].trace.clone()).unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.world.asked.lock().unwrap().clone()
    }

    /// What was asked, in lines, without the polls.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.asked().into_iter().map(|asked| asked.line());
        lines
            .filter(|line| !line.contains("jobs/request"))
            .collect()
    }

    pub(crate) fn forget(&self) {
        self.world.asked.lock().unwrap().clear();
    }

    /// How many polls are held.
    pub(crate) fn polling(&self) -> u32 {
        *self.world.polling.lock().unwrap()
    }

    /// The bytes of artifacts that came so far.
    pub(crate) fn uploaded(&self) -> u64 {
        *self.world.uploaded.lock().unwrap()
    }
}

impl World {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<i64, Job>> {
        self.jobs.lock().unwrap()
    }

    fn manners(&self) -> Manners {
        self.manners.lock().unwrap().clone()
    }

    fn now(&self) -> Instant {
        Instant::now() + *self.later.lock().unwrap()
    }

    /// The next job: one that was queued, or one that nobody acknowledged in time.
    fn next(&self, runner: &Value) -> Option<Bytes> {
        let now = self.now();
        // Only with a runner that knows it.
        let knows = &runner["info"]["features"]["two_phase_job_commit"];
        let two_phase = self.manners().two_phase && knows == &Value::Bool(true);
        let mut jobs = self.jobs();
        let free = |job: &&mut Job| {
            job.state == State::Queued || (job.state == State::Waiting && job.until < now)
        };
        let job = jobs.values_mut().find(free)?;
        job.state = if two_phase {
            State::Waiting
        } else {
            State::Running
        };
        job.until = now + WINDOW;
        Some(job.payload.clone())
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (world, acceptor) = (world.clone(), acceptor.clone());
        connections.spawn(async move {
            match acceptor {
                None => converse(tcp, world).await,
                Some(acceptor) => {
                    if let Ok(tls) = acceptor.accept(tcp).await {
                        converse(tls, world).await;
                    }
                }
            }
        });
    }
}

async fn converse(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, world: Arc<World>) {
    let answering = service_fn(move |request| {
        let world = world.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&world, request).await) }
    });
    let conversing = http1::Builder::new()
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(io), answering)
        .with_upgrades();
    drop(conversing.await);
}

async fn answer(world: &Arc<World>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/artifacts") {
        return streams::artifacts(world, request).await;
    }
    if request.headers().contains_key(UPGRADE) {
        return streams::echo_for_ever(request);
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return said(StatusCode::BAD_REQUEST, "cut off");
    };
    let asked = Asked {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: body.to_bytes(),
    };
    world.asked.lock().unwrap().push(asked.clone());
    let Some(api) = path.strip_prefix("/api/v4/") else {
        return mirrored(&asked);
    };
    let segments: Vec<&str> = api.split('/').collect();
    match (parts.method, segments.as_slice()) {
        (Method::POST, ["jobs", "request"]) => poll(world, &asked).await,
        (Method::PUT, ["jobs", id]) => jobs::update(world, id, &asked),
        (Method::PATCH, ["jobs", id, "trace"]) => jobs::append(world, id, &asked),
        (_, ["runners", "router", "discovery"]) => {
            said(StatusCode::OK, r#"{"server_url":"wss://kas.invalid"}"#)
        }
        _ => mirrored(&asked),
    }
}

/// Says what came, for whoever wants to see it.
fn mirrored(asked: &Asked) -> Response<Body> {
    let headers: Vec<(String, String)> = asked
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    let body = String::from_utf8_lossy(&asked.body);
    let text = json!({
        "method": asked.method, "path": asked.path, "headers": headers, "body": body,
    });
    let mut answer = said(StatusCode::OK, &text.to_string());
    let headers = answer.headers_mut();
    headers.insert("X-Hop", "of this connection".parse().unwrap());
    headers.insert(CONNECTION, "X-Hop".parse().unwrap());
    headers.insert("RateLimit-Remaining", "7".parse().unwrap());
    answer
}

async fn poll(world: &World, asked: &Asked) -> Response<Body> {
    // What Workhorse calls long polling.
    const HELD: Duration = Duration::from_secs(50);
    if let Some(canned) = world.canned.lock().unwrap().pop_front() {
        return canned.map(full);
    }
    let body: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let token = asked.headers.get("RUNNER-TOKEN");
    // Older runners have it in the body only.
    if token.is_some_and(|token| token != RUNNER_TOKEN) || body["token"] != RUNNER_TOKEN {
        return said(StatusCode::FORBIDDEN, r#"{"message":"403 Forbidden"}"#);
    }
    let until = Instant::now() + HELD;
    let payload = loop {
        let changed = world.changed.notified();
        if let Some(payload) = world.next(&body) {
            break payload;
        }
        if !world.manners().holds {
            return no_job();
        }
        let polling = Polling::of(world);
        if tokio::time::timeout_at(until, changed).await.is_err() {
            return no_job();
        }
        drop(polling);
    };
    let accepts = asked.headers.get("Accept-Encoding");
    let accepts = accepts.is_some_and(|accepts| accepts.to_str().unwrap().contains("gzip"));
    let mut answer = Response::builder()
        .status(StatusCode::CREATED)
        .header(CONTENT_TYPE, "application/json")
        .header("X-Request-Id", "01JOB")
        .header("RateLimit-Limit", "60")
        .header("RateLimit-ResetTime", "Sat, 21 Nov 2026 10:00:00 GMT");
    let zipped = world.manners().gzip == Gzip::Always || accepts;
    let payload = if zipped {
        answer = answer.header(CONTENT_ENCODING, "gzip");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&payload).unwrap();
        Bytes::from(encoder.finish().unwrap())
    } else {
        payload
    };
    answer.body(full(payload)).unwrap()
}

/// Counts a poll for as long as it is held.
struct Polling<'a>(&'a World);

impl<'a> Polling<'a> {
    fn of(world: &'a World) -> Self {
        *world.polling.lock().unwrap() += 1;
        Self(world)
    }
}

impl Drop for Polling<'_> {
    fn drop(&mut self) {
        *self.0.polling.lock().unwrap() -= 1;
    }
}

fn no_job() -> Response<Body> {
    Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header("X-GitLab-Last-Update", "a-cursor")
        .body(full(Bytes::new()))
        .unwrap()
}

fn said(status: StatusCode, text: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .body(full(Bytes::from(text.to_owned())))
        .unwrap()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}
