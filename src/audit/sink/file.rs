//! The file: opened so that nobody else can put another one in its place unnoticed, only ever
//! appended to, never cut or rewritten. It decides whether what lies at the path is ours to go on
//! with; what a record says is none of its business.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat},
    io::Errno,
    process::geteuid,
};

use super::tail::{self, Tail};
use crate::config::audit::stem;

/// Why the file cannot be used, as a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{} {problem}", path.display())]
    Unfit {
        /// Which file or directory.
        path: PathBuf,
        /// What is wrong and what to do, as the end of the sentence.
        problem: &'static str,
    },
}

/// A file that is open, locked and ours.
#[derive(Debug)]
pub(crate) struct Open {
    path: PathBuf,
    file: File,
    identity: Identity,
    /// How long it is.
    pub(crate) size: u64,
}

/// What was at the path.
#[derive(Debug)]
pub(crate) enum Found {
    /// Nothing, or a file without a byte.
    Empty(Open),
    /// A trail whose header has this number.
    Trail(Open, u64, Tail),
}

/// Which file a name leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(status: &Stat) -> Self {
        Self {
            device: status.st_dev,
            inode: status.st_ino,
        }
    }
}

/// Read by a group of auditors, written by nobody else.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP);

impl Found {
    /// Opens what is at `path`, or makes it. Nothing here waits: a FIFO is refused, not opened for
    /// somebody to come.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let directory = directory(path);
        fit_directory(directory)?;
        let flags = OFlags::RDWR
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK
            | OFlags::NOCTTY;
        let opened = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT) => {
                let flags = flags | OFlags::CREATE | OFlags::EXCL;
                let made = rustix::fs::open(path, flags, MODE).map_err(failed("create", path))?;
                // The process's umask took its bits from the mode above.
                rustix::fs::fchmod(&made, MODE).map_err(failed("set the mode of", path))?;
                sync_directory(directory)?;
                made
            }
            Err(Errno::LOOP) => return Err(unfit(path, IS_A_LINK)),
            Err(Errno::NXIO) => return Err(unfit(path, IS_NO_FILE)),
            opened => opened.map_err(failed("open", path))?,
        };
        let status = rustix::fs::fstat(&opened).map_err(failed("look at", path))?;
        fit_file(path, &status)?;
        lock(path, &opened)?;
        let open = Open {
            path: path.to_owned(),
            file: File::from(opened),
            identity: Identity::of(&status),
            size: u64::try_from(status.st_size).unwrap_or_default(),
        };
        if open.size == 0 {
            return Ok(Self::Empty(open));
        }
        let foreign = || unfit(path, IS_FOREIGN);
        let (first, last) = open.ends().map_err(failed_io("read", path))?;
        Ok(Self::Trail(
            open,
            first.ok_or_else(foreign)?,
            last.ok_or_else(foreign)?,
        ))
    }
}

impl Open {
    /// Whether the path still leads to this file and the daemon could still open it.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let path = &self.path;
        let status = match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Err(unfit(path, IS_GONE)),
            status => status.map_err(failed("look at", path))?,
        };
        if Identity::of(&status) != self.identity || status.st_nlink == 0 {
            return Err(unfit(path, IS_ANOTHER));
        }
        if u64::try_from(status.st_size) != Ok(self.size) {
            return Err(unfit(path, IS_CHANGED));
        }
        fit_file(path, &status)?;
        rustix::fs::accessat(
            CWD,
            path,
            Access::READ_OK | Access::WRITE_OK,
            AtFlags::EACCESS,
        )
        .map_err(failed("write to", path))
    }

    /// Whether its file system has any room left for this process.
    pub(crate) fn room(&self) -> Result<(), Error> {
        let free = rustix::fs::fstatvfs(&self.file).map_err(failed("look at", &self.path))?;
        // Blocks that are set aside are root's.
        let blocks = if geteuid().is_root() {
            free.f_bfree
        } else {
            free.f_bavail
        };
        // A file system without bounds says that it has no blocks at all.
        if free.f_blocks > 0 && blocks == 0 {
            return Err(failed("find room for a record in", &self.path)(
                Errno::NOSPC,
            ));
        }
        Ok(())
    }

    /// Appends the bytes. On an error some of them may be there.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.file.write_all(bytes);
        written.map_err(failed_io("write to", &self.path))?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Returns when what was appended is on disk. After an error nobody can tell what is.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        let synced = self.file.sync_data();
        synced.map_err(failed_io("write to the disk what is in", &self.path))
    }

    /// Its last intact record, wherever the file may be now.
    pub(crate) fn tail(&self) -> io::Result<Option<Tail>> {
        tail::last(&self.file, self.file.metadata()?.len())
    }

    fn ends(&self) -> io::Result<(Option<u64>, Option<Tail>)> {
        let first = tail::header(&self.file, self.size)?;
        Ok((first, tail::last(&self.file, self.size)?))
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The name that it has by now, as far as that can be told.
    pub(crate) fn name(&self) -> Option<String> {
        let status = rustix::fs::fstat(self.file.as_fd()).ok()?;
        let entry = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let path = std::fs::read_link(entry).ok()?;
        let name = path.file_name()?.to_str()?;
        (status.st_nlink > 0).then(|| name.to_owned())
    }

    /// Gives the file the name of a full one whose header has the number `first`; gives the name.
    pub(crate) fn retire(&self, first: u64) -> Result<String, Error> {
        let path = &self.path;
        let name = full_name(path, first);
        let to = path.with_file_name(&name);
        match rustix::fs::renameat_with(CWD, path, CWD, &to, RenameFlags::NOREPLACE) {
            // NFS does not know the flag; a second name is never made over another file either.
            Err(Errno::INVAL) => {
                rustix::fs::linkat(CWD, path, CWD, &to, AtFlags::empty())
                    .map_err(failed("rename", path))?;
                rustix::fs::unlink(path).map_err(failed("rename", path))?;
            }
            renamed => renamed.map_err(failed("rename", path))?,
        }
        sync_directory(directory(path))?;
        Ok(name)
    }
}

