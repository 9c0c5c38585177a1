//! Starting and stopping, and the control API as functions.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::error::Error;
use crate::issuer::IdTokenRequest;
use crate::key_vault::{NewSecret, SecretVersion};
use crate::requests::{Connections, Request};
use crate::state::{FederatedCredential, Permission, State};
use crate::tls::Tls;
use crate::world::World;
use crate::{control, proxy, server};

/// How to start.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// The port of the TLS listener; 0: any.
    pub port: u16,
    /// What exists at start; `None`: the state out of the box.
    pub state: Option<State>,
}

/// Where everything is: the line that the program prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ready {
    /// True.
    pub ready: bool,
    /// The certificate authority of all emulated names, in PEM.
    pub ca_file: String,
    /// The proxy that leads real names here.
    pub proxy_url: String,
    /// Entra's address, through the proxy.
    pub authority_host: String,
    /// The first vault's address, through the proxy.
    pub vault_url: String,
    /// The GitLab issuer, directly.
    pub issuer_url: String,
    /// The control API, directly.
    pub control_url: String,
    /// The first tenant.
    pub tenant_id: String,
    /// The first application.
    pub client_id: String,
}

/// A running emulator. Dropping it stops its tasks and removes its files.
#[derive(Debug)]
pub struct Emulator {
    ready: Ready,
    world: Arc<World>,
    tasks: JoinSet<()>,
    directory: TempDir,
}

/// Binds, starts serving, and returns when every port accepts connections.
pub async fn start(options: Options) -> Result<Emulator, Error> {
    let state = options.state.unwrap_or_default();
    state.check()?;
    let (tls_listener, port) = bind(options.port).await?;
    let (proxy_listener, proxy_port) = bind(0).await?;
    let (control_listener, control_port) = bind(0).await?;
    let tls = Tls::new()?;
    let directory = tempfile::Builder::new()
        .prefix("azure-emulator-")
        .tempdir()
        .map_err(Error::io("make a temporary directory"))?;
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &tls.ca_pem).map_err(Error::io("write the CA file"))?;
    let world = {
        let state = state.clone();
        // Making keys takes too long for a thread that has other tasks.
        tokio::task::spawn_blocking(move || World::new(&state, port, tls.ca_pem)).await
    };
    let world = Arc::new(world.map_err(|_| Error::Crypto("keys"))??);
    let ready = Ready {
        ready: true,
        ca_file: ca_file.display().to_string(),
        proxy_url: format!("http://127.0.0.1:{proxy_port}"),
        authority_host: "https://login.microsoftonline.com".into(),
        vault_url: format!(
            "https://{}.vault.azure.net",
            first(&state.vaults, |v| &v.name)
        ),
        issuer_url: world.issuer.url.clone(),
        control_url: format!("http://127.0.0.1:{control_port}"),
        tenant_id: first(&state.tenants, |tenant| &tenant.id),
        client_id: first(&state.applications, |application| &application.client_id),
    };
    let mut tasks = JoinSet::new();
    let acceptor = TlsAcceptor::from(tls.config);
    tasks.spawn(server::serve(tls_listener, acceptor, Arc::clone(&world)));
    tasks.spawn(proxy::serve(proxy_listener, Arc::clone(&world)));
    tasks.spawn(control::serve(control_listener, Arc::clone(&world)));
    Ok(Emulator {
        ready,
        world,
        tasks,
        directory,
    })
}

async fn bind(port: u16) -> Result<(TcpListener, u16), Error> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    let listener = listener.map_err(Error::io("listen on loopback"))?;
    let address = listener.local_addr().map_err(Error::io("listen"))?;
    Ok((listener, address.port()))
}

fn first<T>(items: &[T], name: impl Fn(&T) -> &String) -> String {
    items.first().map(name).cloned().unwrap_or_default()
}

impl Emulator {
    /// Where everything is.
    #[must_use]
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Stops serving, waits for the tasks to end and removes the files.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
        // What cannot be removed now could not be removed on drop either.
        drop(self.directory.close());
    }

    /// Signs an ID token of the GitLab issuer.
    pub fn id_token(&self, wanted: &IdTokenRequest) -> Result<String, Error> {
        self.world.issuer.id_token(wanted, &self.world.clock)
    }

    /// Stores a new version of a secret; a vault that does not exist comes into being.
    #[expect(
        clippy::must_use_candidate,
        reason = "storing is the point; the version is only sometimes of interest"
    )]
    pub fn put_secret(&self, vault: &str, name: &str, secret: NewSecret) -> SecretVersion {
        let now = self.world.clock.unix();
        self.world.vaults.put(vault, name, secret, now)
    }

    /// Deletes a secret softly.
    pub fn delete_secret(&self, vault: &str, name: &str) -> Result<(), Error> {
        let now = self.world.clock.unix();
        self.world.vaults.delete(vault, name, now)
    }

    /// Replaces all federated credentials.
    pub fn set_federated_credentials(&self, credentials: Vec<FederatedCredential>) {
        self.world.directory.set_federated_credentials(credentials);
    }

    /// Replaces all permissions.
    pub fn set_permissions(&self, permissions: Vec<Permission>) {
        self.world.directory.set_permissions(permissions);
    }

    /// Switches a fault on; the JSON is that of `POST /faults`.
    pub fn fault(&self, fault: &Value) -> Result<(), Error> {
        self.world.faults.add(fault)
    }

    /// Switches all faults off.
    pub fn clear_faults(&self) {
        self.world.faults.clear();
    }

    /// Gives the issuer a new signing key and returns its id; `keep`: the old one stays published.
    pub fn rotate_keys(&self, keep: bool) -> Result<String, Error> {
        self.world.issuer.rotate(keep)
    }

    /// Shifts the emulator's clock against the real one.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.world.clock.shift(seconds);
    }

    /// What the emulated services were asked, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.world.requests.all()
    }

    /// Empties the request log.
    pub fn clear_requests(&self) {
        self.world.requests.clear();
    }

    /// How many requests are being handled now.
    #[must_use]
    pub fn active_requests(&self) -> u64 {
        self.world.requests.active()
    }

    /// Closes every connection to the TLS listener, as services do with those that are unused.
    pub fn close_connections(&self) {
        self.world.requests.close_connections();
    }

    /// Connections to the TLS listener.
    #[must_use]
    pub fn connections(&self) -> Connections {
        self.world.requests.connections()
    }
}
