//! The daemon's process: its directory, its configuration, its log and its end.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{process::Child, sync::watch, time::timeout};

/// Longer than anything takes on a machine with too much to do; a test that waits for it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_runner-secretsd");

/// A test's own directory, in memory where the machine has such a file system.
#[derive(Debug)]
pub(crate) struct Place {
    directory: TempDir,
    in_memory: bool,
}

impl Place {
    pub(crate) fn new() -> Self {
        const TMPFS: i64 = 0x0102_1994;
        let memory = Path::new("/dev/shm");
        let in_memory = rustix::fs::statfs(memory).is_ok_and(|status| status.f_type == TMPFS);
        let parent = if in_memory {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        // Short: a socket's path ends at 107 bytes.
        let directory = tempfile::Builder::new().prefix("rs-").tempdir_in(parent);
        let directory = directory.unwrap();
        let place = Self {
            directory,
            in_memory,
        };
        fs::create_dir(place.leases()).unwrap();
        fs::create_dir(place.path("audit")).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("api/api.sock")
    }

    /// `files.directory`
    pub(crate) fn leases(&self) -> PathBuf {
        self.path("leases")
    }

    /// `files.state_directory`
    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `audit.path`
    pub(crate) fn trail(&self) -> PathBuf {
        self.path("audit/audit.jsonl")
    }

    /// The records in the trail's current file.
    pub(crate) fn records(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.trail()).unwrap();
        // What is being written has no line end yet.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text[..whole].lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits for a record.
    pub(crate) async fn recorded(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let mut found = None;
        until(what, || {
            found = self.records().into_iter().find(|record| is(record));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Everything in `files.directory`.
    pub(crate) fn left(&self) -> Vec<String> {
        names(&self.leases())
    }

    /// Waits until nothing is left in `files.directory`.
    pub(crate) async fn emptied(&self) {
        until("files.directory is empty", || self.left().is_empty()).await;
    }

    /// Lets other users come in.
    pub(crate) fn open_to_all(&self) {
        let all = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.directory.path(), all).unwrap();
    }
}

/// The names in a directory, in order.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Asks again and again, letting everything else go on in between, until `done`.
pub(crate) async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "it never happened: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What the tokens of tests are for.
pub(crate) const AUDIENCE: &str = "api://AzureADTokenExchange";

/// An issuer where nothing answers.
pub(crate) const NOBODY: &str = "https://localhost:1";

/// A configuration file: tables of keys, with values as TOML writes them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    tables: BTreeMap<String, BTreeMap<String, String>>,
    more: String,
}

impl Config {
    /// One listener and a directory for files in `place`.
    pub(crate) fn of(place: &Place) -> Self {
        let config = Self::default();
        // Without root, files can be for this user alone, and the daemon wants that to be said.
        let uid = rustix::process::geteuid();
        let config = if uid.is_root() {
            config
        } else {
            config.set("listen.allowed_uids", format!("[{uid}]"))
        };
        config
            .text("listen.socket", &place.socket().display().to_string())
            .text("audit.path", &place.trail().display().to_string())
            .text("files.directory", &place.leases().display().to_string())
            .text(
                "files.state_directory",
                &place.state().display().to_string(),
            )
            .set("files.require_memory_backed", place.in_memory)
            .text("issuer.url", NOBODY)
            .set("issuer.audiences", format!("[{AUDIENCE:?}]"))
    }

    /// Sets `table.key`.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        let (table, key) = key.split_once('.').unwrap();
        let table = self.tables.entry(table.to_owned()).or_default();
        table.insert(key.to_owned(), value.to_string());
        self
    }

    /// Sets `table.key` to a string.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.set(key, format!("{value:?}"))
    }

    /// What a key is set to, as TOML writes it.
    pub(crate) fn value(&self, key: &str) -> String {
        let (table, name) = key.split_once('.').unwrap();
        self.tables[table][name].clone()
    }

    /// Sets a key to what another one is set to.
    pub(crate) fn copy(self, key: &str, from: &str) -> Self {
        let value = self.value(from);
        self.set(key, value)
    }

    pub(crate) fn unset(mut self, key: &str) -> Self {
        let (table, key) = key.split_once('.').unwrap();
        self.tables.get_mut(table).unwrap().remove(key).unwrap();
        self
    }

    /// Other rules than the usual one.
    pub(crate) fn rules(mut self, rules: &str) -> Self {
        self.tables.remove("rule").unwrap();
        self.more(rules)
    }

    /// Appends what is no single key.
    pub(crate) fn more(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self
    }

