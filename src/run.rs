//! Wires everything together, serves, and drains. Takes its configuration and a stop signal; what
//! can fail fails in [`Daemon::bind`], before anything is accepted.

mod addresses;
mod error;
mod gateways;
mod health;
pub(crate) mod keys;
mod listeners;
mod place;
mod policies;
mod reload;
mod trail;

use std::{
    mem,
    sync::{Arc, RwLock},
    time::Duration,
};

use futures_util::FutureExt as _;
use runner_secrets_proto::{
    FILE_DESCRIPTOR_SET, v1::secrets_provider_server::SecretsProviderServer,
};
use tokio::{sync::watch, task::JoinSet};
use tonic::{
    Request, Status,
    service::{Interceptor, Routes, interceptor::InterceptedService},
};
use tonic_reflection::server::v1::{ServerReflection, ServerReflectionServer};

use self::listeners::Open;
pub use self::{error::Error, policies::Policies, reload::Reloading};
use crate::{
    admin::{Admin, Bound},
    audit::{
        Audit,
        log::{Log, Writer},
        user::User,
    },
    azure::{self, Azure},
    config::{self, Config, OnStop},
    connections::{self, Connections},
    files::{lease::Leases, moment::Alarm},
    limits::{Admission, Bounds, Rate},
    metrics::{Metrics, Snapshot},
    policy::Policy,
    provide::{Provider, presented::Presented},
    readiness::Readiness,
    service::{Door, Entrance, Front, MOST_DECODED},
    socket::{self, Socket},
    systemd,
    tls::{self, Certificate},
    vault::Vault as _,
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

/// A daemon that has its sockets and accepts as soon as it is served.
#[derive(Debug)]
pub struct Daemon {
    config: Config,
    sockets: Vec<Socket>,
    addresses: Vec<addresses::Open>,
    provider: Arc<Provider<Azure>>,
    audit: Audit,
    writer: Writer,
    readiness: watch::Sender<Readiness>,
    admin: Option<Bound>,
    gateways: Vec<gateways::Open>,
    admission: Arc<Admission>,
}

impl Daemon {
    /// Sets everything up and takes the sockets.
    pub fn bind(config: Config) -> Result<Self, Error> {
        let metrics = Metrics::new()?;
        let vault = vault(&config, &metrics)?;
        let verifier = keys::verifier(&config.issuers)?;
        let user = User::load(&config.audit.user)?;
        // Whoever has the sockets is the daemon that may look at what an earlier one left, and the
        // only one on the trail.
        let sockets = socket::open(&config.listeners)?;
        let addresses = addresses::open(&config)?;
        let (files, notes) = place::open(&config)?.unzip();
        let (log, writer) = Log::open(&config.audit)?;
        listeners::announce(&config, &metrics);
        let audit = Audit::new(log, metrics.clone());
        trail::started(&audit, &config);
        let policy = policy(&config);
        tracing::info!(hash = policy.hash(), rules = policy.rules(), mode = %policy.mode(), "policy in force");
        trail::policy(&audit, &config, &policy, None)?;
        let ends = audit.clone();
        let leases = Leases::new(notes, move |ended| trail::lease_ended(&ends, ended));
        let leases = Arc::new(leases);
        let jobs = metrics.gateway();
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
        let admission = admission(&config.limits);
        let gateways = gateways::open(&config, &provider, &audit, &admission, &jobs)?;
        // Last, when nothing can keep the daemon from serving what it takes over.
        if let Some(place) = &provider.files {
            let taken = provider.leases.take_over(&place.base());
            taken.map_err(Error::Left)?;
        }
        Ok(Self {
            sockets,
            addresses,
            gateways,
            admission,
            provider,
            audit,
            writer,
            readiness: watch::Sender::default(),
            admin: monitoring(&config)?,
            config,
        })
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
        let watch = self.watch();
        tokio::select! {
            () = watch.first_look() => {}
            () = stop.clone() => {}
        }
        let leaving = health::report(reporter, self.readiness.subscribe(), stop.clone());
        let leaving = leaving.await.boxed().shared();
        let mut tasks = self.tasks()?;
        tasks.spawn(watch.look());
        let connections = self.connections();
        let mut servers = JoinSet::new();
        let mut held = Vec::new();
        let (sockets, addresses) = (mem::take(&mut self.sockets), mem::take(&mut self.addresses));
        for open in listeners::ready(sockets, addresses, &self.config)? {
            let mut routes = Routes::new(self.service(&open));
            routes = routes.add_service(health.clone());
            if open.reflection {
                routes = routes.add_service(reflection()?);
            }
            let (connections, leaving) = (connections.clone(), leaving.clone());
            let metrics = self.audit.metrics().clone();
            servers.spawn(async move {
                let connected = move || metrics.connects(open.way);
                let routes = routes.prepare();
                connections::serve(open.listener, routes, connections, connected, leaving).await;
            });
            held.push(open.held);
        }
        for gateway in mem::take(&mut self.gateways) {
            servers.spawn(gateway.serve(stop.clone()));
        }
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
        served.and(closed.map_err(Error::Unclosed))
    }

    /// What the listener `open` serves.
    fn service(&self, open: &Open) -> Service {
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
            admission: self.admission.clone(),
            audit: self.audit.clone(),
        };
        InterceptedService::new(entrance, Doorkeeper(door))
    }

    /// The certificates of all addresses and gateways.
    fn certificates(&self) -> Arc<[Certificate]> {
        let addresses = self.addresses.iter().map(addresses::Open::certificate);
        let gateways = self.gateways.iter().filter_map(gateways::Open::certificate);
        addresses.chain(gateways).collect()
    }

    /// How many connections all listeners together hold.
    fn connections(&self) -> Arc<Connections> {
        let limits = &self.config.limits;
        Connections::new(connections::Limits {
            most: connections::most(limits.connections),
            idle_timeout: limits.idle_timeout,
        })
    }

    /// What readiness depends on.
    fn watch(&self) -> health::Watch {
        health::Watch {
            audit: self.audit.clone(),
            provider: self.provider.clone(),
            files: self.config.files.clone(),
            readiness: self.readiness.clone(),
        }
    }

    /// What monitoring is told.
    fn told(&self) -> Admin {
        let (audit, provider) = (self.audit.clone(), self.provider.clone());
        let readiness = self.readiness.subscribe();
        let now = readiness.clone();
        let certificates = self.certificates();
        let numbers = move || {
            audit.metrics().text(&Snapshot {
                leases: provider.leases.count(),
                files: provider.leases.files(),
                access_tokens: provider.vault.credentials(),
                audit: audit.state(),
                audit_waiting: audit.waiting(),
                audit_sinks: audit.lags(),
                issuers: provider.verifier.status(),
                policy: provider.policy(),
                readiness: now.borrow().clone(),
                certificates: tls::ends(&certificates),
            })
        };
        Admin {
            readiness,
            numbers: Arc::new(numbers),
        }
    }

    /// What goes on beside the requests, until it is dropped.
    fn tasks(&mut self) -> Result<JoinSet<()>, Error> {
        let mut tasks = JoinSet::new();
        // No job need wait for the issuers' keys; that they cannot be had is no reason not to start.
        let provider = self.provider.clone();
        tasks.spawn(async move { provider.verifier.keep().await });
        let provider = self.provider.clone();
        let alarm = Alarm::new().map_err(Error::Alarm)?;
        tasks.spawn(async move { provider.leases.expire(&alarm).await });
        let audit = self.audit.clone();
        tasks.spawn(async move { audit.sum_up().await });
        tasks.spawn(tls::watch(self.certificates()));
        tasks.spawn(systemd::watchdog());
        if let Some(bound) = self.admin.take() {
            let admin = self.told();
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

/// The backend.
fn vault(config: &Config, metrics: &Metrics) -> Result<Azure, azure::SetUpError> {
    let bounds = azure::Bounds {
        requests: config.limits.upstream_requests,
        reads: config.limits.vault_reads,
    };
    Azure::new(&config.azure, bounds, &metrics.upstream())
}

/// Where monitoring is answered, if anywhere.
fn monitoring(config: &Config) -> Result<Option<Bound>, Error> {
    let bound = config
        .admin
        .map(|address| Bound::to(address).map_err(|source| Error::Admin { address, source }));
    bound.transpose()
}

/// How much is worked on at a time, whichever way it comes in.
fn admission(limits: &config::Limits) -> Arc<Admission> {
    Admission::new(Bounds {
        requests: limits.requests,
        queue: limits.queue,
        rate: Rate::new(limits.caller_rate, limits.caller_rate.saturating_mul(10)),
    })
}

fn policy(config: &Config) -> Policy {
    Policy::new(config.rules.clone(), config.defaults.clone())
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
