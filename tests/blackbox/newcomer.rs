//! A newcomer's way: every command block of the README and of docs/start.md, in order, on a host that
//! has nothing yet. The host is a mount namespace with an empty /run, /opt, /usr/local/bin, /var/log
//! and /dev/shm and a copy of /etc, so that the commands run as they stand there, with their real
//! paths. What is replaced: the builds, by the programs of the tests, put where the build would; and
//! GitLab's address, by the emulated issuer's, as a newcomer would edit it. Azure is reached by its
//! real names, through the emulator's proxy. A block that is not expected fails the test.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use azure_emulator::{Emulator, IdTokenRequest, NewSecret, Permission};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::{
    ci,
    daemon::{Daemon, PATIENCE, PROGRAM},
    job::CLIENT,
    stage::{emulator, object},
    trail::can_mount,
    tree,
};

const GITLAB: &str = "https://gitlab.example.com";
const CONFIG: &str = "/etc/runner-secrets/config.toml";

/// The user of a shell runner's jobs, and that of an image that is not root's.
const RUNNER: u32 = 4321;
const IMAGE: u32 = 65_534;

/// Makes the namespace, and keeps it until standard input ends.
const HOST: &str = r#"
mount -t tmpfs -o mode=0700 tmpfs "$1"
cp -a /etc "$1/etc"
rm -rf "$1/etc/runner-secrets"
mount --bind "$1/etc" /etc
for at in /run /opt /usr/local/bin /var/log /dev/shm; do
  mount -t tmpfs -o mode=0755 tmpfs "$at"
done
chmod 1777 /dev/shm
mkdir /run/job
chmod 0777 /run/job
echo "gitlab-runner:x:$2:$2::/:/bin/sh" >> /etc/passwd
echo "gitlab-runner:x:$2:" >> /etc/group
echo ready
exec cat
"#;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The blocks of a page in the order in which they stand there.
struct Blocks(VecDeque<(String, String)>);

impl Blocks {
    /// Of a page, or of one of its sections.
    fn of(page: &str, section: &str) -> Self {
        let text = fs::read_to_string(repository().join(page)).unwrap();
        let text = match text.split_once(section) {
            Some((_, text)) if !section.is_empty() => text.split("\n## ").next().unwrap(),
            _ => &text,
        };
        let blocks = text.split("```").skip(1).step_by(2);
        let blocks = blocks.map(|block| block.split_once('\n').unwrap());
        let blocks = blocks.filter(|(language, _)| !language.is_empty());
        Self(
            blocks
                .map(|(language, text)| (language.to_owned(), text.to_owned()))
                .collect(),
        )
    }

    /// The next one, which is in that language and has this in it.
    fn next(&mut self, language: &str, part: &str) -> String {
        let (found, text) = self.0.pop_front().unwrap();
        assert_eq!(found, language, "{text}");
        assert!(text.contains(part), "{part} is not in\n{text}");
        text
    }

    fn end(self) {
        assert!(self.0.is_empty(), "nobody knows these blocks: {:?}", self.0);
    }
}

/// An empty host, with a checkout of the repository.
struct Host {
    holder: Child,
    checkout: TempDir,
    emulator: Emulator,
}

