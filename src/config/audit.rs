//! `[audit]`: where the trail goes, which of these places has to have a record before anything is
//! released, and for how long it is kept. There is no configuration without such a place.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::de::DeValue;

use super::{
    raw::{Table, Value},
    value::Count,
};
use crate::azure;

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// The file; `None` where there is none.
    pub file: Option<File>,
    /// The syslog server.
    pub syslog: Option<Syslog>,
    /// Whether records go to standard output, too.
    pub stdout: bool,
    /// Which of them has to have a record before anything is released.
    pub durable: Durable,
    /// The operator's Ed25519 key that signs checkpoints.
    pub signing_key: Option<PathBuf>,
    /// How often there is a checkpoint while there are records.
    pub checkpoint_interval: Duration,
    /// How long a request waits until its record is durable.
    pub timeout: Duration,
    /// How a person is named.
    pub user: User,
}

/// The file, and those that it becomes.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path.
    pub path: PathBuf,
    /// How many bytes make it full.
    pub rotate_size: u64,
    /// How many full ones are kept; `None`: all.
    pub keep: Option<usize>,
    /// How long full ones are kept; `None`: for ever.
    pub keep_for: Option<Duration>,
}

/// What has to have a record before anything is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// The file, on disk.
    File,
    /// The syslog server, as far as TCP tells.
    Syslog,
}

/// A syslog server.
#[derive(Clone, Debug)]
pub struct Syslog {
    /// Where it is.
    pub server: Server,
    /// Certificates to trust in place of the system's.
    pub ca: Option<azure::Ca>,
}

/// Where a syslog server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `unix:/dev/log`: on this host.
    Local(PathBuf),
    /// `tcp://host:601`
    Tcp(Authority),
    /// `tls://host:6514`
    Tls(Authority),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How a person is named in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By the name of the account.
    Login,
    /// By its number.
    Id,
    /// By a hash of its number with the key in this file, 32 bytes or more.
    Hmac(PathBuf),
}

pub(super) fn read(mut table: Table<'_>) -> Option<Audit> {
    let file = file(&mut table);
    let syslog = syslog(&mut table);
    let durable = durable(&mut table, file.is_some(), syslog.as_ref());
    Some(Audit {
        stdout: table.or("stdout", false),
        signing_key: table.optional("signing_key"),
        // What was cut off since the last one cannot be seen from the host's own copies.
        checkpoint_interval: table.or("checkpoint_interval", Duration::from_secs(10 * 60)),
        // A disk that takes longer is as good as none; a job does not wait longer than it must.
        timeout: table.or("timeout", Duration::from_secs(5)),
        user: user(&mut table)?,
        durable,
        file,
        syslog,
    })
}

/// Each file begins with a header and ends with a checkpoint; there should be more in it.
const SMALLEST: u64 = 4096;

fn file(table: &mut Table<'_>) -> Option<File> {
    let wanted = table.or("file", true);
    let keys = ["path", "rotate_size", "keep", "keep_for"];
    for key in keys.into_iter().filter(|key| !wanted && table.has(key)) {
        table.problem(key, "has a meaning only without file = false".to_owned());
    }
    let path = PathBuf::from("/var/log/runner-secrets/audit.jsonl");
    let file = File {
        path: table.or("path", path),
        // Some hundred thousand records, which any tool still opens.
        rotate_size: table.or("rotate_size", 100 * 1024 * 1024),
        keep: table.optional::<Count>("keep").map(|Count(count)| count),
        keep_for: table.optional("keep_for"),
    };
    if file.rotate_size < SMALLEST {
        table.problem("rotate_size", format!("is less than {SMALLEST} bytes"));
    }
    if stem(&file.path).is_none() {
        let problem = "does not end in .jsonl, which full files get after their number";
        table.problem("path", problem.to_owned());
    }
    wanted.then_some(file)
}

/// The name of the file without `.jsonl`, from which full files get theirs.
pub(crate) fn stem(path: &Path) -> Option<&str> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".jsonl")?;
    (!stem.is_empty()).then_some(stem)
}

