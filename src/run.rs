//! Wires everything together, serves, and drains. Takes its configuration and a stop signal; what
//! can fail fails in [`Daemon::bind`], before anything is accepted.

pub(crate) mod keys;
mod place;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::{FutureExt as _, future::Shared, stream};
use runner_secrets_proto::{
    FILE_DESCRIPTOR_SET, v1::secrets_provider_server::SecretsProviderServer,
};
use tokio::{net::UnixListener, task::JoinSet};
use tonic::{
    Request, Status,
    server::NamedService as _,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Server,
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::{
    azure::{self, Azure},
    config::{Config, OnStop},
    files::{
        self,
        lease::{Ended, Leases},
        moment::Alarm,
        note::Notes,
    },
    policy::Policy,
    provide::{Provider, presented::Presented},
    service::{Door, Front, MOST_DECODED},
    socket::{self, Connection, Socket},
};

type Service = InterceptedService<SecretsProviderServer<Front<Azure>>, Doorkeeper>;

/// Turns away who may not call, before a body is read.
#[derive(Clone, Debug)]
struct Doorkeeper(Door);

impl Interceptor for Doorkeeper {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        self.0.admit(request)
    }
}

/// Why the daemon does not start, or did not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Azure cannot be reached as configured.
    #[error(transparent)]
    Azure(#[from] azure::SetUpError),
    /// Files cannot be delivered.
    #[error(transparent)]
    Place(#[from] place::Error),
    /// What an earlier daemon left cannot be looked at.
    #[error("files: {0}")]
    Left(files::Error),
    /// Leases would not end in time.
    #[error("cannot set an alarm: {0}")]
    Alarm(std::io::Error),
    /// There is no way to an issuer's keys.
    #[error(transparent)]
    Keys(#[from] keys::Error),
    /// The service cannot describe itself.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// Requests were cut off.
    #[error("requests were still running {} s after the signal to stop, and were cut off", .0.as_secs())]
    Slow(Duration),
    /// A socket cannot be had.
    #[error(transparent)]
    Socket(#[from] socket::Error),
    /// A socket failed while serving.
    #[error("{}: {source}", socket.display())]
    Serving {
        /// Which.
        socket: PathBuf,
        /// How.
        source: std::io::Error,
    },
}

/// A daemon that has its sockets and accepts as soon as it is served.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    sockets: Vec<Socket>,
    provider: Arc<Provider<Azure>>,
}

impl Daemon {
    /// Sets everything up and takes the sockets.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let vault = Azure::new(&config.azure)?;
        // Whoever has the sockets is the daemon that may look at what an earlier one left.
        let sockets = socket::open(&config.listeners)?;
        let mut leases = Leases::new(ended);
        let (files, notes) = place::open(&config)?.unzip();
        if let Some(notes) = &notes {
            leases = leases.noting(Notes::clone(notes));
        }
        let policy = policy(&config);
        tracing::info!(hash = policy.hash(), rules = policy.rules(), mode = %policy.mode(), "policy in force");
        let provider = Provider {
            verifier: keys::verifier(&config.issuers)?,
            presented: Presented::default(),
            policy: RwLock::new(Arc::new(policy)),
            cloud: config.azure.cloud.clone(),
            vault,
            files,
            leases: Arc::new(leases),
        };
        // Last, when nothing can keep the daemon from serving what it takes over.
        if let (Some(place), Some(notes)) = (&provider.files, &notes) {
            let taken = provider.leases.take_over(&place.base, notes);
            taken.map_err(Error::Left)?;
        }
        Ok(Self {
            sockets,
            provider: Arc::new(provider),
            config,
        })
    }

    /// A handle to put another policy in force while the daemon serves.
    #[must_use]
    pub fn policies(&self) -> Policies {
        Policies(self.provider.clone())
    }

    /// Serves until `stop`, then lets the requests that are running end, for no longer than the
    /// configured time. No file of any job is left behind, unless the configuration says so.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let alarm = Alarm::new().map_err(Error::Alarm)?;
        let on_stop = self.config.files.on_stop;
        let stop = closing(stop, on_stop, self.provider.leases.clone());
        let stop = stop.boxed().shared();
        let mut servers = JoinSet::new();
        let mut held = Vec::new();
        for (socket, listen) in self.sockets.into_iter().zip(&self.config.listeners) {
            let front = Front {
                provider: self.provider.clone(),
                delivery: listen.delivery,
                limits: self.config.limits.clone(),
            };
            let door = Door {
                allowed_uids: listen.allowed_uids.as_slice().into(),
                request_timeout: self.config.limits.request_timeout,
            };
            let service = SecretsProviderServer::new(front);
            let service = service.max_decoding_message_size(MOST_DECODED);
            let service = InterceptedService::new(service, Doorkeeper(door));
            let served = listener(
                socket.listener,
                &socket.path,
                service,
                listen.reflection,
                stop.clone(),
            );
            servers.spawn(served?);
            held.push(socket.held);
            let (socket, delivery) = (socket.path.display(), listen.delivery);
            tracing::info!(%socket, %delivery, "listening");
        }
        // The first job need not wait for the issuers' keys; that they cannot be had is no reason
        // not to start.
        let provider = self.provider.clone();
        let warming = tokio::spawn(async move { provider.verifier.warm().await });
        let provider = self.provider.clone();
        let expiry = tokio::spawn(async move { provider.leases.expire(&alarm).await });
        let served = drained(servers, stop, self.config.limits.stop_timeout).await;
        expiry.abort();
        warming.abort();
        match on_stop {
            OnStop::Delete => self.provider.leases.end_all(),
            OnStop::Keep => self.provider.leases.leave_all(),
        }
        tracing::info!("stopped");
        served
    }
}

