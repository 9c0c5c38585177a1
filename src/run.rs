//! Wires everything together, serves, and drains. Takes its configuration and a stop signal; what
//! can fail fails in [`Daemon::bind`], before anything is accepted.

pub(crate) mod keys;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::{FutureExt as _, future::Shared};
use runner_secrets_proto::{
    FILE_DESCRIPTOR_SET, v1::secrets_provider_server::SecretsProviderServer,
};
use tokio::{net::UnixListener, task::JoinSet};
use tonic::{
    Request, Status,
    server::NamedService as _,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::{
    azure::{self, Azure},
    config::{Config, Delivery},
    connections::{self, Connections},
    files::{
        self, Base,
        lease::{Ended, Leases},
    },
    limits::{Admission, Bounds, Rate},
    policy::Policy,
    provide::{Place, Provider, presented::Presented},
    service::{Door, Entrance, Front, MOST_DECODED},
    socket::{self, Socket},
};

type Service = InterceptedService<Entrance<SecretsProviderServer<Front<Azure>>>, Doorkeeper>;

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
    /// The directory for files cannot be used.
    #[error("files.directory: {0}")]
    Files(#[from] files::Error),
    /// Files would end up on a disk.
    #[error("files.directory: {} is neither tmpfs nor ramfs, so secrets would be written to a disk; mount a tmpfs there, or set require_memory_backed = false", .0.display())]
    OnDisk(PathBuf),
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
    /// A socket that is there cannot be served.
    #[error("{}: {source}", socket.display())]
    Serving {
        /// Which.
        socket: PathBuf,
        /// Why.
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
        let bounds = azure::Bounds {
            requests: config.limits.upstream_requests,
            reads: config.limits.vault_reads,
        };
        let vault = Azure::new(&config.azure, bounds)?;
        let delivers = |listen: &crate::config::Listen| listen.delivery == Delivery::Files;
        let files = config
            .listeners
            .iter()
            .any(delivers)
            .then(|| place(&config))
            .transpose()?;
        let policy = policy(&config);
        tracing::info!(hash = policy.hash(), rules = policy.rules(), mode = %policy.mode(), "policy in force");
        let provider = Provider {
            verifier: keys::verifier(&config.issuers)?,
            presented: Presented::new(config.limits.token_rate),
            policy: RwLock::new(Arc::new(policy)),
            cloud: config.azure.cloud.clone(),
            vault,
            files,
            leases: Arc::new(Leases::new(ended)),
        };
        Ok(Self {
            sockets: socket::open(&config.listeners)?,
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
    /// configured time. No file of any job is left behind.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<(), Error> {
        let stop = stop.boxed().shared();
        let limits = &self.config.limits;
        let connections = Connections::new(connections::Limits {
            most: connections::most(limits.connections),
            idle_timeout: limits.idle_timeout,
        });
        let admission = Admission::new(Bounds {
            requests: limits.requests,
            queue: limits.queue,
            rate: Rate::new(limits.caller_rate, limits.caller_rate.saturating_mul(10)),
        });
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
            let admission = admission.clone();
            let service = Entrance { service, admission };
            let service = InterceptedService::new(service, Doorkeeper(door));
            let served = listener(
                (socket.listener, &socket.path),
                (service, listen.reflection),
                connections.clone(),
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
        let expiry = tokio::spawn(async move { provider.leases.expire().await });
        let served = drained(servers, stop, self.config.limits.stop_timeout).await;
        expiry.abort();
        warming.abort();
        self.provider.leases.end_all();
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
    (listener, path): (std::os::unix::net::UnixListener, &Path),
    (service, reflects): (Service, bool),
    connections: Arc<Connections>,
    stop: Shared<impl Future<Output = ()> + Send + 'static>,
) -> Result<impl Future<Output = ()> + Send + 'static, Error> {
    let socket = path.to_owned();
    let failed = move |source| Error::Serving { socket, source };
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed)?;
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = reflects.then(reflection).transpose()?;
    Ok(async move {
        health.set_serving::<Service>().await;
        let mut routes = Routes::new(service).add_service(health_service);
        if let Some(reflection) = reflection {
            routes = routes.add_service(reflection);
        }
        let stop = leaving(stop, health).boxed().shared();
        connections::serve(listener, routes.prepare(), connections, stop).await;
    })
}

/// The directory for files, if it will do.
fn place(config: &Config) -> Result<Place, Error> {
    let files = &config.files;
    let base = Base::open(&files.directory)?;
    if files.require_memory_backed && !base.is_memory_backed()? {
        return Err(Error::OnDisk(files.directory.clone()));
    }
    Ok(Place {
        base,
        mode: files.mode,
        max_ttl: files.max_ttl,
        owner_grace: files.owner_grace,
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

/// Waits for the servers: as long as they serve, then as long as draining may take.
async fn drained(
    mut servers: JoinSet<()>,
    stop: impl Future<Output = ()>,
    stop_timeout: Duration,
) -> Result<(), Error> {
    stop.await;
    tracing::info!("stopping: letting requests end");
    let all = async { while servers.join_next().await.is_some() {} };
    let ended = tokio::time::timeout(stop_timeout, all).await;
    ended.map_err(|_| Error::Slow(stop_timeout))
}

/// The service that describes the others, for tools such as grpcurl.
fn reflection() -> Result<ServerReflectionServer<impl ServerReflection>, Error> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    Ok(builder.build_v1()?)
}
