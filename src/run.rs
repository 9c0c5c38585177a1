//! Wires everything together, serves, and drains. Takes its configuration and a stop signal; what
//! can fail fails in [`Daemon::bind`], before anything is accepted.

mod addresses;
mod gateways;
mod health;
pub(crate) mod keys;
mod place;
mod trail;

use std::{
    mem,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use runner_secrets_proto::{
    FILE_DESCRIPTOR_SET, v1::secrets_provider_server::SecretsProviderServer,
};
use tokio::{net::UnixListener, task::JoinSet};
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use crate::{
    admin::{Admin, Bound},
    audit::{
        self, Audit,
        log::{Log, Writer},
        user::{self, User},
    },
    azure::{self, Azure},
    config::{Config, Delivery, OnStop},
    connections::{self, Connections, Listener},
    files::{self, lease::Leases, moment::Alarm},
    limits::{Admission, Bounds, Rate},
    metrics::Metrics,
    policy::Policy,
    provide::{Provider, presented::Presented},
    service::{Door, Entrance, Front, MOST_DECODED},
    socket::{self, Socket},
    systemd,
    tls::{self, Server},
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
    /// The address for monitoring cannot be had.
    #[error("admin.listen: {address}: {source}")]
    Admin {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// An address for callers on the network cannot be had.
    #[error(transparent)]
    Address(#[from] addresses::Error),
    /// The audit trail cannot be written.
    #[error("audit: {0}")]
    Audit(#[from] audit::log::Error),
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
    /// A gateway cannot be set up.
    #[error(transparent)]
    Gateway(#[from] gateways::Error),
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
    /// A socket that is there cannot be served.
    #[error("{}: {source}", socket.display())]
    Serving {
        /// Which.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// A listener that is ready to accept, and what is served there.
struct Open {
    listener: Listener,
    delivery: Delivery,
    allowed_uids: Arc<[u32]>,
    reflection: bool,
    held: Option<socket::Held>,
}

/// A daemon that has its sockets and accepts as soon as it is served.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    sockets: Vec<Socket>,
    addresses: Vec<addresses::Open>,
    provider: Arc<Provider<Azure>>,
    audit: Audit,
    writer: Writer,
    admin: Option<(Bound, Admin)>,
    gateways: Vec<gateways::Open>,
}

impl Daemon {
    /// Sets everything up and takes the sockets.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let vault = vault(&config)?;
        let verifier = keys::verifier(&config.issuers)?;
        let user = User::load(&config.audit.user)?;
        // Whoever has the sockets is the daemon that may look at what an earlier one left, and the
        // only one on the trail.
        let sockets = socket::open(&config.listeners)?;
        let addresses = addresses::open(&config)?;
        let (files, notes) = place::open(&config)?.unzip();
        let (log, writer) = Log::open(&config.audit)?;
        let metrics = Metrics::new()?;
        let audit = Audit::new(log, metrics.clone());
        trail::started(&audit, &config);
        let policy = policy(&config);
        tracing::info!(hash = policy.hash(), rules = policy.rules(), mode = %policy.mode(), "policy in force");
        trail::policy(&audit, &config, &policy, None)?;
        let ends = audit.clone();
        let leases = Leases::new(notes, move |ended| trail::lease_ended(&ends, ended));
        let leases = Arc::new(leases);
        let jobs = metrics.gateway();
        let admin = Admin {
            metrics,
            audit: audit.clone(),
            leases: leases.clone(),
        };
        let provider = Provider {
            verifier,
            presented: Presented::new(config.limits.token_rate),
            policy: RwLock::new(Arc::new(policy)),
            cloud: config.azure.cloud.clone(),
            vault,
            files,
            leases,
            user,
        };
        let provider = Arc::new(provider);
        let gateways = gateways::open(&config, &provider, &audit, &jobs)?;
        // Last, when nothing can keep the daemon from serving what it takes over.
        if let Some(place) = &provider.files {
            let taken = provider.leases.take_over(&place.base);
            taken.map_err(Error::Left)?;
        }
        Ok(Self {
            sockets,
            addresses,
            gateways,
            provider,
            audit,
            writer,
            admin: monitoring(&config, admin)?,
            config,
        })
    }

    /// A handle to put another policy in force while the daemon serves.
    #[must_use]
    pub fn policies(&self) -> Policies {
        Policies {
            provider: self.provider.clone(),
            audit: self.audit.clone(),
            certificates: self.certificates(),
        }
    }

    /// Serves until `stop`, then lets the requests that are running end, for no longer than the
    /// configured time. No file of any job is left behind, unless the configuration says so.
    pub async fn serve(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), Error> {
        let on_stop = self.config.files.on_stop;
        let leases = self.provider.leases.clone();
        let stop = closing(stop, on_stop, leases).boxed().shared();
        let (reporter, health) = tonic_health::server::health_reporter();
        let leaving = health::report(reporter, self.audit.watch(), stop.clone());
        let leaving = leaving.await.boxed().shared();
        let tasks = self.tasks()?;
        let (connections, admission) = self.bounds();
        let mut servers = JoinSet::new();
        let mut held = Vec::new();
        for open in self.listeners()? {
            let mut routes = Routes::new(self.service(&open, admission.clone()));
            routes = routes.add_service(health.clone());
            if open.reflection {
                routes = routes.add_service(reflection()?);
            }
            let (connections, leaving) = (connections.clone(), leaving.clone());
            servers.spawn(async move {
                connections::serve(open.listener, routes.prepare(), connections, leaving).await;
            });
            held.push(open.held);
        }
        for gateway in mem::take(&mut self.gateways) {
            servers.spawn(gateway.serve(stop.clone()));
        }
        let watchdog = systemd::watchdog();
        systemd::ready(&self.policies().in_force());
        let served = drained(servers, stop, &self.config).await;
        drop(tasks);
        match on_stop {
            OnStop::Delete => self.provider.leases.end_all(),
            OnStop::Keep => self.provider.leases.leave_all(),
        }
        self.audit.flush();
        let closed = self.writer.close(self.config.audit.timeout);
        tracing::info!("stopped");
        drop(watchdog);
        served.and(closed.map_err(Error::Unclosed))
    }

    /// All sockets and addresses, which nobody has been accepted on.
    fn listeners(&mut self) -> Result<Vec<Open>, Error> {
        let mut open = Vec::new();
        let sockets = mem::take(&mut self.sockets).into_iter();
        for (socket, listen) in sockets.zip(&self.config.listeners) {
            let listener = listener(socket.listener, &socket.path)?;
            tracing::info!(socket = %socket.path.display(), delivery = %listen.delivery, "listening");
            open.push(Open {
                listener: Listener::Local(listener),
                delivery: listen.delivery,
                allowed_uids: listen.allowed_uids.as_slice().into(),
                reflection: listen.reflection,
                held: socket.held,
            });
        }
        let addresses = mem::take(&mut self.addresses).into_iter();
        for (opened, settings) in addresses.zip(&self.config.addresses) {
            let delivery = Delivery::Inline {
                disk_allowed: settings.disk_allowed,
            };
            let client_certificates = settings.tls.client_ca.is_some();
            tracing::info!(address = %opened.address, %delivery, client_certificates, "listening");
            open.push(Open {
                listener: Listener::Remote(opened.listener, opened.tls),
                delivery,
                allowed_uids: Arc::default(),
                reflection: settings.reflection,
                held: None,
            });
        }
        Ok(open)
    }

    /// What the listener `open` serves.
    fn service(&self, open: &Open, admission: Arc<Admission>) -> Service {
        let front = Front {
            audit: self.audit.clone(),
            provider: self.provider.clone(),
            delivery: open.delivery,
            limits: self.config.limits.clone(),
        };
        let door = Door {
            audit: self.audit.clone(),
            allowed_uids: open.allowed_uids.clone(),
            request_timeout: self.config.limits.request_timeout,
        };
        let service = SecretsProviderServer::new(front);
        let entrance = Entrance {
            service: service.max_decoding_message_size(MOST_DECODED),
            admission,
            audit: self.audit.clone(),
        };
        InterceptedService::new(entrance, Doorkeeper(door))
    }

    /// The certificates of all addresses and gateways.
    fn certificates(&self) -> Arc<[Arc<Server>]> {
        let addresses = self.addresses.iter().map(|open| &open.tls);
        let gateways = self.gateways.iter().filter_map(gateways::Open::tls);
        addresses.chain(gateways).cloned().collect()
    }

    /// How much all listeners together take.
    fn bounds(&self) -> (Arc<Connections>, Arc<Admission>) {
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
        (connections, admission)
    }

    /// What goes on beside the requests, until it is dropped.
    fn tasks(&mut self) -> Result<JoinSet<()>, Error> {
        let mut tasks = JoinSet::new();
        // The first job need not wait for the issuers' keys; that they cannot be had is no reason
        // not to start.
        let provider = self.provider.clone();
        tasks.spawn(async move { provider.verifier.warm().await });
        let provider = self.provider.clone();
        let alarm = Alarm::new().map_err(Error::Alarm)?;
        tasks.spawn(async move { provider.leases.expire(&alarm).await });
        let audit = self.audit.clone();
        tasks.spawn(async move { audit.sum_up().await });
        tasks.spawn(tls::watch(self.certificates()));
        if let Some((bound, admin)) = self.admin.take() {
            tracing::info!(address = %bound.address(), "answers /metrics, /livez and /readyz");
            tasks.spawn(async move {
                if let Err(error) = admin.serve(bound).await {
                    tracing::error!(%error, "monitoring has ended");
                }
            });
        }
        Ok(tasks)
    }
}

/// What a running daemon takes without a restart: its policy, and certificates under the paths that it
/// has.
#[derive(Clone, Debug)]
pub struct Policies {
    provider: Arc<Provider<Azure>>,
    audit: Audit,
    certificates: Arc<[Arc<Server>]>,
}

impl Policies {
    /// Puts the policy of `config` in force: its rules, and what they default to. Everything else
    /// of a configuration takes a restart. Where its text cannot be kept, the old one stays.
    pub fn replace(&self, config: &Config) -> Result<(), Error> {
        let new = policy(config);
        let old = self.provider.policy();
        trail::policy(&self.audit, config, &new, Some(old.hash()))?;
        let (hash, rules, mode) = (new.hash().to_owned(), new.rules(), new.mode());
        self.provider.set_policy(new);
        // Who reads this gets what it says.
        tracing::info!(old = old.hash(), new = hash, rules, %mode, "policy reloaded");
        Ok(())
    }

    /// Which policy is in force, as a line for people.
    #[must_use]
    pub fn in_force(&self) -> String {
        let policy = self.provider.policy();
        let (rules, mode) = (policy.rules(), policy.mode());
        format!(
            "serving; policy {:.12}, {rules} rules, mode {mode}",
            policy.hash()
        )
    }

    /// Opens the audit trail's file anew, for whoever has renamed it, and reads certificates anew.
    pub fn reopen(&self) {
        self.audit.reopen();
        for certificate in &*self.certificates {
            certificate.read_anew();
        }
    }
}

/// The backend.
fn vault(config: &Config) -> Result<Azure, azure::SetUpError> {
    let bounds = azure::Bounds {
        requests: config.limits.upstream_requests,
        reads: config.limits.vault_reads,
    };
    Azure::new(&config.azure, bounds)
}

/// What is answered to monitoring, and where, if anywhere.
fn monitoring(config: &Config, admin: Admin) -> Result<Option<(Bound, Admin)>, Error> {
    let Some(address) = config.admin else {
        return Ok(None);
    };
    let bound = Bound::to(address).map_err(|source| Error::Admin { address, source })?;
    Ok(Some((bound, admin)))
}

fn policy(config: &Config) -> Policy {
    Policy::new(config.rules.clone(), config.defaults.clone())
}

/// A listener that the runtime knows of.
fn listener(
    listener: std::os::unix::net::UnixListener,
    socket: &Path,
) -> Result<UnixListener, Error> {
    let listening = listener.set_nonblocking(true);
    let listening = listening.and_then(|()| UnixListener::from_std(listener));
    listening.map_err(|source| Error::Serving {
        socket: socket.to_owned(),
        source,
    })
}

/// Waits for the signal to stop, and sees to it that no request gets files which would be deleted
/// before they can be used.
async fn closing(stop: impl Future<Output = ()>, on_stop: OnStop, leases: Arc<Leases>) {
    stop.await;
    if on_stop == OnStop::Delete {
        leases.close();
    }
}

/// Longer than it takes to delete the files of a thousand jobs.
const CLEARING_UP: Duration = Duration::from_secs(10);

/// Waits for the servers: as long as they serve, then as long as draining may take.
async fn drained(
    mut servers: JoinSet<()>,
    stop: impl Future<Output = ()>,
    config: &Config,
) -> Result<(), Error> {
    stop.await;
    tracing::info!("stopping: letting requests end");
    let stop_timeout = config.limits.stop_timeout;
    // The files of jobs are deleted and the trail is closed after that.
    systemd::stopping(stop_timeout + config.audit.timeout + CLEARING_UP);
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
