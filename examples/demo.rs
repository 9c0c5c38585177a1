//! The whole story on one machine: a GitLab issuer, Entra and a vault (the emulator), the daemon,
//! and a job that gets three secrets through the real client over the real socket; then a job of
//! the wrong branch, and what its author is told; then what the auditor finds. Everything shown is
//! checked: the exit status is 0 only if all of it was as it should be. Nothing is left behind.

use std::{
    collections::BTreeMap,
    error::Error,
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use azure_emulator::{Emulator, IdTokenRequest, NewSecret, Options};
use runner_secrets::{
    client::{self, Environment, Output},
    command::{self, Asked, Streams},
    config::Config,
    run::Daemon,
};
use serde_json::json;
use tokio::{sync::oneshot, task::JoinHandle};

type Done<T = ()> = Result<T, Box<dyn Error>>;

/// The demo takes seconds; a minute means that something hangs.
const LONGEST: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return end(Err(error.into())),
    };
    let told = runtime.block_on(async {
        let story = tokio::time::timeout(LONGEST, tell());
        story
            .await
            .unwrap_or_else(|_| Err("the demo took more than a minute".into()))
    });
    end(told)
}

fn end(told: Done) -> ExitCode {
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(io::stderr(), "demo: not as it should be: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn tell() -> Done {
    let mut stage = Stage::set().await?;
    let pinned = stage.seed();
    let told = tell_on(&stage, &pinned).await;
    let stopped = stage.stop().await;
    let audited = the_auditor_asks(&stage).await;
    let struck = stage.strike().await;
    told.and(stopped).and(audited).and(struck)
}

async fn tell_on(stage: &Stage, pinned: &str) -> Done {
    say(Tone::Heading, "A job wants three secrets")?;
    let spec = spec(pinned);
    say(Tone::Quiet, &spec)?;
    let lease = a_job_gets_its_secrets(stage, &spec).await?;

    say(Tone::Heading, "The job is over: it gives the files back")?;
    let released = stage
        .client(&["release", &lease], &stage.job("main", &spec)?)
        .await;
    check(released.status == 0, "the lease is released")?;
    check(stage.files()? == 0, "no file is left")?;
    say(Tone::Good, "no file is left")?;

    a_job_of_another_branch_is_refused(stage, &spec).await
}

/// The `secrets:` block of .gitlab-ci.yml, as it is, in one CI variable.
fn spec(pinned: &str) -> String {
    format!(
        "DB_PASSWORD:
  azure_key_vault: {{ name: db-password, version: {pinned} }}   # this version
TLS_CERT:
  azure_key_vault: {{ name: tls-cert }}          # the latest
FEATURE_FLAG:
  azure_key_vault: {{ name: feature-flag }}
  file: false                                # the value, not a file"
    )
}

async fn a_job_gets_its_secrets(stage: &Stage, spec: &str) -> Done<String> {
    say(
        Tone::Heading,
        "runner-secrets env, in the job's pre_build_script, prints",
    )?;
    let answer = stage.client(&["env"], &stage.job("main", spec)?).await;
    check(answer.status == 0, &answer.stderr)?;
    let shown = answer.stdout.replace(
        &stage.leases.display().to_string(),
        "/run/runner-secrets-leases",
    );
    say(Tone::Plain, shown.trim_end())?;
    say(Tone::Quiet, answer.stderr.trim_end())?;

    say(Tone::Heading, "What the job's commands see")?;
    let script = "ls -l \"${DB_PASSWORD%/*}\"
        echo \"password of $(wc -c < \"$DB_PASSWORD\") bytes: $(cat \"$DB_PASSWORD\")\"
        echo \"first line of the certificate: $(head -n 1 \"$TLS_CERT\")\"
        echo \"flag: $FEATURE_FLAG\"";
    let seen = shell(&answer.stdout, script)?;
    say(Tone::Plain, seen.trim_end())?;
    check(
        seen.contains("password of 12 bytes: correct-2025\n"),
        "the pinned version is the old one",
    )?;
    check(
        seen.contains("certificate: -----BEGIN CERTIFICATE-----\n"),
        "the certificate arrives",
    )?;
    check(
        seen.contains("flag: $on 'or' \"off\"\n"),
        "quotes and dollars survive",
    )?;
    check(
        seen.matches("-r--------").count() == 2,
        "only the job's user can read the files",
    )?;

    let routes = stage.emulator.requests();
    let count = |route| {
        routes
            .iter()
            .filter(|request| request.route == route)
            .count()
    };
    check(
        count("token") == 1 && count("secret") == 3,
        "1 token request and 3 reads",
    )?;
    say(
        Tone::Good,
        "1 request to Entra and 3 to the vault: two round trips",
    )?;

    let lease = answer
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("export RUNNER_SECRETS_LEASE='"));
    Ok(lease
        .ok_or("there is no lease")?
        .trim_end_matches('\'')
        .to_owned())
}

