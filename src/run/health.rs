//! What health checks are told: serving, as long as requests can be put on record; not while the
//! daemon stops.

use tokio::sync::watch;
use tonic::server::NamedService as _;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::Service;
use crate::audit::log::State;

/// Tells health checks how it is, and gives what keeps them informed until `stop`. That then tells
/// them first, so that nobody is sent here any more, and ends what watches: such a call never ends
/// by itself, and the daemon would wait for it.
pub(super) async fn report(
    mut health: HealthReporter,
    mut trail: watch::Receiver<State>,
    stop: impl Future<Output = ()>,
) -> impl Future<Output = ()> {
    let mut told = status(&mut trail);
    say(&mut health, told).await;
    async move {
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                changed = trail.changed() => if changed.is_err() {
                    stop.await;
                    break;
                },
            }
            let now = status(&mut trail);
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

fn status(trail: &mut watch::Receiver<State>) -> ServingStatus {
    if trail.borrow_and_update().failing.is_none() {
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