impl Host {
    /// `None`: this has to run as root.
    async fn new() -> Option<Self> {
        if !can_mount() {
            return None;
        }
        let checkout = tempfile::tempdir().unwrap();
        symlink(repository().join("deploy"), checkout.path().join("deploy")).unwrap();
        let scratch = checkout.path().join("scratch");
        fs::create_dir(&scratch).unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "/bin/sh", "-euc", HOST, "sh"])
            .arg(&scratch)
            .arg(RUNNER.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(holder.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "there is no namespace");
        Some(Self {
            holder,
            checkout,
            emulator: azure().await,
        })
    }

    /// A command on this host, whose way to the internet is a company's proxy.
    fn command(&self, user: Option<u32>) -> Command {
        let mut command = Command::new("nsenter");
        command.env_clear();
        command.args(["--mount", "--target", &self.holder.id().to_string(), "--"]);
        if let Some(user) = user {
            let uid = format!("--reuid={user}");
            let gid = format!("--regid={user}");
            command.args(["setpriv", &uid, &gid, "--clear-groups"]);
        }
        let ready = self.emulator.ready();
        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        command
            .env("PATH", path)
            .env("HTTPS_PROXY", &ready.proxy_url);
        command.env("SSL_CERT_FILE", &ready.ca_file);
        command.stdin(Stdio::null());
        command
    }

    async fn finish(&self, command: Command) -> Output {
        let mut command = tokio::process::Command::from(command);
        let output = timeout(PATIENCE, command.kill_on_drop(true).output()).await;
        output.expect("it does not end").unwrap()
    }

    /// Runs a block in the checkout, as root; it has to succeed. Gives what it printed.
    async fn run(&self, block: &str) -> String {
        let mut command = self.command(None);
        let at = self.checkout.path().display();
        command.args(["/bin/sh", "-euc", &format!("cd {at} || exit 1\n{block}")]);
        let output = self.finish(command).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{block}\n{printed}{said}");
        printed
    }

    /// Puts the programs where the builds of a block put them, and runs the rest of it.
    async fn install(&self, block: &str) {
        let manifest = fs::read_to_string(repository().join("Cargo.toml")).unwrap();
        let mut rest = String::new();
        for line in block.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["cargo", "build", ..] => {
                    let (program, path) = built(&words);
                    assert!(manifest.contains(&format!("name = \"{program}\"\npath = ")));
                    let path = self.checkout.path().join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    symlink(
                        [PROGRAM, CLIENT][usize::from(program == "runner-secrets")],
                        path,
                    )
                    .unwrap();
                }
                ["rustup", "target", "add", target] => {
                    assert!(block.contains(&format!("--target {target}")));
                }
                _ => rest = rest + line + "\n",
            }
        }
        self.run(&rest).await;
    }

    /// Puts this GitLab's address into the configuration, and an address for gateways that is free.
    async fn edit(&self) {
        let issuer = &self.emulator.ready().issuer_url;
        let listen = "s#^listen = .*#listen = \"127.0.0.1:0\"#";
        self.run(&format!(
            "sed -i -e 's#{GITLAB}#{issuer}#' -e '{listen}' {CONFIG}"
        ))
        .await;
    }

    fn serve(&self, block: &str) -> Daemon {
        let words: Vec<&str> = block.split_whitespace().collect();
        assert_eq!(words, ["runner-secretsd", "serve"]);
        let mut command = self.command(None);
        command.args(words);
        Daemon::run(command)
    }

    /// Runs the script of a job behind a hook as a user, and gives what came of it.
    async fn job(&self, user: u32, hook: &str, job: &ci::Ci, after: &str) -> Output {
        let mut command = self.command(Some(user));
        command
            .env_remove("HTTPS_PROXY")
            .env_remove("SSL_CERT_FILE");
        command.env("CI_JOB_ID", "812");
        for token in &job.id_tokens {
            command.env(token, token_of(&self.emulator, &job.environment));
        }
        command.envs(&job.variables);
        let migrate = r#"printf '<%s>' "$(cat "$2")"; ls -l "$2""#;
        let script = job.script.replace("./migrate", "sh ./migrate");
        let script = format!(
            "cd /run/job || exit 1\nset -e\nrm -f migrate\nprintf '%s\\n' '{}' > migrate\n{hook}\n{script}\n{after}",
            migrate.replace('\'', r"'\''")
        );
        command.args(["/bin/sh", "-c", &script]);
        self.finish(command).await
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.kill());
        drop(self.holder.wait());
    }
}

/// What `cargo build` builds, and where to.
fn built(words: &[&str]) -> (String, PathBuf) {
    let after = |option: &str| {
        let at = words.iter().position(|word| *word == option);
        at.map(|at| words[at + 1].to_owned())
    };
    let program = after("--bin").unwrap();
    let mut path = PathBuf::from("target");
    path.extend(after("--target"));
    let release = words.contains(&"--release");
    path.push(after("--profile").unwrap_or(if release { "release" } else { "debug" }.to_owned()));
    (program.clone(), path.join(program))
}

/// An Azure with the vault of the samples.
async fn azure() -> Emulator {
    let emulator = emulator().await;
    for name in ["db-password", "stripe-key"] {
        let secret = NewSecret {
            value: format!("value of {name}"),
            ..NewSecret::default()
        };
        emulator.put_secret("acme-prod", name, secret);
    }
    emulator.set_permissions(vec![Permission {
        client_id: emulator.ready().client_id.clone(),
        vault: "acme-prod".to_owned(),
        secrets: vec!["*".to_owned()],
        operations: vec!["get".to_owned()],
    }]);
    emulator
}

