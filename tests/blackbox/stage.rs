//! A daemon beside an emulator, as most tests need them.

use std::{path::Path, process::Command};

use azure_emulator::{
    Attributes, Emulator, IdTokenRequest, KeyChoice, NewSecret, Options, Permission, Request,
};
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::{
    call::Caller,
    daemon::{Config, Daemon, Place, names},
};

/// The vault that exists out of the box.
pub(crate) const VAULT: &str = "demo";

/// An emulator, and a daemon that reaches it through its proxy.
pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) emulator: Emulator,
    pub(crate) place: Place,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// With another configuration than usual.
    pub(crate) async fn with(change: impl FnOnce(Config) -> Config) -> Self {
        Self::loud("", change).await
    }

    /// With `RUST_LOG` set.
    pub(crate) async fn loud(level: &str, change: impl FnOnce(Config) -> Config) -> Self {
        Self::start(level, emulator().await, change).await
    }

    /// Beside an emulator that something was done to before the daemon starts.
    pub(crate) async fn beside(emulator: Emulator, change: impl FnOnce(Config) -> Config) -> Self {
        Self::start("", emulator, change).await
    }

    /// In a place that something was done to before the daemon starts.
    pub(crate) async fn within(place: Place) -> Self {
        let emulator = emulator().await;
        Self::by(place, emulator, |config| config, crate::daemon::serve).await
    }

    /// With a daemon that may have so many files open.
    pub(crate) async fn limited(files: usize, change: impl FnOnce(Config) -> Config) -> Self {
        let emulator = emulator().await;
        Self::by(Place::new(), emulator, change, |config| {
            let serve = crate::daemon::serve(config);
            let mut command = Command::new("/bin/sh");
            let script = r#"ulimit -n "$0" && exec "$@""#;
            command.args(["-c", script]).arg(files.to_string());
            command.arg(serve.get_program()).args(serve.get_args());
            command.env_clear();
            command
        })
        .await
    }

    async fn start(level: &str, emulator: Emulator, change: impl FnOnce(Config) -> Config) -> Self {
        Self::by(Place::new(), emulator, change, |config| {
            let mut command = crate::daemon::serve(config);
            if !level.is_empty() {
                command.env("RUST_LOG", level);
            }
            command
        })
        .await
    }

    async fn by(
        place: Place,
        emulator: Emulator,
        change: impl FnOnce(Config) -> Config,
        serve: impl FnOnce(&Path) -> Command,
    ) -> Self {
        change(config(&place, &emulator)).write(&place.path("config.toml"));
        let mut daemon = Daemon::run(serve(&place.path("config.toml")));
        daemon.listens().await;
        Self {
            daemon,
            emulator,
            place,
        }
    }

    /// Kills the daemon.
    pub(crate) async fn crash(&mut self) {
        self.daemon.signal(Signal::KILL);
        self.daemon.ends().await;
    }

    /// Starts the next daemon, after the end of one.
    pub(crate) async fn restart(&mut self) {
        self.daemon = Daemon::start(&self.place.path("config.toml")).await;
    }

    /// The notes of the daemon, by their files' names.
    pub(crate) fn notes(&self) -> Vec<String> {
        names(&self.place.state())
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(&self.place.socket()).await
    }

    /// The ID token of a new job on main of acme/shop, which Entra takes.
    pub(crate) fn token(&self) -> String {
        self.token_but(json!({}))
    }

    /// The same with other claims; `null` drops one.
    pub(crate) fn token_but(&self, claims: Value) -> String {
        self.token_by(KeyChoice::Current, claims)
    }

    pub(crate) fn token_by(&self, key: KeyChoice, claims: Value) -> String {
        let wanted = IdTokenRequest {
            key,
            claims: object(claims),
            ..IdTokenRequest::default()
        };
        self.emulator.id_token(&wanted).unwrap()
    }

    /// The same as [`token`](Self::token) with another header; `null` drops a member.
    pub(crate) fn token_headed(&self, header: Value) -> String {
        let wanted = IdTokenRequest {
            header: object(header),
            ..IdTokenRequest::default()
        };
        self.emulator.id_token(&wanted).unwrap()
    }

    /// Stores a new version and gives its name.
    pub(crate) fn put(&self, name: &str, value: &str) -> String {
        self.put_with(name, value, Attributes::default())
    }

    /// Stores a secret in another vault, which comes into being with its first.
    pub(crate) fn put_in(&self, vault: &str, name: &str, value: &str) {
        let secret = NewSecret {
            value: value.to_owned(),
            ..NewSecret::default()
        };
        self.emulator.put_secret(vault, name, secret);
    }

    pub(crate) fn put_with(&self, name: &str, value: &str, attributes: Attributes) -> String {
        let secret = NewSecret {
            value: value.to_owned(),
            attributes,
            ..NewSecret::default()
        };
        self.emulator.put_secret(VAULT, name, secret).version
    }

    pub(crate) fn fault(&self, fault: Value) {
        self.emulator.fault(&fault).unwrap();
    }

    /// Leave to read everything, in other vaults too.
    pub(crate) fn everything(&self) -> Permission {
        Permission {
            client_id: self.emulator.ready().client_id.clone(),
            vault: "*".to_owned(),
            secrets: vec!["*".to_owned()],
            operations: vec!["get".to_owned()],
        }
    }

    /// What was asked of one of the emulated services.
    pub(crate) fn requests(&self, route: &str) -> Vec<Request> {
        let mut requests = self.emulator.requests();
        requests.retain(|request| request.route == route);
        requests
    }

    /// What left for Azure; the issuer is asked for its keys when the daemon starts.
    pub(crate) fn sent(&self) -> Vec<Request> {
        let mut requests = self.emulator.requests();
        requests.retain(|request| !matches!(request.route.as_str(), "discovery" | "jwks"));
        requests
    }

    /// How often Entra and Key Vault were asked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.requests("token").len(), self.requests("secret").len())
    }

    /// Waits until a service is being asked.
    pub(crate) async fn asked(&self, route: &str) {
        let what = format!("a request for {route}");
        crate::daemon::until(&what, || {
            let mut requests = self.requests(route).into_iter();
            requests.any(|request| request.in_flight)
        })
        .await;
    }
}