async fn a_job_of_another_branch_is_refused(stage: &Stage, spec: &str) -> Done {
    say(
        Tone::Heading,
        "The same job on another branch, and what its author is told",
    )?;
    let before = stage.emulator.requests().len();
    let answer = stage.client(&["env"], &stage.job("wip", spec)?).await;
    say(Tone::Bad, answer.stderr.trim_end())?;
    say(Tone::Quiet, &format!("exit status {}", answer.status))?;
    check(answer.status == 77, "the refusal's exit status is 77")?;
    check(
        answer.stderr.contains("POLICY_DENIED"),
        "no rule grants it to an unprotected branch",
    )?;
    check(
        stage.emulator.requests().len() == before,
        "neither Entra nor the vault is asked",
    )?;
    check(
        answer.stdout == "(exit 77)\n",
        "an eval of the output stops the script",
    )?;
    check(stage.files()? == 0, "a refused job leaves no file")
}

async fn the_auditor_asks(stage: &Stage) -> Done {
    say(
        Tone::Heading,
        "runner-secretsd audit query: who read which secret, from where",
    )?;
    let (status, asked) = stage.audit("query").await?;
    check(status == 0, &asked)?;
    say(Tone::Plain, asked.trim_end())?;
    for reason in ["DELIVERED", "POLICY_DENIED"] {
        let count = asked.matches(reason).count();
        check(count == 3, "three secrets were read, and three were not")?;
    }
    say(Tone::Heading, "runner-secretsd audit verify")?;
    let (status, verified) = stage.audit("verify").await?;
    say(Tone::Quiet, verified.trim_end())?;
    check(status == 0, "the trail is whole")?;
    let trail = fs::read_to_string(&stage.trail)?;
    let altered = trail.replacen("POLICY_DENIED", "DELIVERED", 1);
    check(altered != trail, "the refusal is on record")?;
    fs::write(&stage.trail, altered)?;
    say(
        Tone::Heading,
        "The same after somebody made a delivery of the refusal",
    )?;
    let (status, verified) = stage.audit("verify").await?;
    let first = verified.lines().next().unwrap_or_default();
    say(Tone::Bad, first)?;
    check(status == 1, "an altered line shows")
}

/// Everything that is set up for the story.
struct Stage {
    emulator: Emulator,
    directory: tempfile::TempDir,
    leases: PathBuf,
    socket: PathBuf,
    trail: PathBuf,
    daemon: Option<(oneshot::Sender<()>, Serving)>,
}

type Serving = JoinHandle<Result<(), runner_secrets::run::Error>>;

/// What a command of the client came to.
struct Answer {
    status: u8,
    stdout: String,
    stderr: String,
}

impl Stage {
    async fn set() -> Done<Self> {
        let emulator = azure_emulator::start(Options::default()).await?;
        // Secrets in memory, where the machine has such a directory.
        let memory = Path::new("/dev/shm");
        let in_memory = runner_secrets::files::Base::open(memory)
            .and_then(|base| base.is_memory_backed())
            .unwrap_or(false);
        let directory = if in_memory {
            tempfile::tempdir_in(memory)?
        } else {
            tempfile::tempdir()?
        };
        let leases = directory.path().join("leases");
        fs::create_dir(&leases)?;
        let socket = directory.path().join("api/api.sock");
        let trail = directory.path().join("audit.jsonl");
        let config = Config::parse(&config(&emulator, &socket, &leases, in_memory))
            .map_err(|problems| format!("{problems:?}"))?;
        let daemon = Daemon::bind(config)?;
        let (stop, stopped) = oneshot::channel();
        let daemon = tokio::spawn(daemon.serve(async move { drop(stopped.await) }));
        Ok(Self {
            emulator,
            directory,
            leases,
            socket,
            trail,
            daemon: Some((stop, daemon)),
        })
    }

    /// Puts secrets into the vault; gives a version that is not the latest.
    fn seed(&self) -> String {
        let put = |name: &str, value: &str| {
            let secret = NewSecret {
                value: value.to_owned(),
                ..NewSecret::default()
            };
            self.emulator.put_secret("demo", name, secret).version
        };
        let pinned = put("db-password", "correct-2025");
        put("db-password", "incorrect-since-2026");
        put(
            "tls-cert",
            "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIU\n-----END CERTIFICATE-----\n",
        );
        put("feature-flag", "$on 'or' \"off\"");
        pinned
    }

    /// The environment that GitLab gives job 812 of acme/shop on `branch`.
    fn job(&self, branch: &str, spec: &str) -> Done<Environment> {
        let subject = format!("project_path:acme/shop:ref_type:branch:ref:{branch}");
        let protected = (branch == "main").to_string();
        let claims = json!({
            "job_id": "812", "ref": branch, "ref_protected": protected, "sub": subject
        });
        let wanted = IdTokenRequest {
            claims: claims.as_object().cloned().unwrap_or_default(),
            ..IdTokenRequest::default()
        };
        let ready = self.emulator.ready();
        let variables = BTreeMap::from([
            ("AZURE_CLIENT_ID", ready.client_id.clone()),
            ("AZURE_KEY_VAULT_SERVER_URL", ready.vault_url.clone()),
            ("AZURE_TENANT_ID", ready.tenant_id.clone()),
            ("CI_JOB_ID", "812".to_owned()),
            ("ID_TOKEN", self.emulator.id_token(&wanted)?),
            ("RUNNER_SECRETS", spec.to_owned()),
            ("RUNNER_SECRETS_SOCKET", self.socket.display().to_string()),
        ]);
        let variables = variables.into_iter();
        Ok(variables
            .map(|(name, value)| (OsString::from(name), OsString::from(value)))
            .collect())
    }

