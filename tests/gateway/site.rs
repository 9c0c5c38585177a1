//! A GitLab, a gateway before it and everything behind it, as most tests need them.

use std::{fs, path::Path, time::Instant};

use azure_emulator::{Emulator, IdTokenRequest, NewSecret, Permission};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::{
    daemon::{Config, Daemon, PATIENCE, Place, serve, until},
    gitlab::GitLab,
    runner::Runner,
    stage::{self, VAULT, object},
};

/// All of them.
pub(crate) struct Site {
    pub(crate) daemon: Daemon,
    pub(crate) gitlab: GitLab,
    pub(crate) emulator: Emulator,
    pub(crate) place: Place,
    /// Where the gateway listens.
    pub(crate) address: String,
}

impl Site {
    pub(crate) async fn new() -> Self {
        Self::with("").await
    }

    /// With more keys for the gateway.
    pub(crate) async fn with(keys: &str) -> Self {
        let site = Self::before(GitLab::new().await, keys, |config| config).await;
        let runner = site.runner();
        site.ready(&runner).await
    }

    /// Before a GitLab of the test's own, and with another configuration.
    pub(crate) async fn before(
        gitlab: GitLab,
        keys: &str,
        change: impl FnOnce(Config) -> Config,
    ) -> Self {
        let place = Place::new();
        let emulator = stage::emulator().await;
        let keys = format!(
            "[[gateway]]\nlisten = \"127.0.0.1:0\"\ngitlab_url = {:?}\n{keys}\n",
            gitlab.url
        );
        let config = stage::config(&place, &emulator).more(&keys);
        change(config).write(&place.path("config.toml"));
        let (daemon, address) = start(&place.path("config.toml")).await;
        Self {
            daemon,
            gitlab,
            emulator,
            place,
            address,
        }
    }

    /// Waits until the emulated issuer's keys are known: without them, no job is asked for.
    pub(crate) async fn ready(self, runner: &Runner) -> Self {
        let since = Instant::now();
        // GitLab refuses this one.
        while poll_without_token(runner).await == StatusCode::SERVICE_UNAVAILABLE {
            assert!(since.elapsed() < PATIENCE, "{}", self.daemon.log());
        }
        self.gitlab.forget();
        self
    }

    /// Starts the daemon again, at the same address.
    pub(crate) async fn restart(&mut self) {
        let path = self.place.path("config.toml");
        let text = fs::read_to_string(&path).unwrap();
        let fixed = format!("listen = {:?}\ngitlab_url", self.address);
        let text = text.replace("listen = \"127.0.0.1:0\"\ngitlab_url", &fixed);
        fs::write(&path, text).unwrap();
        (self.daemon, _) = start(&path).await;
    }

    /// The runner that has the gateway as its `url`.
    pub(crate) fn runner(&self) -> Runner {
        Runner::at(&format!("http://{}", self.address))
    }

    /// The ID token of a job on main of acme/shop, which Entra takes.
    pub(crate) fn token(&self, job: i64) -> String {
        self.token_but(json!({"job_id": job.to_string()}))
    }

    pub(crate) fn token_but(&self, claims: Value) -> String {
        let wanted = IdTokenRequest {
            claims: object(claims),
            ..IdTokenRequest::default()
        };
        self.emulator.id_token(&wanted).unwrap()
    }

    pub(crate) fn put(&self, name: &str, value: &str) {
        let secret = NewSecret {
            value: value.to_owned(),
            ..NewSecret::default()
        };
        self.emulator.put_secret(VAULT, name, secret);
    }

    /// Stores a secret in another vault, which the application may read from then on.
    pub(crate) fn put_in(&self, vault: &str, name: &str, value: &str) {
        let secret = NewSecret {
            value: value.to_owned(),
            ..NewSecret::default()
        };
        self.emulator.put_secret(vault, name, secret);
        self.emulator.set_permissions(vec![Permission {
            client_id: self.emulator.ready().client_id.clone(),
            vault: "*".to_owned(),
            secrets: vec!["*".to_owned()],
            operations: vec!["get".to_owned()],
        }]);
    }

    /// How often Entra and Key Vault were asked.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.asked_of("token"), self.asked_of("secret"))
    }

    fn asked_of(&self, route: &str) -> usize {
        let requests = self.emulator.requests();
        requests
            .iter()
            .filter(|request| request.route == route)
            .count()
    }

    /// Waits until Key Vault is being asked.
    pub(crate) async fn reading(&self) {
        until("a read of Key Vault", || {
            let mut requests = self.emulator.requests().into_iter();
            requests.any(|request| request.route == "secret" && request.in_flight)
        })
        .await;
    }

    pub(crate) fn fault(&self, fault: Value) {
        self.emulator.fault(&fault).unwrap();
    }

    /// How much memory the daemon has now, in bytes.
    pub(crate) async fn memory(&self) -> u64 {
        let started = |record: &Value| record["event"] == "start";
        let start = self.place.recorded("the start", started).await;
        let status = format!("/proc/{}/status", start["pid"]);
        let status = fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<u64>().unwrap() * 1024
    }
}

async fn poll_without_token(runner: &Runner) -> StatusCode {
    let poll = runner.http().post(runner.api("jobs/request")).body("{}");
    poll.send().await.unwrap().status()
}

async fn start(config: &Path) -> (Daemon, String) {
    let mut daemon = Daemon::run(serve(config));
    daemon.listens().await;
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("a gateway listens"));
    let address = line.unwrap().split("address=").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap().to_owned();
    (daemon, address)
}

/// A payload of a job with one script, in GitLab's shape.
pub(crate) fn payload(variables: Value, secrets: Value) -> Value {
    json!({
        "id": 0, "token": "", "allow_git_fetch": true,
        "job_info": {"name": "deploy", "stage": "deploy", "project_id": 20, "project_name": "shop"},
        "git_info": {"repo_url": "https://gitlab.example.com/acme/shop.git", "ref": "main"},
        "runner_info": {"timeout": 3600},
        "variables": variables,
        "steps": [{"name": "script", "script": ["env"], "timeout": 3600, "when": "on_success", "allow_failure": false}],
        "features": {
            "trace_sections": true,
            "failure_reasons": [
                "script_failure", "runner_system_failure", "runner_configuration_error",
                "runner_external_dependency_failure",
            ],
        },
        "secrets": secrets,
    })
}

pub(crate) fn variable(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "public": false, "file": false, "masked": false, "raw": false})
}

/// An entry of `secrets:` as GitLab makes it of .gitlab-ci.yml.
pub(crate) fn entry(name: &str) -> Value {
    json!({"azure_key_vault": {"name": name, "version": null, "server": {
        "url": "https://demo.vault.azure.net",
        "client_id": "8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d413",
        "tenant_id": "3e1f0a52-7c4b-4d8e-9a16-b0c2d4e6f801",
        "jwt": "$AZURE_JWT",
    }}})
}