fn token_of(emulator: &Emulator, environment: &str) -> String {
    let claims = json!({
        "project_path": "acme/shop", "ref_protected": "true", "environment": environment,
    });
    let wanted = IdTokenRequest {
        claims: object(claims),
        ..IdTokenRequest::default()
    };
    emulator.id_token(&wanted).unwrap()
}

/// The hook in a runner's configuration.
fn hook(block: &str) -> String {
    let runner = &tree::toml(block)["runners"][0];
    runner["pre_build_script"].as_str().unwrap().to_owned()
}

fn only_job(block: &str) -> ci::Ci {
    let mut jobs = ci::of(&tree::yaml(block), &BTreeMap::new());
    assert_eq!(jobs.len(), 1);
    jobs.pop().unwrap()
}

/// The commands that show the project are those that CI runs.
fn is_run_in_ci(block: &str) {
    let ci = fs::read_to_string(repository().join(".ci/run")).unwrap();
    for line in block.lines() {
        let command = line.split('#').next().unwrap().trim();
        assert!(ci.contains(&format!("\nstep {command}\n")), "{command}");
    }
}

fn assert_has_its_secrets(output: &Output, mode: &str) {
    let printed = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}{said}");
    assert!(
        printed.starts_with(&format!("<value of db-password>{mode} ")),
        "{printed}"
    );
    assert!(
        said.starts_with("runner-secrets: 2 secrets for job 812 (request "),
        "{said}"
    );
    let mask = "); the runner does not mask them in this mode\n";
    assert!(said.contains(mask), "{said}");
}

#[tokio::test]
async fn every_block_of_the_readme_runs_in_order() {
    let mut blocks = Blocks::of("README.md", "");
    is_run_in_ci(&blocks.next("sh", "cargo run --release --example demo"));
    let Some(host) = Host::new().await else {
        return;
    };
    host.install(&blocks.next("sh", "cargo build --release"))
        .await;
    let printed = host
        .run(&blocks.next("sh", "runner-secretsd setup azure"))
        .await;
    assert!(
        printed.contains("az ad app federated-credential create"),
        "{printed}"
    );
    assert!(printed.contains("[[rule]]"), "{printed}");
    let shown = blocks.next("toml", "[[rule]]");
    let configured = blocks.next("sh", "runner-secretsd check-config");
    // Everything but the check, the newcomer's own values, then the check.
    let placed = configured.replace("runner-secretsd check-config\n", "");
    host.run(&placed).await;
    assert!(host.run(&format!("cat {CONFIG}")).await.ends_with(&shown));
    host.edit().await;
    host.run("runner-secretsd check-config").await;
    let mut daemon = host.serve(&blocks.next("sh", "runner-secretsd serve"));
    daemon.listens().await;
    let doctor = host.run(&blocks.next("sh", "runner-secretsd doctor")).await;
    assert!(doctor.starts_with('✓') && !doctor.contains('✗'), "{doctor}");

    let hook = hook(&blocks.next("toml", "pre_build_script"));
    let job = only_job(&blocks.next("yaml", "RUNNER_SECRETS: |"));
    let more = "/opt/runner-secrets/runner-secrets doctor";
    let output = host.job(RUNNER, &hook, &job, more).await;
    assert_has_its_secrets(&output, "-r--------");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("/run/runner-secrets-leases/"), "{printed}");
    assert!(printed.contains("✓") && !printed.contains("✗"), "{printed}");

    let audit = host
        .run(&blocks.next("sh", "runner-secretsd audit verify"))
        .await;
    assert!(
        audit.contains("DELIVERED") && audit.contains("acme-prod"),
        "{audit}"
    );
    blocks.end();
    daemon.stop(Signal::TERM).await;
    assert_eq!(host.run("ls -A /run/runner-secrets-leases").await, "");
}

