//! The daemon under test, with its limits on the caller's side out of the way: all jobs of a
//! benchmark are one user, and more than a host ever has.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use azure_emulator::Ready;
use tempfile::TempDir;

use super::job::Caller;

/// What a daemon does besides reading secrets.
#[derive(Clone, Copy)]
pub(crate) struct Mode {
    /// Values go to files, or into the answer.
    pub(crate) files: bool,
    /// The audit trail is on a disk, or in memory: there is always one.
    pub(crate) disk: bool,
    /// What it speaks with Azure.
    pub(crate) http2: bool,
}

/// As it is installed.
pub(crate) const USUAL: Mode = Mode {
    files: true,
    disk: true,
    http2: false,
};
/// As little as possible besides reading.
pub(crate) const BARE: Mode = Mode {
    files: false,
    disk: false,
    http2: false,
};

/// A running daemon. Dropping it kills it.
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    #[expect(dead_code, reason = "removed when this is dropped")]
    trail: TempDir,
}

impl Daemon {
    pub(crate) async fn start(ready: &Ready, mode: Mode) -> Self {
        // In memory, where the files of jobs have to be.
        let directory = tempfile::Builder::new()
            .prefix("rs-")
            .tempdir_in("/dev/shm");
        let directory = directory.unwrap();
        let config = directory.path().join("config.toml");
        fs::create_dir(directory.path().join("leases")).unwrap();
        let trail = if mode.disk {
            tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        } else {
            tempfile::tempdir_in("/dev/shm")
        };
        let trail = trail.unwrap();
        let text = configuration(directory.path(), trail.path(), ready, mode);
        fs::write(&config, text).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_runner-secretsd"))
            .args(["serve", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let daemon = Self {
            child,
            directory,
            trail,
        };
        let since = Instant::now();
        while Caller::try_connect(&daemon.socket()).await.is_err() {
            let log = fs::read_to_string(daemon.directory.path().join("log")).unwrap();
            assert!(since.elapsed() < Duration::from_secs(30), "{log}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("api/api.sock")
    }

    pub(crate) async fn caller(&self) -> Caller {
        Caller::connect(&self.socket()).await
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn configuration(directory: &Path, trail: &Path, ready: &Ready, mode: Mode) -> String {
    let (directory, trail) = (directory.display(), trail.display());
    let delivery = if mode.files { "files" } else { "inline" };
    format!(
        r#"
[[listen]]
socket = "{directory}/api/api.sock"
delivery = "{delivery}"

[files]
directory = "{directory}/leases"
state_directory = "{directory}/state"

[audit]
path = "{trail}/audit.jsonl"

[azure]
http2 = {}
ca_file = "{}"
proxy_url = "{}"
tenant_id = "{}"
client_id = "{}"
vault_url = "{}"

[[issuer]]
url = "{}"
audiences = ["api://AzureADTokenExchange"]
ca_file = "{}"

[[rule]]
name = "everything"
bound_claims = {{ project_path = "**" }}
vaults = ["{}"]
secrets = ["*"]

[limits]
caller_rate = 100000
token_rate = 100000
vault_reads = 100000000

[log]
level = "warn"
"#,
        mode.http2,
        ready.ca_file,
        ready.proxy_url,
        ready.tenant_id,
        ready.client_id,
        ready.vault_url,
        ready.issuer_url,
        ready.ca_file,
        ready.vault_url,
    )
}
