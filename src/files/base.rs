//! The directory below which requests get theirs: opened so that no symbolic link is followed at
//! any component, and asked whether it is in memory, whose it is, and how much room it has.

use std::{
    fmt::Write as _,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{Mode, OFlags, Stat, StatVfs},
    io::Errno,
    process::geteuid,
};

use super::{DIRECTORY, Error, HANDLE, Identity, failed, removal};

/// An open directory below which requests get theirs.
#[derive(Clone, Debug)]
pub struct Base {
    path: PathBuf,
    pub(super) directory: Arc<OwnedFd>,
}

impl Base {
    /// Opens a directory that exists; no component of its path may be a symbolic link.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error {
            action: "open the directory",
            path: path.to_owned(),
            source,
        };
        Ok(Self {
            path: path.to_owned(),
            directory: Arc::new(walk(path).map_err(failed)?),
        })
    }

    /// The path that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether what is written here stays in memory: tmpfs and ramfs. (Pages of tmpfs can be
    /// swapped out; SECURITY.md says what follows.)
    pub fn is_memory_backed(&self) -> Result<bool, Error> {
        // From linux/magic.h.
        const TMPFS: u64 = 0x0102_1994;
        const RAMFS: u64 = 0x8584_58f6;
        let status = rustix::fs::fstatfs(&self.directory)
            .map_err(failed("ask for the file system of", &self.path))?;
        let kind = u64::try_from(status.f_type).unwrap_or_default();
        Ok(kind == TMPFS || kind == RAMFS)
    }

    /// Refuses a directory in which somebody else could move or plant things: sticky or not, others
    /// may not write to it, and it is ours or root's.
    pub fn refuse_others(&self) -> Result<(), Error> {
        self.refuse_others_than(geteuid().as_raw())
    }

    /// The same for the daemon of another user.
    pub fn refuse_others_than(&self, uid: u32) -> Result<(), Error> {
        let Stat {
            st_uid, st_mode, ..
        } = self.status()?;
        let problem = if st_uid != uid && st_uid != 0 {
            format!("it belongs to uid {st_uid}; make it this daemon's own, uid {uid}")
        } else if st_mode & 0o022 != 0 {
            let mode = st_mode & 0o7777;
            format!("others than its owner may write to it (mode {mode:04o}); make it 0711")
        } else {
            return Ok(());
        };
        Err(Error {
            action: "trust",
            path: self.path.clone(),
            source: io::Error::other(problem),
        })
    }

    /// Which directory it is.
    #[cfg(feature = "daemon")]
    pub fn identity(&self) -> Result<Identity, Error> {
        let status = self.status()?;
        Ok(Identity {
            device: status.st_dev,
            inode: status.st_ino,
        })
    }

    /// Refuses a directory that its path no longer leads to: nobody would find what is made in it.
    #[cfg(feature = "daemon")]
    pub fn refuse_moved(&self) -> Result<(), Error> {
        if Self::open(&self.path)?.identity()? == self.identity()? {
            return Ok(());
        }
        Err(Error {
            action: "write to",
            path: self.path.clone(),
            source: io::Error::other("another directory is in its place"),
        })
    }

    /// Refuses a directory in which this process could make nothing, or has no room for the
    /// smallest request: a directory and a file. Writes nothing.
    #[cfg(feature = "daemon")]
    pub fn refuse_unwritable(&self) -> Result<(), Error> {
        use rustix::fs::{Access, AtFlags, accessat};

        let access = Access::WRITE_OK | Access::EXEC_OK;
        accessat(&self.directory, ".", access, AtFlags::EACCESS)
            .map_err(failed("write to", &self.path))?;
        self.refuse_full([1, 1].into_iter())
    }

    /// Whether this is a directory of this process's user that others cannot enter.
    pub fn is_ours_alone(&self) -> Result<bool, Error> {
        let status = self.status()?;
        Ok(status.st_uid == geteuid().as_raw() && status.st_mode & 0o7777 == 0o700)
    }

    /// Refuses to begin what cannot be finished: files of these lengths in a directory that is there.
    pub(super) fn refuse_full(&self, lengths: impl Iterator<Item = usize>) -> Result<(), Error> {
        let free = rustix::fs::fstatvfs(&self.directory)
            .map_err(failed("ask for the free space of", &self.path))?;
        let (mut blocks, mut inodes) = (0, 0);
        for length in lengths {
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            blocks += length.div_ceil(free.f_frsize.max(1));
            inodes += 1;
        }
        // A file system without bounds says that it has nothing at all.
        let StatVfs {
            f_blocks,
            f_bavail,
            f_files,
            f_favail,
            ..
        } = free;
        if (f_blocks > 0 && f_bavail < blocks) || (f_files > 0 && f_favail < inodes) {
            return Err(failed("find room for a request in", &self.path)(
                Errno::NOSPC,
            ));
        }
        Ok(())
    }

    /// Deletes a directory that [`Files::keep`](super::Files::keep) named, with whatever the job
    /// put there since. One that is gone is a success.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        self.remove_only(name, None)
    }

    /// The same, if it still is that directory. Deletes for as long as there is something to
    /// delete, within reason.
    pub(super) fn remove_only(&self, name: &str, identity: Option<Identity>) -> Result<(), Error> {
        // Two million entries: more is a job that goes on filling it.
        const MOST_PARTS: u32 = 100;
        for _ in 1..MOST_PARTS {
            match self.remove_part(name, identity) {
                Err(error) if error.is_unfinished() => {}
                done => return done,
            }
        }
        self.remove_part(name, identity)
    }

    /// The same, for a few milliseconds. An error [is unfinished](Error::is_unfinished) when there
    /// is more to delete.
    pub(super) fn remove_part(&self, name: &str, identity: Option<Identity>) -> Result<(), Error> {
        let refused = |problem| Error {
            action: "delete",
            path: self.path.join(name),
            source: io::Error::new(io::ErrorKind::InvalidInput, problem),
        };
        if !is_random_name(name.strip_prefix('.').unwrap_or(name)) {
            return Err(refused("not one of our directories"));
        }
        match removal::remove(&self.directory, name, identity) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::STALE) => Err(refused("another directory has its name")),
            Err(errno) => Err(failed("delete", &self.path.join(name))(errno)),
        }
    }

    /// 16 random bytes in hexadecimal, from the system's generator: a predictable name could be
    /// guessed from the names of other jobs.
    pub(super) fn random_name(&self) -> Result<String, Error> {
        random_name().map_err(failed("find a random name in", &self.path))
    }

    fn status(&self) -> Result<Stat, Error> {
        rustix::fs::fstat(&self.directory).map_err(failed("look at", &self.path))
    }
}

