//! A provider on a socket of its own, in this process: records what it is asked and answers as the
//! test decides. It listens before `start` returns, so nobody waits for it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
};

use runner_secrets_proto::{
    ERROR_DOMAIN, REQUEST_ID_HEADER, Reason,
    v1::{
        ExplainResponse, ReleaseRequest, ReleaseResponse, ResolveRequest, ResolveResponse,
        Variable,
        secrets_provider_server::{SecretsProvider, SecretsProviderServer},
        variable::Content,
    },
};
use tempfile::TempDir;
use tokio::{net::UnixListener, sync::oneshot};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The request id of every answer.
pub(crate) const REQUEST: &str = "7f3a-test";

type Explanation = dyn Fn(&ResolveRequest) -> Result<ExplainResponse, Status> + Send + Sync;

type Answer = dyn Fn(&ResolveRequest) -> Result<ResolveResponse, Status> + Send + Sync;

pub(crate) struct Provider {
    place: TempDir,
    calls: Arc<Mutex<Calls>>,
    resolving: mpsc::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Calls {
    pub(crate) resolved: Vec<ResolveRequest>,
    pub(crate) released: Vec<ReleaseRequest>,
    pub(crate) explained: Vec<ResolveRequest>,
}

impl Provider {
    /// Answers every Resolve as told.
    pub(crate) fn start(
        answer: impl Fn(&ResolveRequest) -> Result<ResolveResponse, Status> + Send + Sync + 'static,
    ) -> Self {
        let older = |_: &ResolveRequest| Err(Status::unimplemented("no such call"));
        Self::answering(Arc::new(answer), Arc::new(older))
    }

    /// Answers every Explain as told, and refuses to resolve anything.
    pub(crate) fn explaining(
        answer: impl Fn(&ResolveRequest) -> Result<ExplainResponse, Status> + Send + Sync + 'static,
    ) -> Self {
        let nothing = |_: &ResolveRequest| Err(Status::internal("nobody should ask"));
        Self::answering(Arc::new(nothing), Arc::new(answer))
    }

    fn answering(answer: Arc<Answer>, explanation: Arc<Explanation>) -> Self {
        let place = tempfile::tempdir().unwrap();
        let calls = Arc::<Mutex<Calls>>::default();
        let (sender, resolving) = mpsc::channel();
        let service = Service {
            answer,
            explanation,
            calls: Arc::clone(&calls),
            resolving: sender,
        };
        let listener = std::os::unix::net::UnixListener::bind(socket(&place)).unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || serve(listener, service, stopped));
        Self {
            place,
            calls,
            resolving,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Delivers these values as the daemon on the same machine does: files, and a lease.
    pub(crate) fn with_files(values: &[(&str, &[u8])]) -> Self {
        let leases = tempfile::tempdir().unwrap();
        let values = owned(values);
        Self::start(move |request| {
            let directory = leases.path().join("0a1b");
            fs::create_dir_all(&directory).unwrap();
            let variables = request.secrets.iter().map(|(name, secret)| {
                let value = values.get(name).cloned().unwrap_or_default();
                let content = if secret.file() {
                    let path = directory.join(name);
                    fs::write(&path, value).unwrap();
                    Content::Path(path.to_str().unwrap().to_owned())
                } else {
                    Content::Value(value)
                };
                (name.clone(), variable(secret.file(), content))
            });
            Ok(ResolveResponse {
                variables: variables.collect(),
                lease_id: "lease-1".into(),
                ..ResolveResponse::default()
            })
        })
    }

    /// Delivers these values inline.
    pub(crate) fn inline(values: &[(&str, &[u8])], disk_allowed: bool) -> Self {
        let values = owned(values);
        Self::start(move |request| {
            let variables = request.secrets.iter().map(|(name, secret)| {
                let value = values.get(name).cloned().unwrap_or_default();
                (name.clone(), variable(secret.file(), Content::Value(value)))
            });
            Ok(ResolveResponse {
                variables: variables.collect(),
                disk_allowed,
                ..ResolveResponse::default()
            })
        })
    }

    /// Refuses every request for this reason.
    pub(crate) fn refusing(reason: Reason) -> Self {
        Self::start(move |_| Err(refusal(reason.name(), reason.row().code.unwrap())))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket(&self.place)
    }

    pub(crate) fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.calls.lock().unwrap()
    }

    /// Waits until somebody asks.
    pub(crate) fn wait_for_resolve(&self) {
        self.resolving.recv().unwrap();
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
        drop(self.thread.take().map(thread::JoinHandle::join));
    }
}

pub(crate) fn variable(file: bool, content: Content) -> Variable {
    Variable {
        file,
        content: Some(content),
        version: "0123456789abcdef0123456789abcdef".into(),
        warnings: Vec::new(),
    }
}

/// An error as the daemon makes them.
pub(crate) fn refusal(reason: &str, code: tonic::Code) -> Status {
    let request = [("request_id".to_owned(), REQUEST.to_owned())];
    let details = ErrorDetails::with_error_info(reason, ERROR_DOMAIN, request);
    Status::with_error_details(code, "the rule says no", details)
}

fn owned(values: &[(&str, &[u8])]) -> BTreeMap<String, Vec<u8>> {
    let pairs = values.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
        .collect()
}

fn socket(place: &TempDir) -> PathBuf {
    Path::join(place.path(), "api.sock")
}

struct Service {
    answer: Arc<Answer>,
    explanation: Arc<Explanation>,
    calls: Arc<Mutex<Calls>>,
    resolving: mpsc::Sender<()>,
}

#[tonic::async_trait]
impl SecretsProvider for Service {
    async fn resolve(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ResolveResponse>, Status> {
        let request = request.into_inner();
        let answer = (self.answer)(&request);
        self.calls.lock().unwrap().resolved.push(request);
        let _ = self.resolving.send(());
        // The wish of a test that wants no answer at all.
        if answer
            .as_ref()
            .is_err_and(|status| status.code() == tonic::Code::Cancelled)
        {
            std::future::pending::<()>().await;
        }
        answer.map(identified)
    }

    async fn release(
        &self,
        request: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseResponse>, Status> {
        self.calls
            .lock()
            .unwrap()
            .released
            .push(request.into_inner());
        Ok(Response::new(ReleaseResponse {}))
    }

    async fn explain(
        &self,
        request: Request<ResolveRequest>,
    ) -> Result<Response<ExplainResponse>, Status> {
        let request = request.into_inner();
        let answer = (self.explanation)(&request);
        self.calls.lock().unwrap().explained.push(request);
        answer.map(identified)
    }
}

/// An answer with the request id in its header.
fn identified<Message>(message: Message) -> Response<Message> {
    let mut response = Response::new(message);
    let id = REQUEST.parse().unwrap();
    response.metadata_mut().insert(REQUEST_ID_HEADER, id);
    response
}

fn serve(
    listener: std::os::unix::net::UnixListener,
    service: Service,
    stopped: oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from_std(listener).unwrap();
        let server = Server::builder()
            .add_service(SecretsProviderServer::new(service))
            .serve_with_incoming(UnixListenerStream::new(listener));
        tokio::select! {
            ended = server => ended.unwrap(),
            _ = stopped => {}
        }
    });
}