fn syslog(table: &mut Table<'_>) -> Option<Syslog> {
    let server = table.optional::<Server>("syslog");
    let ca = table.optional::<PathBuf>("syslog_ca_file");
    let tls = match server {
        Some(Server::Tls(_)) => true,
        Some(_) => false,
        None => table.has("syslog"),
    };
    if ca.is_some() && !tls {
        let problem = "has a meaning only with syslog = \"tls://…\"";
        table.problem("syslog_ca_file", problem.to_owned());
    }
    let ca = ca.and_then(|path| match certificates(&path) {
        Ok(pem) => Some(azure::Ca { path, pem }),
        Err(problem) => {
            table.problem("syslog_ca_file", problem);
            None
        }
    });
    Some(Syslog {
        server: server?,
        ca,
    })
}

/// The PEM certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    let path_is = path.display();
    match fs::read(path) {
        Ok(pem) if azure::certificates(&pem).is_empty() => {
            Err(format!("{path_is} holds no PEM certificate"))
        }
        Ok(pem) => Ok(pem),
        Err(error) => Err(format!("{path_is}: {error}")),
    }
}

fn durable(table: &mut Table<'_>, file: bool, syslog: Option<&Syslog>) -> Durable {
    let remote = syslog.is_some_and(|syslog| !matches!(syslog.server, Server::Local(_)));
    let durable = table.or("durable", Durable::File);
    if durable == Durable::Syslog && !remote && (syslog.is_some() || !table.has("syslog")) {
        let problem = "needs a server in syslog: tcp://… or tls://…";
        table.problem("durable", problem.to_owned());
    }
    if durable == Durable::File && !file {
        let problem =
            "has to be \"syslog\" with file = false: nothing is released without a record";
        table.problem("durable", problem.to_owned());
    }
    durable
}

fn user(table: &mut Table<'_>) -> Option<User> {
    let kind = table.or("user", UserKind::Login);
    let key = table.optional::<PathBuf>("user_key");
    if key.is_some() && kind != UserKind::Hmac {
        let problem = "has a meaning only with user = \"hmac\"";
        table.problem("user_key", problem.to_owned());
    }
    match kind {
        UserKind::Login => Some(User::Login),
        UserKind::Id => Some(User::Id),
        UserKind::Hmac => {
            if !table.has("user_key") {
                let problem = "needs user_key, the path of a file with 32 random bytes or more";
                table.problem("user", problem.to_owned());
            }
            key.map(User::Hmac)
        }
    }
}

/// The word for it, before `user_key` is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UserKind {
    Login,
    Id,
    Hmac,
}

impl Value for UserKind {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "login" => Ok(Self::Login),
            "id" => Ok(Self::Id),
            "hmac" => Ok(Self::Hmac),
            other => Err(format!(
                "{other:?} is none of \"login\", \"id\" and \"hmac\""
            )),
        }
    }
}

impl Value for Durable {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "file" => Ok(Self::File),
            "syslog" => Ok(Self::Syslog),
            other => Err(format!("{other:?} is neither \"file\" nor \"syslog\"")),
        }
    }
}

impl Value for Server {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        Self::parse(&text).ok_or_else(|| {
            format!("{text:?} is none such as \"unix:/dev/log\", \"tcp://host:601\" and \"tls://host:6514\"")
        })
    }
}

impl Server {
    fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return path.is_absolute().then_some(Self::Local(path));
        }
        let (scheme, rest) = text.split_once("://")?;
        let (host, port) = rest.rsplit_once(':')?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
        let host = match bracketed {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            None if !host.is_empty() && host.bytes().all(plain) => host.to_owned(),
            None => return None,
        };
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let authority = Authority { host, port };
        match scheme {
            "tcp" => Some(Self::Tcp(authority)),
            "tls" => Some(Self::Tls(authority)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Tls(authority) => write!(f, "tls://{authority}"),
        }
    }
}

impl std::fmt::Display for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl std::fmt::Display for Durable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Syslog => "syslog",
        })
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Login => "login",
            Self::Id => "id",
            Self::Hmac(_) => "hmac",
        })
    }
}
