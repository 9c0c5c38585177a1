//! Whether the daemon can do what it is asked for, looked at twice a second, so that whoever sends
//! jobs here knows within one: by `/readyz`, and by gRPC's health checks, which also say so when the
//! daemon stops. A look writes nothing and asks nobody.

use std::{sync::Arc, time::Duration};

use futures_util::future::join3;
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tonic::server::NamedService as _;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{Service, place};
use crate::{
    audit::Audit,
    azure::Azure,
    config::Files,
    provide::Provider,
    readiness::{Dependency, Readiness},
    token,
};

/// Twice within the second in which a change has to show.
const LOOK: Duration = Duration::from_millis(500);
/// A file system that takes longer has hung up, as those of a network do.
const HANGS: Duration = Duration::from_secs(1);

/// Longer than a GitLab takes that is well, and no delay that anybody notices.
const FIRST_KEYS: Duration = Duration::from_secs(1);

/// What readiness depends on.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) audit: Audit,
    pub(super) provider: Arc<Provider<Azure>>,
    pub(super) files: Files,
    pub(super) readiness: watch::Sender<Readiness>,
}

impl Watch {
    /// Waits a moment for the issuers' keys, so that a daemon that answers is ready; callers wait in
    /// the sockets' queues meanwhile. That there are none yet is no reason not to start; why is said
    /// as soon as it is known.
    pub(super) async fn first_look(&self) {
        // The fetches go on by themselves after that.
        drop(timeout(FIRST_KEYS, self.provider.verifier.warm()).await);
        self.readiness.send_modify(|readiness| {
            if self.keys().is_err() {
                readiness.expect(Dependency::Keys);
            }
        });
    }

    /// Looks for as long as it is polled.
    pub(super) async fn look(self) {
        join3(
            self.look_at_audit(),
            self.look_at_files(),
            self.look_at_keys(),
        )
        .await;
    }

    /// The trail looks after itself.
    async fn look_at_audit(&self) {
        let mut trail = self.audit.watch();
        loop {
            let failing = trail.borrow_and_update().failing.clone();
            let found = failing.map_or(Ok(()), |failing| Err(failing.cause));
            self.found(Dependency::Audit, found);
            if trail.changed().await.is_err() {
                return;
            }
        }
    }

    async fn look_at_files(&self) {
        if self.provider.files.is_none() {
            return;
        }
        loop {
            let (provider, files) = (self.provider.clone(), self.files.clone());
            let mut looking = spawn_blocking(move || match &provider.files {
                Some(place) => place::look(&files, place, &provider.leases),
                None => Ok(()),
            });
            let looked = if let Ok(looked) = timeout(HANGS, &mut looking).await {
                looked
            } else {
                let cause = "the file system of files.directory or files.state_directory hangs";
                self.found(Dependency::Files, Err(cause.to_owned()));
                // No other look before this one has ended.
                looking.await
            };
            // An error is a defect that has been said, or the end of the daemon.
            if let Ok(found) = looked {
                self.found(Dependency::Files, found.map_err(|error| error.to_string()));
            }
            sleep(LOOK).await;
        }
    }

    async fn look_at_keys(&self) {
        loop {
            self.found(Dependency::Keys, self.keys());
            sleep(LOOK).await;
        }
    }

    /// Whether there are keys for every issuer; those that were fetched before will do.
    fn keys(&self) -> Result<(), String> {
        let issuers = self.provider.verifier.status();
        let missing = issuers.into_iter().find(|issuer| issuer.keys == 0);
        missing.map_or(
            Ok(()),
            |token::Status {
                 issuer, failure, ..
             }| {
                let why = failure.map_or_else(
                    || "they have not been fetched yet".to_owned(),
                    |failure| failure.to_string(),
                );
                Err(format!("there are no keys of {issuer}: {why}"))
            },
        )
    }

    fn found(&self, dependency: Dependency, found: Result<(), String>) {
        self.readiness
            .send_if_modified(|readiness| readiness.set(dependency, found));
    }
}

/// Tells health checks how it is, and gives what keeps them informed until `stop`. That then tells
/// them first, so that nobody is sent here any more, and ends what watches: such a call never ends
/// by itself, and the daemon would wait for it.
pub(super) async fn report(
    mut health: HealthReporter,
    mut readiness: watch::Receiver<Readiness>,
    stop: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    let mut told = status(&mut readiness);
    say(&mut health, told).await;
    async move {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                changed = readiness.changed() => if changed.is_err() {
                    stop.await;
                    break;
                },
            }
            let now = status(&mut readiness);
            if now != told {
                told = now;
                say(&mut health, now).await;
            }
        }
        say(&mut health, ServingStatus::NotServing).await;
        for service in SERVICES {
            health.clear_service_status(service).await;
        }
    }
}

fn status(readiness: &mut watch::Receiver<Readiness>) -> ServingStatus {
    if readiness.borrow_and_update().is_complete() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

async fn say(health: &mut HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

/// The daemon as a whole, and the one service that it has.
const SERVICES: [&str; 2] = ["", Service::NAME];