/// Installs as the README says, and prints what has to be created in Azure.
async fn prepared() -> Option<Host> {
    let host = Host::new().await?;
    let mut readme = Blocks::of("README.md", "");
    readme.next("sh", "cargo run");
    host.install(&readme.next("sh", "cargo build --release"))
        .await;
    let mut common = Blocks::of("docs/start.md", "# From nothing to a first secret\n");
    host.run(&common.next("sh", "runner-secretsd setup azure"))
        .await;
    common.end();
    Some(host)
}

/// Puts a sample into place, edits it as a newcomer would, and serves.
async fn served(host: &Host, blocks: &mut Blocks) -> Daemon {
    let block = blocks.next("sh", "runner-secretsd check-config");
    host.run(&block.replace("runner-secretsd check-config\n", ""))
        .await;
    host.edit().await;
    host.run("runner-secretsd check-config").await;
    host.serve(&blocks.next("sh", "runner-secretsd serve"))
}

async fn is_well(host: &Host, blocks: &mut Blocks) {
    let doctor = host.run(&blocks.next("sh", "runner-secretsd doctor")).await;
    assert!(doctor.starts_with('✓') && !doctor.contains('✗'), "{doctor}");
}

#[tokio::test]
async fn the_way_of_docker_runs_in_order() {
    let Some(host) = prepared().await else {
        return;
    };
    let mut blocks = Blocks::of("docs/start.md", "\n## Docker\n");
    let mut daemon = served(&host, &mut blocks).await;
    daemon.listens().await;
    is_well(&host, &mut blocks).await;
    let hook = hook(&blocks.next("toml", "volumes = ["));
    blocks.end();
    let mut readme = Blocks::of("README.md", "\n## Ten minutes with a shell runner\n");
    readme.0.retain(|(language, _)| language == "yaml");
    let job = only_job(&readme.next("yaml", "RUNNER_SECRETS: |"));
    // Root of an image, and another user: the files are in the container's own memory.
    for user in [0, IMAGE] {
        let output = host.job(user, &hook, &job, "").await;
        assert_has_its_secrets(&output, "-r--------");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains(" /dev/shm/"), "{printed}");
    }
    daemon.stop(Signal::TERM).await;
}

/// The emulator is GitLab's issuer and has no jobs for runners, and the gateway has a port of the
/// test's, which the configuration does not name: that is all that may be wrong.
async fn is_well_but_for_gitlab(host: &Host, blocks: &mut Blocks) {
    let doctor = blocks.next("sh", "runner-secretsd doctor");
    let doctor = host.run(&format!("{} || true", doctor.trim_end())).await;
    let crosses: Vec<&str> = doctor
        .lines()
        .filter(|line| line.starts_with('✗'))
        .collect();
    let [gateway, gitlab] = crosses[..] else {
        panic!("{doctor}");
    };
    assert!(gateway.contains(" 127.0.0.1:0: "), "{doctor}");
    assert!(gitlab.contains("is not GitLab's answer"), "{doctor}");
}

#[tokio::test]
async fn the_ways_of_the_gateway_run_in_order() {
    let Some(host) = prepared().await else {
        return;
    };
    let listening = "a gateway listens";
    let mut blocks = Blocks::of("docs/start.md", "\n## Gateway on the runner's host\n");
    let mut daemon = served(&host, &mut blocks).await;
    daemon.logs(listening).await;
    is_well_but_for_gitlab(&host, &mut blocks).await;
    blocks.next("toml", "url = \"http://127.0.0.1:8929\"");
    blocks.end();
    daemon.stop(Signal::TERM).await;

    let mut blocks = Blocks::of("docs/start.md", "\n## Gateway on a host of its own\n");
    let certificates = blocks.next("sh", "name=gateway.example.com");
    host.run(&certificates).await;
    let mut daemon = served(&host, &mut blocks).await;
    daemon.logs(listening).await;
    is_well_but_for_gitlab(&host, &mut blocks).await;
    blocks.next("toml", "tls-ca-file");
    blocks.end();
    daemon.stop(Signal::TERM).await;

    let mut blocks = Blocks::of("docs/start.md", "\n## Kubernetes\n");
    let gitlabs = "name=gitlab.example.com";
    host.run(&certificates.replace("name=gateway.example.com", gitlabs))
        .await;
    let mut daemon = served(&host, &mut blocks).await;
    daemon.logs(listening).await;
    is_well_but_for_gitlab(&host, &mut blocks).await;
    blocks.end();
    daemon.stop(Signal::TERM).await;
}
