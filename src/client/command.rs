//! The commands, each a few lines over a [`Retrieval`]: what is printed, what is left behind, and
//! with which status they end. Standard output carries only what a shell or a file is to have;
//! everything for people goes to standard error.

use std::{
    ffi::OsString,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
};

use runner_secrets_proto::Reason;

use super::{
    arguments::{self, Command, HELP},
    connection::{Client, DEFAULT_SOCKET},
    doctor,
    environment::Environment,
    error::Error,
    exec::{self, NotRun, Signals},
    later,
    local::Places,
    owner,
    retrieval::{Given, Lease, Retrieval},
    shell::{self, LEASE},
    spec::Spec,
    token,
};
use crate::{screen::Plain, secret::IdToken};

/// Where a command writes.
pub struct Output<'a> {
    /// For a shell or a file.
    pub stdout: &'a mut dyn Write,
    /// For people.
    pub stderr: &'a mut dyn Write,
    /// Whether standard output is a screen.
    pub terminal: bool,
}

impl Output<'_> {
    fn print(&mut self, bytes: &[u8]) -> Result<u8, Error> {
        let written = self.stdout.write_all(bytes);
        let flushed = written.and_then(|()| self.stdout.flush());
        flushed.map(|()| 0).map_err(Error::Output)
    }

    /// A line for people. That it cannot be written is no reason to stop.
    fn say(&mut self, line: &str) {
        drop(writeln!(self.stderr, "runner-secrets: {}", Plain(line)));
    }

    fn complain(&mut self, error: &Error) {
        drop(self.stderr.write_all(error.report().as_bytes()));
    }
}

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output").finish_non_exhaustive()
    }
}

/// Runs the client and gives its exit status. `arguments` begin after the program's name; root and
/// the uids in `trusted` may serve the socket.
pub async fn run(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    trusted: &[u32],
    mut output: Output<'_>,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let evaluated = arguments.first().is_some_and(|first| first == "env");
    let call = Call {
        environment,
        trusted,
    };
    match call.run(arguments, &mut output).await {
        Ok(status) => status,
        Err(error) => {
            output.complain(&error);
            if evaluated {
                // Stops a bare `eval "$(runner-secrets env)"` where errors stop the script.
                let stop = format!("(exit {})\n", error.exit());
                drop(output.print(stop.as_bytes()));
            }
            error.exit()
        }
    }
}

struct Call<'a> {
    environment: &'a Environment,
    trusted: &'a [u32],
}