pub(crate) async fn emulator() -> Emulator {
    azure_emulator::start(Options::default()).await.unwrap()
}

/// The usual configuration: files, Azure behind the emulator's proxy, its issuer's tokens for any
/// project and secret, and defaults for all that a job can leave out.
pub(crate) fn config(place: &Place, emulator: &Emulator) -> Config {
    let ready = emulator.ready();
    Config::of(place)
        .text("azure.ca_file", &ready.ca_file)
        .text("azure.proxy_url", &ready.proxy_url)
        .text("azure.tenant_id", &ready.tenant_id)
        .text("azure.client_id", &ready.client_id)
        .text("azure.vault_url", &ready.vault_url)
        .text("issuer.url", &ready.issuer_url)
        .text("issuer.ca_file", &ready.ca_file)
        .text("rule.name", "everything")
        .set("rule.bound_claims", "{ project_path = \"**\" }")
        .set("rule.vaults", format!("[{:?}]", ready.vault_url))
        .set("rule.secrets", "[\"*\"]")
}

/// The URL of a vault.
pub(crate) fn vault_url(vault: &str) -> String {
    format!("https://{vault}.vault.azure.net")
}

/// Lets the usual rule grant secrets of other vaults as well.
pub(crate) fn vaults(config: Config, others: impl IntoIterator<Item = String>) -> Config {
    let all = [VAULT.to_owned()].into_iter().chain(others);
    let all: Vec<String> = all.map(|vault| vault_url(&vault)).collect();
    config.set("rule.vaults", format!("{all:?}"))
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}
