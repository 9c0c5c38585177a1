//! `runner-secretsd doctor`: everything on the host, and on the way to GitLab and Azure, that has
//! to be right before a job can get a secret. Looks and changes nothing; has no token, and asks for
//! none. What cannot be told from here is said, with how to tell it.

use std::{
    fs::File,
    os::unix::{fs::MetadataExt as _, net::UnixStream},
    path::Path,
};

use rustix::{
    fs::{Access, access, statvfs},
    process::geteuid,
};

use super::{Error, Streams};
use crate::{
    checkup::{Checkup, Step},
    config::{self, Config, Delivery, Listen, audit::Server},
    files::Base,
};

mod azure;
mod gateway;
mod issuer;

/// Goes through all of it; 1 if anything is wrong.
pub(super) async fn examine(
    path: &Path,
    json: bool,
    streams: &mut Streams<'_>,
) -> Result<u8, Error> {
    let mut checkup = Checkup::default();
    match Config::load(path) {
        Ok(config) => {
            checkup.add(Step::good("configuration", path.display().to_string()));
            host(&config, &mut checkup).await;
            issuer::examine(&config, &mut checkup).await;
            azure::examine(&config, &mut checkup).await;
            gateway::examine(&config, &mut checkup).await;
        }
        Err(error) => {
            let step = Step::wrong("configuration", error.to_string());
            let problems = error.problems().iter();
            checkup.add(problems.fold(step, |step, problem| step.fix(problem.to_string())));
        }
    }
    let text = if json {
        let json = checkup.json();
        json.map_err(|error| Error::Output(error.into()))?
    } else {
        checkup.text(streams.colour)
    };
    streams.print(&text)?;
    Ok(checkup.exit())
}

/// What the daemon needs of this machine.
async fn host(config: &Config, checkup: &mut Checkup) {
    for listen in &config.listeners {
        checkup.add(socket(listen));
    }
    let delivers = |listen: &Listen| listen.delivery == Delivery::Files;
    if config.listeners.iter().any(delivers) {
        checkup.add(files(&config.files));
    }
    if let Some(file) = &config.audit.file {
        checkup.add(audit_file(&file.path));
    }
    if let Some(syslog) = &config.audit.syslog {
        checkup.add(syslog_server(&syslog.server).await);
    }
    if let Some(key) = &config.audit.signing_key {
        checkup.add(match File::open(key) {
            Ok(_) => Step::good("audit", format!("{} signs checkpoints", key.display())),
            Err(error) => Step::wrong("audit", format!("{}: {error}", key.display()))
                .fix("put the key of audit.signing_key there, readable for the daemon alone"),
        });
    }
}

fn socket(listen: &Listen) -> Step {
    let socket = listen.socket.display();
    match UnixStream::connect(&listen.socket) {
        Ok(_) => Step::good("socket", format!("somebody listens at {socket}")),
        Err(error) => Step::wrong("socket", format!("{socket}: {error}"))
            .fix("start the daemon: runner-secretsd serve, or its systemd unit"),
    }
}

fn files(files: &config::Files) -> Step {
    let directory = files.directory.display();
    let wrong = |error: String| Step::wrong("files", error);
    let base = match Base::open(&files.directory) {
        Ok(base) => base,
        Err(error) => {
            let fix = format!("make it, on a tmpfs: mkdir -m 0711 {directory}");
            return wrong(error.to_string()).fix(fix);
        }
    };
    match base.is_memory_backed() {
        Ok(false) if files.require_memory_backed => {
            return wrong(format!("{directory} is on a disk"))
                .fix("mount a tmpfs there, or set files.require_memory_backed = false");
        }
        Ok(_) => {}
        Err(error) => return wrong(error.to_string()),
    }
    match base.refuse_others_than(user(&files.state_directory)) {
        Ok(()) => Step::good(
            "files",
            format!("{directory} is in memory and nobody else's"),
        ),
        Err(error) => wrong(error.to_string()),
    }
}

/// Whose daemon it is: whoever asks, but for root, who may ask for a daemon of another user. That one
/// has its notes.
fn user(state_directory: &Path) -> u32 {
    let own = geteuid();
    match std::fs::metadata(state_directory) {
        Ok(notes) if own.is_root() => notes.uid(),
        _ => own.as_raw(),
    }
}

/// Whether records can go there: as far as that can be told without writing one.
fn audit_file(path: &Path) -> Step {
    let shown = path.display();
    let wrong = |says: String| Step::wrong("audit", says);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let make = format!(
        "make it for the daemon alone: mkdir -m 0700 {}",
        directory.display()
    );
    if let Err(error) = access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        return wrong(format!("{}: {error}", directory.display())).fix(make);
    }
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => {
            return wrong(format!("{shown} is no plain file")).fix("name another audit.path");
        }
        Ok(_) if access(path, Access::WRITE_OK).is_err() => {
            return wrong(format!("{shown} cannot be written")).fix("give it to the daemon's user");
        }
        _ => {}
    }
    match statvfs(directory) {
        Ok(free) if free.f_blocks > 0 && free.f_bavail == 0 => {
            wrong(format!("{shown}: no space is left")).fix("make room, or rotate sooner")
        }
        _ => Step::good("audit", format!("{shown} can be written")),
    }
}

async fn syslog_server(server: &Server) -> Step {
    let (shown, found) = match server {
        Server::Local(path) => {
            let found = tokio::net::UnixDatagram::unbound().and_then(|socket| socket.connect(path));
            (path.display().to_string(), found)
        }
        Server::Tcp(at) | Server::Tls(at) => {
            let shown = format!("{}:{}", at.host, at.port);
            (shown, azure::connects(&at.host, at.port).await)
        }
    };
    match found {
        Ok(()) => Step::good("audit", format!("the syslog server {shown} is there")),
        Err(error) => Step::wrong("audit", format!("the syslog server {shown}: {error}"))
            .fix("start it, or correct audit.syslog"),
    }
}