/// The policy of a running daemon.
#[derive(Clone, Debug)]
pub struct Policies(Arc<Provider<Azure>>);

impl Policies {
    /// Puts the policy of `config` in force: its rules, and what they default to. Everything else
    /// of a configuration takes a restart.
    pub fn replace(&self, config: &Config) {
        let new = policy(config);
        let old = self.0.policy();
        tracing::info!(
            old = old.hash(),
            new = new.hash(),
            rules = new.rules(),
            mode = %new.mode(),
            "policy reloaded"
        );
        self.0.set_policy(new);
    }
}

/// Puts the end of a lease on record.
fn ended(ended: Ended) {
    let Ended {
        lease,
        request_id,
        holder,
        end,
    } = ended;
    tracing::info!(
        lease,
        request_id,
        uid = holder.uid,
        project_id = holder.project_id,
        job_id = holder.job_id,
        end = end.name(),
        "a lease ended"
    );
}

fn policy(config: &Config) -> Policy {
    Policy::new(config.rules.clone(), config.defaults.clone())
}

/// The server of one listener, as a future that ends when it has drained.
fn listener(
    listener: std::os::unix::net::UnixListener,
    path: &Path,
    service: Service,
    reflects: bool,
    stop: Shared<impl Future<Output = ()> + Send + 'static>,
) -> Result<impl Future<Output = Result<(), Error>> + Send + 'static, Error> {
    let socket = path.to_owned();
    let failed = move |source| Error::Serving { socket, source };
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed.clone())?;
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = reflects.then(reflection).transpose()?;
    Ok(async move {
        health.set_serving::<Service>().await;
        Server::builder()
            .add_service(service)
            .add_service(health_service)
            .add_optional_service(reflection)
            .serve_with_incoming_shutdown(incoming(listener), leaving(stop, health))
            .await
            .map_err(|error| failed(std::io::Error::other(error)))
    })
}

/// Tells health checks first, so that nobody is sent here any more. Then ends what watches them:
/// such a call never ends by itself, and the daemon would wait for it.
async fn leaving(stop: impl Future<Output = ()>, mut health: HealthReporter) {
    stop.await;
    for service in ["", Service::NAME] {
        let leaving = ServingStatus::NotServing;
        health.set_service_status(service, leaving).await;
        health.clear_service_status(service).await;
    }
}

/// Waits for the signal to stop, and sees to it that no request gets files which would be deleted
/// before they can be used.
async fn closing(stop: impl Future<Output = ()>, on_stop: OnStop, leases: Arc<Leases>) {
    stop.await;
    if on_stop == OnStop::Delete {
        leases.close();
    }
}

/// Waits for the servers: as long as they serve, then as long as draining may take.
async fn drained(
    mut servers: JoinSet<Result<(), Error>>,
    stop: impl Future<Output = ()>,
    stop_timeout: Duration,
) -> Result<(), Error> {
    tokio::select! {
        () = stop => tracing::info!("stopping: letting requests end"),
        Some(Ok(failed @ Err(_))) = servers.join_next() => return failed,
    }
    let all = async {
        while let Some(server) = servers.join_next().await {
            if let Ok(Err(error)) = server {
                return Err(error);
            }
        }
        Ok(())
    };
    let ended = tokio::time::timeout(stop_timeout, all).await;
    ended.unwrap_or(Err(Error::Slow(stop_timeout)))
}

/// Connections as they come. Failing to accept, as without free file descriptors, passes.
fn incoming(listener: UnixListener) -> impl stream::Stream<Item = std::io::Result<Connection>> {
    // Long enough not to spin, short enough that nobody notices.
    const PAUSE: Duration = Duration::from_millis(100);
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((Ok(Connection::of(stream)), listener)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    })
}

/// The service that describes the others, for tools such as grpcurl.
fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, Error> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    Ok(builder.build_v1()?)
}
