//! Wires everything together, serves, and drains. Takes its configuration and a stop signal; what
//! can fail fails in [`Daemon::bind`], before anything is accepted.

mod health;
pub(crate) mod keys;
mod trail;

use std::{
    mem,
    net::SocketAddr,
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
    service::{Interceptor, interceptor::InterceptedService},
    transport::Server,
};
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::{
    admin::{Admin, Bound},
    audit::{
        self, Audit,
        log::{Log, Writer},
        user::{self, User},
    },
    azure::{self, Azure},
    config::{Config, Delivery, Listen},
    files::{self, Base, lease::Leases},
    metrics::Metrics,
    policy::Policy,
    provide::{Place, Provider, presented::Presented},
    service::{Door, Front, MOST_DECODED},
    socket::{self, Socket},
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
    /// The address for monitoring cannot be had.
    #[error("admin.listen: {address}: {source}")]
    Admin {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The audit trail cannot be written.
    #[error("audit: {0}")]
    Audit(#[from] audit::log::Error),
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
    /// The policy's text cannot be kept.
    #[error(transparent)]
    Policy(#[from] trail::Unkept),
    /// Nothing can be counted.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The service cannot describe itself.
    #[error("reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The audit trail was not closed in time.
    #[error(transparent)]
    Unclosed(audit::log::Unclosed),
    /// People cannot be named as configured.
    #[error(transparent)]
    User(#[from] user::Error),
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
    audit: Audit,
    writer: Writer,
    admin: Option<(Bound, Admin)>,
}

impl Daemon {
    /// Sets everything up and takes the sockets.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let vault = Azure::new(&config.azure)?;
        let delivers = |listen: &Listen| listen.delivery == Delivery::Files;
        let files = config
            .listeners
            .iter()
            .any(delivers)
            .then(|| place(&config))
            .transpose()?;
        let verifier = keys::verifier(&config.issuers)?;
        let user = User::load(&config.audit.user)?;
        // Whoever has the sockets is the only daemon on the trail, too.
        let sockets = socket::open(&config.listeners)?;
        let (log, writer) = Log::open(&config.audit)?;
        let metrics = Metrics::new()?;
        let audit = Audit::new(log, metrics.clone());
        let admin = config.admin.map(bound).transpose()?;
        trail::started(&audit, &config);
        let policy = policy(&config);
        tracing::info!(hash = policy.hash(), rules = policy.rules(), mode = %policy.mode(), "policy in force");
        trail::policy(&audit, &config, &policy, None)?;
        let ends = audit.clone();
        let leases = Leases::new(move |ended| trail::lease_ended(&ends, ended));
        let leases = Arc::new(leases);
        let admin = admin.map(|bound| {
            let (audit, leases) = (audit.clone(), leases.clone());
            let admin = Admin {
                metrics,
                audit,
                leases,
            };
            (bound, admin)
        });
        let provider = Provider {
            verifier,
            presented: Presented::default(),
            policy: RwLock::new(Arc::new(policy)),
            cloud: config.azure.cloud.clone(),
            vault,
            files,
            leases,
            user,
        };
        Ok(Self {
            sockets,
            provider: Arc::new(provider),
            audit,
            writer,
            admin,
            config,
        })
    }

    /// A handle to put another policy in force while the daemon serves.
    #[must_use]
    pub fn policies(&self) -> Policies {
        Policies {
            provider: self.provider.clone(),
            audit: self.audit.clone(),
        }
    }

    /// Serves until `stop`, then lets the requests that are running end, for no longer than the
    /// configured time. No file of any job is left behind.
    pub async fn serve(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let stop = stop.boxed().shared();
        let (reporter, health) = tonic_health::server::health_reporter();
        let leaving = health::report(reporter, self.audit.watch(), stop.clone()).await;
        let leaving = leaving.boxed().shared();
        let tasks = self.tasks();
        let mut servers = JoinSet::new();
        let mut held = Vec::new();
        for (socket, listen) in mem::take(&mut self.sockets)
            .into_iter()
            .zip(&self.config.listeners)
        {
            let service = self.service(listen);
            let (health, leaving) = (health.clone(), leaving.clone());
            let (path, reflects) = (&socket.path, listen.reflection);
            let served = listener(socket.listener, path, service, health, reflects, leaving);
            servers.spawn(served?);
            held.push(socket.held);
            let (socket, delivery) = (socket.path.display(), listen.delivery);
            tracing::info!(%socket, %delivery, "listening");
        }
        let served = drained(servers, stop, self.config.limits.stop_timeout).await;
        drop(tasks);
        self.provider.leases.end_all();
        self.audit.flush();
        let closed = self.writer.close(self.config.audit.timeout);
        tracing::info!("stopped");
        served.and(closed.map_err(Error::Unclosed))
    }

    /// What the listener `listen` serves.
    fn service(&self, listen: &Listen) -> Service {
        let front = Front {
            audit: self.audit.clone(),
            provider: self.provider.clone(),
            delivery: listen.delivery,
            limits: self.config.limits.clone(),
        };
        let door = Door {
            audit: self.audit.clone(),
            allowed_uids: listen.allowed_uids.as_slice().into(),
            request_timeout: self.config.limits.request_timeout,
        };
        let service = SecretsProviderServer::new(front);
        let service = service.max_decoding_message_size(MOST_DECODED);
        InterceptedService::new(service, Doorkeeper(door))
    }

    /// What goes on beside the requests, until it is dropped.
    fn tasks(&mut self) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        // The first job need not wait for the issuers' keys; that they cannot be had is no reason
        // not to start.
        let provider = self.provider.clone();
        tasks.spawn(async move { provider.verifier.warm().await });
        let provider = self.provider.clone();
        tasks.spawn(async move { provider.leases.expire().await });
        let audit = self.audit.clone();
        tasks.spawn(async move { audit.sum_up().await });
        if let Some((bound, admin)) = self.admin.take() {
            tracing::info!(address = %bound.address(), "answers /metrics, /livez and /readyz");
            tasks.spawn(async move {
                if let Err(error) = admin.serve(bound).await {
                    tracing::error!(%error, "monitoring has ended");
                }
            });
        }
        tasks
    }
}

/// The policy of a running daemon.
#[derive(Clone, Debug)]
pub struct Policies {
    provider: Arc<Provider<Azure>>,
    audit: Audit,
}

impl Policies {
    /// Puts the policy of `config` in force: its rules, and what they default to. Everything else
    /// of a configuration takes a restart. Where its text cannot be kept, the old one stays.
    pub fn replace(&self, config: &Config) -> Result<(), Error> {
        let new = policy(config);
        let old = self.provider.policy();
        trail::policy(&self.audit, config, &new, Some(old.hash()))?;
        tracing::info!(
            old = old.hash(),
            new = new.hash(),
            rules = new.rules(),
            mode = %new.mode(),
            "policy reloaded"
        );
        self.provider.set_policy(new);
        Ok(())
    }

    /// Opens the audit trail's file anew, for whoever has renamed it.
    pub fn reopen(&self) {
        self.audit.reopen();
    }
}

fn bound(address: SocketAddr) -> Result<Bound, Error> {
    Bound::to(address).map_err(|source| Error::Admin { address, source })
}

fn policy(config: &Config) -> Policy {
    Policy::new(config.rules.clone(), config.defaults.clone())
}

/// The server of one listener, as a future that ends when it has drained.
fn listener(
    listener: std::os::unix::net::UnixListener,
    path: &Path,
    service: Service,
    health: HealthServer<impl Health>,
    reflects: bool,
    leaving: Shared<impl Future<Output = ()> + Send + 'static>,
) -> Result<impl Future<Output = Result<(), Error>> + Send + 'static, Error> {
    let socket = path.to_owned();
    let failed = move |source| Error::Serving { socket, source };
    let listener = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener))
        .map_err(failed.clone())?;
    let reflection = reflects.then(reflection).transpose()?;
    Ok(async move {
        Server::builder()
            .add_service(service)
            .add_service(health)
            .add_optional_service(reflection)
            .serve_with_incoming_shutdown(incoming(listener), leaving)
            .await
            .map_err(|error| failed(std::io::Error::other(error)))
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
fn incoming(
    listener: UnixListener,
) -> impl stream::Stream<Item = std::io::Result<tokio::net::UnixStream>> {
    // Long enough not to spin, short enough that nobody notices.
    const PAUSE: Duration = Duration::from_millis(100);
    stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((Ok(connection), listener)),
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