impl Call<'_> {
    async fn run(&self, arguments: Vec<OsString>, output: &mut Output<'_>) -> Result<u8, Error> {
        match arguments::parse(arguments)? {
            Command::Doctor { json } => self.doctor(json, output).await,
            Command::Env => self.env(output).await,
            Command::Exec(command) => self.exec(&command, output).await,
            Command::Explain { json } => self.explain(json, output).await,
            Command::Get(variable) => self.get(&variable, output).await,
            Command::Help => output.print(HELP.as_bytes()),
            Command::Release(lease) => self.release(lease).await,
            Command::Version => {
                let version = concat!("runner-secrets ", env!("CARGO_PKG_VERSION"), "\n");
                output.print(version.as_bytes())
            }
        }
    }

    async fn doctor(&self, json: bool, output: &mut Output<'_>) -> Result<u8, Error> {
        let connect = async || Client::connect(&self.socket()?, self.trusted).await;
        let checkup = doctor::examine(self.environment, connect).await;
        let text = if json {
            let json = checkup.json();
            json.map_err(|error| Error::Output(error.into()))?
        } else {
            checkup.text(self.colour(output))
        };
        output.print(text.as_bytes())?;
        Ok(checkup.exit())
    }

    /// <https://no-color.org>
    fn colour(&self, output: &Output<'_>) -> bool {
        output.terminal && self.environment.filled("NO_COLOR").is_none()
    }

    async fn env(&self, output: &mut Output<'_>) -> Result<u8, Error> {
        let Some(spec) = Spec::from_environment(self.environment)? else {
            return Ok(0);
        };
        self.refuse_to_be_traced(&spec)?;
        let retrieval = self.retrieve(&spec, self.places(), owner::shell).await?;
        let printed = match shell::exports(&retrieval) {
            Ok(script) => output.print(&script),
            Err(error) => Err(error),
        };
        if let Err(error) = printed {
            drop(retrieval.release().await);
            return Err(error);
        }
        self.report(&retrieval, output);
        if let Err(error) = later::tell(&retrieval, self.environment) {
            output.say(&format!(
                "after_script will not see the secrets: GITLAB_ENV: {error}"
            ));
        }
        retrieval.keep();
        Ok(0)
    }

    async fn exec(&self, command: &[OsString], output: &mut Output<'_>) -> Result<u8, Error> {
        let signals = Signals::take_over();
        let mut signals = signals.map_err(|source| Error::System {
            action: "take over signals",
            source,
        })?;
        let retrieval = match Spec::from_environment(self.environment)? {
            None => None,
            Some(spec) => Some(tokio::select! {
                biased;
                signal = signals.next() => {
                    // There is no command yet to hand it to.
                    output.say("stopped by a signal");
                    return Ok(exec::status_after(signal));
                }
                retrieval = self.for_us(&spec) => retrieval?,
            }),
        };
        if let Some(retrieval) = &retrieval {
            self.report(retrieval, output);
        }
        let ended = exec::run(command, self.environment, retrieval.as_ref(), &mut signals).await;
        if let Some(retrieval) = retrieval
            && let Err(error) = retrieval.release().await
        {
            // The command's own status counts; what stays ends with its lease.
            output.complain(&error);
        }
        Ok(ended?.unwrap_or_else(|NotRun { status, problem }| {
            output.say(&problem);
            status
        }))
    }

    /// Unlike `env`, which runs for every job, this is asked by somebody who wants an answer.
    async fn explain(&self, json: bool, output: &mut Output<'_>) -> Result<u8, Error> {
        let spec = Spec::from_environment(self.environment)?;
        let spec = spec.ok_or_else(|| Error::Setting {
            place: "RUNNER_SECRETS".to_owned(),
            problem: "is not set, and neither is RUNNER_SECRETS_FILE or RUNNER_SECRETS_SPEC_*: \
                      there is nothing to explain"
                .to_owned(),
        })?;
        let mut client = Client::connect(&self.socket()?, self.trusted).await?;
        let verdicts = client.explain(&spec).await?;
        let text = if json {
            let json = verdicts.json();
            json.map_err(|error| Error::Output(error.into()))?
        } else {
            verdicts.text(self.colour(output))
        };
        output.print(text.as_bytes())?;
        Ok(if verdicts.all_granted() {
            0
        } else {
            Reason::PolicyDenied.exit()
        })
    }

    async fn get(&self, variable: &str, output: &mut Output<'_>) -> Result<u8, Error> {
        if output.terminal {
            return Err(Error::Terminal);
        }
        let spec = Spec::from_environment(self.environment)?;
        let spec = spec.and_then(|spec| spec.only_value_of(variable));
        let spec = spec.ok_or_else(|| Error::Setting {
            place: variable.to_owned(),
            problem: "is in no spec: RUNNER_SECRETS, RUNNER_SECRETS_FILE, RUNNER_SECRETS_SPEC_*"
                .to_owned(),
        })?;
        let retrieval = self.for_us(&spec).await?;
        self.report(&retrieval, output);
        let mut written = Ok(0);
        for (_, given) in retrieval.variables() {
            if let Given::Value(value) = given {
                written = output.print(value.expose());
            }
        }
        retrieval.release().await?;
        written
    }

    async fn release(&self, lease: Option<String>) -> Result<u8, Error> {
        let inherited = self.environment.filled(LEASE);
        let Some(lease) = lease.as_deref().or(inherited) else {
            return Ok(0);
        };
        let connect = async || Client::connect(&self.socket()?, self.trusted).await;
        let lease = Lease::parse(lease);
        let released = lease.release(self.environment, connect, || self.token());
        released.await.map(|()| 0)
    }

    /// The token that a lease of this job is released with: the spec's, or the only one there is.
    fn token(&self) -> Result<Arc<IdToken>, Error> {
        if let Some(spec) = Spec::from_environment(self.environment)?
            && let Some(token) = spec.id_token()
        {
            return Ok(token);
        }
        let token = token::of_this_job(LEASE, "NAME", self.environment)?;
        Ok(Arc::new(IdToken::new(token.to_owned())))
    }

    fn places(&self) -> Places {
        Places::of(self.environment)
    }

    /// For as long as this process runs.
    async fn for_us(&self, spec: &Spec) -> Result<Retrieval, Error> {
        let places = self.places().ending_with_us();
        self.retrieve(spec, places, owner::this_process).await
    }

    async fn retrieve(
        &self,
        spec: &Spec,
        places: Places,
        owner: impl FnOnce(Option<i32>) -> Option<i32>,
    ) -> Result<Retrieval, Error> {
        let client = Client::connect(&self.socket()?, self.trusted).await?;
        let owner = owner(client.server_pid());
        Retrieval::of(spec, client, owner, &places).await
    }

    fn socket(&self) -> Result<PathBuf, Error> {
        const VARIABLE: &str = "RUNNER_SECRETS_SOCKET";
        let socket = self.environment.path(VARIABLE);
        let socket = socket.unwrap_or(Path::new(DEFAULT_SOCKET));
        if socket.is_absolute() {
            return Ok(socket.to_owned());
        }
        Err(Error::Setting {
            place: VARIABLE.to_owned(),
            problem: "is no absolute path".to_owned(),
        })
    }

    /// The runner passes `CI_DEBUG_TRACE` on to the shell, which then prints what it evaluates.
    fn refuse_to_be_traced(&self, spec: &Spec) -> Result<(), Error> {
        let traced = self.environment.get("CI_DEBUG_TRACE").unwrap_or_default();
        // As the runner reads it: Go's ParseBool, or the number 1.
        let traced = matches!(traced.to_ascii_lowercase().as_str(), "1" | "t" | "true")
            || traced.parse() == Ok(1);
        let printed = spec.variables().find(|(_, file)| !file);
        match printed {
            Some((variable, _)) if traced => Err(Error::DebugTrace {
                variable: variable.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// One line on how it went, and the warnings.
    fn report(&self, retrieval: &Retrieval, output: &mut Output<'_>) {
        let count = retrieval.variables().count();
        let plural = if count == 1 { "" } else { "s" };
        let job = self.environment.filled("CI_JOB_ID");
        let job = job.map_or_else(String::new, |job| format!(" for job {job}"));
        let request = match retrieval.request_id() {
            "" => String::new(),
            id => format!(" (request {id})"),
        };
        let masked = if count == 1 { "it" } else { "them" };
        let line = format!(
            "{count} secret{plural}{job}{request}; the runner does not mask {masked} in this mode"
        );
        output.say(&line);
        for warning in retrieval.warnings() {
            output.say(warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Environment, Output, run};

    #[tokio::test]
    async fn a_screen_gets_no_secret() {
        let spec = "A: {azure_key_vault: {name: a}, token: e30.e30.e30}";
        let environment: Environment = [("RUNNER_SECRETS", spec)].into_iter().collect();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let output = Output {
            stdout: &mut stdout,
            stderr: &mut stderr,
            terminal: true,
        };
        let status = run(["get".into(), "A".into()], &environment, &[], output).await;
        assert_eq!(status, 64);
        assert!(stdout.is_empty());
        assert_eq!(
            String::from_utf8(stderr).unwrap(),
            "runner-secrets: standard output is a terminal: redirect it to a file or a pipe \
             (REQUEST_INVALID)\n"
        );
    }
}
