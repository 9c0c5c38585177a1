//! Unix sockets: bound here, or taken from systemd, and who is calling on them.
//!
//! A socket has a directory of its own, because that directory is what containers mount. Beside
//! the directory, where no container looks, lies a lock file: while it is held the socket is live,
//! and once it is not the socket is stale and replaced. The socket appears under its name only when
//! it already listens with its mode and group, so that nobody connects to half of one.

mod peer;

pub use self::peer::Peer;

use std::{
    ffi::OsString,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Gid, Mode, OFlags},
    process::geteuid,
};

use crate::config::Listen;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is another process's.
    #[error("{} is in use by another process; stop that one first, or configure another socket", .0.display())]
    Live(PathBuf),
    /// Something that is no socket has its name.
    #[error("{} exists and is no socket; move it away", .0.display())]
    NoSocket(PathBuf),
    /// The lock file is somebody else's.
    #[error("the lock file {} belongs to uid {uid}; delete it", path.display())]
    ForeignLock {
        /// Where.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// There is no such group.
    #[error("{}: there is no group {group}", socket.display())]
    NoGroup {
        /// Which socket wants it.
        socket: PathBuf,
        /// The name in the configuration.
        group: String,
    },
    /// systemd passed a socket that no `[[listen]]` names.
    #[error("systemd passed the socket {}, which no [[listen]] names", .0.display())]
    Unasked(PathBuf),
    /// The system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A listening socket.
#[derive(Debug)]
pub struct Socket {
    /// Where it is.
    pub path: PathBuf,
    /// What to accept on.
    pub listener: UnixListener,
    /// What is ours to clean up; nothing where the socket is systemd's.
    pub held: Option<Held>,
}

/// The name of a socket and its lock. Dropping it removes the socket's file, if it is still this
/// one, and ends the lock.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    inode: u64,
    _lock: OwnedFd,
}

impl Drop for Held {
    fn drop(&mut self) {
        let still = fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if still && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(socket = %self.path.display(), %error, "the socket stays behind");
        }
    }
}

/// A socket for each of `listens`: those that systemd passed, the others bound.
pub fn open(listens: &[Listen]) -> Result<Vec<Socket>, Error> {
    let mut passed = passed()?;
    let sockets = listens
        .iter()
        .map(
            |listen| match passed.iter().position(|(path, _)| *path == listen.socket) {
                Some(at) => adopt(listen, passed.swap_remove(at)),
                None => bind(listen),
            },
        )
        .collect::<Result<_, _>>()?;
    match passed.pop() {
        Some((path, _)) => Err(Error::Unasked(path)),
        None => Ok(sockets),
    }
}

/// The listening sockets of systemd's protocol (`LISTEN_FDS`, `sd_listen_fds(3)`), by path.
fn passed() -> Result<Vec<(PathBuf, UnixListener)>, Error> {
    let mut sockets = listenfd::ListenFd::from_env();
    let mut passed = Vec::new();
    for index in 0..sockets.len() {
        let listener = sockets.take_unix_listener(index);
        let failed = failed("take the socket of systemd", Path::new("LISTEN_FDS"));
        let Some(listener) = listener.map_err(failed)? else {
            continue;
        };
        let address = listener.local_addr().ok();
        let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
        passed.push((path.unwrap_or_default(), listener));
    }
    Ok(passed)
}

/// Mode and group are the socket unit's then; the operator should know when they differ.
fn adopt(listen: &Listen, (path, listener): (PathBuf, UnixListener)) -> Result<Socket, Error> {
    let mode = fs::metadata(&path)
        .map_err(failed("look at", &path))?
        .mode()
        & 0o777;
    if mode != listen.mode {
        tracing::warn!(
            socket = %path.display(),
            "systemd's SocketMode={mode:04o} counts, not socket_mode = \"{:04o}\"",
            listen.mode
        );
    }
    Ok(Socket {
        path,
        listener,
        held: None,
    })
}

fn bind(listen: &Listen) -> Result<Socket, Error> {
    let path = &listen.socket;
    let (directory, name) = place(path)?;
    fs::create_dir_all(directory).map_err(failed("create", directory))?;
    let lock = lock(path, directory, &name)?;
    refuse_live(path)?;

    let mut new = OsString::from(".new-");
    new.push(&name);
    let new = directory.join(new);
    remove_if_there(&new)?;
    let listener = UnixListener::bind(&new).map_err(failed("bind", path))?;
    let dressed = dress(listen, &new).and_then(|inode| {
        fs::rename(&new, path)
            .map(|()| inode)
            .map_err(failed("create", path))
    });
    let inode = dressed.inspect_err(|_| drop(fs::remove_file(&new)))?;
    Ok(Socket {
        path: path.clone(),
        listener,
        held: Some(Held {
            path: path.clone(),
            inode,
            _lock: lock,
        }),
    })
}

/// Gives the socket its group and then its mode: the other way round, the wrong group could use it
/// for a moment. Gives its inode.
fn dress(listen: &Listen, new: &Path) -> Result<u64, Error> {
    if let Some(group) = &listen.group {
        let gid = gid(&listen.socket, group)?;
        rustix::fs::chown(new, None, Some(gid))
            .map_err(|errno| failed("change the group of", &listen.socket)(errno.into()))?;
    }
    rustix::fs::chmod(new, Mode::from_raw_mode(listen.mode))
        .map_err(|errno| failed("change the mode of", &listen.socket)(errno.into()))?;
    let inode = fs::symlink_metadata(new)
        .map_err(failed("look at", new))?
        .ino();
    Ok(inode)
}

fn gid(socket: &Path, group: &str) -> Result<Gid, Error> {
    if let Ok(number) = group.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = nix::unistd::Group::from_name(group).ok().flatten();
    let found = found.map(|found| Gid::from_raw(found.gid.as_raw()));
    found.ok_or_else(|| Error::NoGroup {
        socket: socket.to_owned(),
        group: group.to_owned(),
    })
}

/// The directory and the name of a socket.
fn place(path: &Path) -> Result<(&Path, OsString), Error> {
    let name = path.file_name().map(ToOwned::to_owned);
    path.parent()
        .zip(name)
        .ok_or_else(|| Error::NoSocket(path.to_owned()))
}

/// Takes the lock beside the socket's directory: `/run/runner-secrets/.api.api.sock.lock` for
/// `/run/runner-secrets/api/api.sock`. In the directory itself, a container that mounts it could
/// take the lock and keep the daemon from starting.
fn lock(path: &Path, directory: &Path, name: &OsString) -> Result<OwnedFd, Error> {
    let beside = directory.parent().unwrap_or(directory);
    let mut file = OsString::from(".");
    file.push(directory.file_name().unwrap_or_default());
    file.push(".");
    file.push(name);
    file.push(".lock");
    let file = beside.join(file);
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let lock = rustix::fs::open(&file, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| failed("open the lock file", &file)(errno.into()))?;
    let status = rustix::fs::fstat(&lock);
    let uid = status
        .map_err(|errno| failed("look at", &file)(errno.into()))?
        .st_uid;
    if uid != geteuid().as_raw() {
        return Err(Error::ForeignLock { path: file, uid });
    }
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::Live(path.to_owned())),
        Err(errno) => Err(failed("lock", &file)(errno.into())),
    }
}

/// With the lock held, a socket of ours is stale. One that somebody answers on is not ours.
fn refuse_live(path: &Path) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", path)(error)),
        Ok(there) if !there.file_type().is_socket() => Err(Error::NoSocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => Err(Error::Live(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("delete", path)(error)),
        _ => Ok(()),
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::System {
        action,
        path,
        source,
    }
}