/// The name of a full file.
pub(crate) fn full_name(path: &Path, first: u64) -> String {
    format!("{}-{first:012}.jsonl", stem(path).unwrap_or("audit"))
}

/// The directory of the file.
pub(crate) fn directory(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Only one daemon goes on with a chain. The lock goes with the file's descriptor.
fn lock(path: &Path, file: &std::os::fd::OwnedFd) -> Result<(), Error> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Err(unfit(path, IS_IN_USE)),
        locked => locked.map_err(failed("lock", path)),
    }
}

fn fit_directory(path: &Path) -> Result<(), Error> {
    let status = match rustix::fs::stat(path) {
        Err(Errno::NOENT) => return Err(unfit(path, IS_MISSING)),
        status => status.map_err(failed("look at", path))?,
    };
    if FileType::from_raw_mode(status.st_mode) != FileType::Directory {
        return Err(unfit(path, IS_MISSING));
    }
    if is_ours(&status) {
        Ok(())
    } else {
        Err(unfit(path, IS_OPEN_TO_OTHERS))
    }
}

fn fit_file(path: &Path, status: &Stat) -> Result<(), Error> {
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(unfit(path, IS_NO_FILE));
    }
    if is_ours(status) {
        Ok(())
    } else {
        Err(unfit(path, IS_OPEN_TO_OTHERS))
    }
}

/// Whether nobody but root and the daemon's user can write there.
fn is_ours(status: &Stat) -> bool {
    let owner = status.st_uid == 0 || status.st_uid == geteuid().as_raw();
    let others = Mode::from_raw_mode(status.st_mode).intersects(Mode::WGRP | Mode::WOTH);
    owner && !others
}

/// A name is in a directory for good when the directory is on disk.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(path, flags, Mode::empty()).map_err(failed("open", path))?;
    rustix::fs::fsync(directory).map_err(failed("write to the disk what is in", path))
}

const IS_A_LINK: &str = "is a symbolic link; name the file that it leads to";
const IS_ANOTHER: &str = "is another file than the daemon writes to: it was replaced";
const IS_CHANGED: &str =
    "has another length than the daemon has written: it was cut, or somebody else writes to it";
const IS_FOREIGN: &str = "holds something else than the daemon's audit trail; move it away";
const IS_GONE: &str = "is gone: it was deleted or renamed";
const IS_IN_USE: &str = "is in use by another process, which has locked it";
const IS_MISSING: &str =
    "is no directory; make it for the daemon alone: install -d -m 0750 -o USER DIRECTORY";
const IS_NO_FILE: &str = "is no regular file; move it away";
const IS_OPEN_TO_OTHERS: &str =
    "belongs to another user, or others may write to it: chown it to the daemon's, chmod go-w";

pub(crate) fn unfit(path: &Path, problem: &'static str) -> Error {
    Error::Unfit {
        path: path.to_owned(),
        problem,
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    let failed = failed_io(action, path);
    |errno| failed(errno.into())
}

fn failed_io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::System {
        action,
        path,
        source,
    }
}