/// Twice the bytes of a random name.
const NAME_LENGTH: usize = 32;

/// Whether it can be the name of a directory of ours.
pub(super) fn is_random_name(name: &str) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.len() == NAME_LENGTH && name.bytes().all(digit)
}

pub(super) fn random_name() -> rustix::io::Result<String> {
    let mut random = [0; NAME_LENGTH / 2];
    getrandom::fill(&mut random).map_err(|_| Errno::IO)?;
    Ok(random.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}

/// Opens a directory from the root, component by component, each by the descriptor of the one
/// before: what `RESOLVE_NO_SYMLINKS` does, on every kernel and under every filter of system calls.
pub(super) fn walk(path: &Path) -> io::Result<OwnedFd> {
    if !path.is_absolute() {
        return Err(io::Error::other("it is no absolute path"));
    }
    let mut at = rustix::fs::open("/", HANDLE, Mode::empty())?;
    let mut walked = PathBuf::from("/");
    for component in path.components() {
        let name = match component {
            Component::Normal(name) => name,
            Component::ParentDir => return Err(io::Error::other("it has a component `..`")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
        };
        walked.push(name);
        at = rustix::fs::openat(&at, name, HANDLE, Mode::empty())
            .map_err(|errno| explain(path, &walked, errno))?;
    }
    Ok(rustix::fs::openat(
        &at,
        ".",
        DIRECTORY.difference(OFlags::NOFOLLOW),
        Mode::empty(),
    )?)
}

/// Says of a symbolic link that it is one, and what to write in its place.
fn explain(path: &Path, walked: &Path, errno: Errno) -> io::Error {
    if !walked.is_symlink() {
        return errno.into();
    }
    let target = path.canonicalize();
    let instead = target.map_or_else(
        |_| "name the directory itself".to_owned(),
        |target| format!("write {}", target.display()),
    );
    io::Error::other(format!(
        "{} is a symbolic link, and none is followed; {instead}",
        walked.display()
    ))
}