    pub(crate) fn write(&self, path: &Path) {
        let mut text = String::new();
        for (table, entries) in &self.tables {
            let head = match table.as_str() {
                "issuer" | "listen" | "rule" => format!("[[{table}]]"),
                other => format!("[{other}]"),
            };
            writeln!(text, "{head}").unwrap();
            for (key, value) in entries {
                writeln!(text, "{key} = {value}").unwrap();
            }
        }
        fs::write(path, text + &self.more).unwrap();
    }
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    pid: Pid,
    output: watch::Receiver<Output>,
}

/// What a process has said on standard error.
#[derive(Debug, Default)]
struct Output {
    text: Vec<u8>,
    ended: bool,
}

impl Daemon {
    /// Starts `runner-secretsd serve` with the configuration at `path`, and waits until it listens.
    pub(crate) async fn start(path: &Path) -> Self {
        let mut daemon = Self::spawn(path);
        daemon.listens().await;
        daemon
    }

    pub(crate) fn spawn(path: &Path) -> Self {
        Self::run(serve(path))
    }

    /// Runs a command that is, or becomes, the daemon.
    pub(crate) fn run(mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = tokio::process::Command::from(command).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let stderr = child.stderr.take().unwrap().into_owned_fd().unwrap();
        let (sender, output) = watch::channel(Output::default());
        std::thread::spawn(move || {
            let mut stderr = fs::File::from(stderr);
            let mut buffer = [0; 8 * 1024];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                sender.send_modify(|output| output.text.extend_from_slice(&buffer[..count]));
            }
            sender.send_modify(|output| output.ended = true);
        });
        Self { child, pid, output }
    }

    pub(crate) async fn listens(&mut self) {
        self.says(is_listening).await;
    }

    /// Waits until it listens or has ended, and gives whether it listens.
    pub(crate) async fn listens_or_ends(&mut self) -> bool {
        self.waits(is_listening).await;
        is_listening(&self.log())
    }

    /// Waits for a part of a line in the log.
    pub(crate) async fn logs(&mut self, part: &str) {
        self.says(|log| log.contains(part)).await;
    }

    /// Waits for it to come more often than it did.
    pub(crate) async fn logs_more(&mut self, part: &str, before: usize) {
        self.says(|log| log.matches(part).count() > before).await;
    }

    async fn says(&mut self, said: impl Fn(&str) -> bool) {
        self.waits(&said).await;
        assert!(
            said(&self.log()),
            "the daemon never said so:\n{}",
            self.log()
        );
    }

    /// Waits until it has said something, or has ended.
    async fn waits(&mut self, said: impl Fn(&str) -> bool) {
        let done = self.output.wait_for(|output| {
            // Whoever waits for a part of a line reads the rest of it next.
            let end = output.text.iter().rposition(|byte| *byte == b'\n');
            let log = String::from_utf8_lossy(&output.text[..end.unwrap_or(0)]);
            output.ended || said(&log)
        });
        let in_time = timeout(PATIENCE, done).await.is_ok();
        assert!(in_time, "the daemon never said so:\n{}", self.log());
    }

    /// Everything that it has said.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&self.output.borrow().text).into_owned()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// What it holds in memory, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.unwrap().trim().trim_end_matches(" kB");
        resident.parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for the end of the process and of its log.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, async {
            let status = self.child.wait().await.unwrap();
            self.output.wait_for(|output| output.ended).await.unwrap();
            status
        });
        let ended = ended.await;
        ended.unwrap_or_else(|_| panic!("the daemon does not end:\n{}", self.log()))
    }

    /// Ends it by a signal, which must be an orderly end.
    pub(crate) async fn stop(&mut self, signal: Signal) {
        self.signal(signal);
        let status = self.ends().await;
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

/// In the text and in the JSON form of the log.
fn is_listening(log: &str) -> bool {
    log.contains("listening socket=") || log.contains(r#""message":"listening""#)
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let since = Instant::now();
        drop(self.child.start_kill());
        while matches!(self.child.try_wait(), Ok(None)) && since.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        if std::thread::panicking() {
            let log = self.log();
            let end = log.len().saturating_sub(16 * 1024);
            let end = (end..=log.len()).find(|at| log.is_char_boundary(*at));
            println!("The daemon said:\n{}", &log[end.unwrap_or_default()..]);
        }
    }
}

/// `runner-secretsd serve --config PATH` in an empty environment.
pub(crate) fn serve(path: &Path) -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().arg("serve").arg("--config").arg(path);
    command.stdin(Stdio::null());
    command
}