    /// Runs a command of the client with a job's environment.
    async fn client(&self, arguments: &[&str], environment: &Environment) -> Answer {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: false,
        };
        let own_uid = rustix::process::geteuid().as_raw();
        let arguments = arguments.iter().map(Into::into);
        let status = client::run(arguments, environment, &[own_uid], output).await;
        Answer {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        }
    }

    /// How many directories of jobs there are.
    fn files(&self) -> io::Result<usize> {
        Ok(fs::read_dir(&self.leases)?.count())
    }

    /// Stops the daemon, in order.
    async fn stop(&mut self) -> Done {
        let (stop, daemon) = self.daemon.take().ok_or("the daemon has stopped before")?;
        stop.send(()).map_err(|()| "the daemon ended by itself")?;
        Ok(daemon.await??)
    }

    /// Runs a command on the audit trail; gives its exit status and what it prints.
    async fn audit(&self, name: &str) -> Done<(u8, String)> {
        let arguments = [OsString::from(name), self.trail.clone().into_os_string()];
        let mut parser = lexopt::Parser::from_args(arguments);
        let Asked::Command(command) = command::audit(&mut parser, &mut PathBuf::new())? else {
            return Err("that is no command".into());
        };
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut streams = Streams {
            stdout: &mut stdout,
            stderr: &mut stderr,
            colour: false,
            watched: false,
        };
        let status = command::run(&command, Path::new(""), &mut streams).await;
        stdout.extend(stderr);
        Ok((status, String::from_utf8_lossy(&stdout).into_owned()))
    }

    /// Checks that everything is gone.
    async fn strike(self) -> Done {
        self.emulator.stop().await;
        let directory = self.directory.path().to_owned();
        check(
            fs::read_dir(&self.leases)?.count() == 0,
            "the daemon leaves no file",
        )?;
        check(!self.socket.exists(), "the daemon leaves no socket")?;
        self.directory.close()?;
        check(!directory.exists(), "nothing is left behind")
    }
}

fn config(emulator: &Emulator, socket: &Path, leases: &Path, in_memory: bool) -> String {
    let ready = emulator.ready();
    let ca_file = &ready.ca_file;
    format!(
        "[[listen]]
socket = '{}'
allowed_uids = [{}]
[files]
directory = '{}'
state_directory = '{}'
require_memory_backed = {in_memory}
[audit]
path = '{}'
[azure]
ca_file = '{ca_file}'
proxy_url = '{}'
[[issuer]]
url = '{}'
audiences = ['api://AzureADTokenExchange']
ca_file = '{ca_file}'
[[rule]]
name = 'shop'
bound_claims = {{ project_path = 'acme/shop', ref_protected = true }}
vaults = ['{}']
secrets = ['db-*', 'tls-cert', 'feature-flag']
",
        socket.display(),
        rustix::process::geteuid(),
        leases.display(),
        leases.with_file_name("state").display(),
        leases.with_file_name("audit.jsonl").display(),
        ready.proxy_url,
        ready.issuer_url,
        ready.vault_url,
    )
}

/// Runs `script` in a shell that evaluated `exports` first, as a job's script does after
/// `pre_build_script`. Gives what it prints.
fn shell(exports: &str, script: &str) -> Done<String> {
    let mut child = Command::new("sh")
        .args(["-e", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("the shell has no input")?;
    stdin.write_all(format!("{exports}{script}\n").as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    check(output.status.success(), "the job's script succeeds")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn check(holds: bool, what: &str) -> Done {
    if holds {
        Ok(())
    } else {
        Err(what.to_owned().into())
    }
}

/// How a text looks on a terminal.
#[derive(Clone, Copy)]
enum Tone {
    Heading,
    Plain,
    Quiet,
    Good,
    Bad,
}

/// Prints a text, indented below its heading.
fn say(tone: Tone, text: &str) -> io::Result<()> {
    let (indent, colour) = match tone {
        Tone::Heading => ("", "1"),
        Tone::Plain => ("  ", "0"),
        Tone::Quiet => ("  ", "2"),
        Tone::Good => ("  ", "32"),
        Tone::Bad => ("  ", "31"),
    };
    let mut stdout = io::stdout().lock();
    let mut page = String::new();
    if matches!(tone, Tone::Heading) {
        page.push('\n');
    }
    for line in text.lines() {
        let shown = if stdout.is_terminal() {
            writeln!(page, "{indent}\x1b[{colour}m{line}\x1b[0m")
        } else {
            writeln!(page, "{indent}{line}")
        };
        shown.map_err(io::Error::other)?;
    }
    stdout.write_all(page.as_bytes())
}
