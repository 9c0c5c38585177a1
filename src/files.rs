//! Secrets as files: one directory of mode 0700 and unguessable name for a request, one file for a
//! variable, exactly the secret's bytes. All of them appear at once or none do, and they are
//! deleted when [`Files`] is dropped unless somebody took on to do that later. The daemon and, with
//! inline delivery, the client use this same code.
//!
//! Everything happens below an open directory, by descriptor: no path is looked up twice, and no
//! symbolic link is followed.

#[cfg(feature = "daemon")]
pub mod lease;
#[cfg(feature = "daemon")]
pub mod owner;

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, Uid},
    io::Errno,
    process::geteuid,
};

use crate::{name::VariableName, secret::SecretValue};

/// What could not be done, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// An open directory below which requests get theirs.
#[derive(Clone, Debug)]
pub struct Base {
    path: PathBuf,
    directory: Arc<OwnedFd>,
}

impl Base {
    /// Opens a directory that exists; the last component may not be a symbolic link.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let opened = rustix::fs::open(path, DIRECTORY, Mode::empty());
        Ok(Self {
            path: path.to_owned(),
            directory: Arc::new(opened.map_err(failed("open the directory", path))?),
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

    /// Writes one file of mode `mode` for each value into a new directory, all of them `owner`'s
    /// where one is given (another user's takes `CAP_CHOWN`). On an error nothing is left behind.
    pub fn materialise<'a>(
        &self,
        mode: u32,
        owner: Option<u32>,
        values: impl Iterator<Item = (&'a VariableName, &'a SecretValue)>,
    ) -> Result<Files, Error> {
        let name = self.random_name()?;
        // Readers know only the final name, so they see no file or the whole file.
        let staged = format!(".{name}");
        rustix::fs::mkdirat(&self.directory, &staged, Mode::RWXU)
            .map_err(failed("create a directory in", &self.path))?;
        let mut files = Files {
            base: self.clone(),
            name: staged,
        };
        let directory = files.open()?;
        for (variable, value) in values {
            write(&directory, variable, value, mode, owner)
                .map_err(failed("write a file in", &self.path))?;
        }
        give(&directory, owner)
            .map_err(failed("change the owner of a directory in", &self.path))?;
        rustix::fs::renameat_with(
            &self.directory,
            &files.name,
            &self.directory,
            &name,
            RenameFlags::NOREPLACE,
        )
        .map_err(failed("rename a directory in", &self.path))?;
        files.name = name;
        Ok(files)
    }

    /// 16 random bytes in hexadecimal.
    fn random_name(&self) -> Result<String, Error> {
        random_name().map_err(|source| Error {
            action: "find a random name in",
            path: self.path.clone(),
            source,
        })
    }

    /// Deletes a directory that [`Files::keep`] named, with whatever the job put there since. One
    /// that is gone is a success.
    pub fn remove(&self, name: &str) -> Result<(), Error> {
        let ours = name.strip_prefix('.').unwrap_or(name);
        if ours.len() != NAME_LENGTH || !ours.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error {
                action: "delete",
                path: self.path.join(name),
                source: io::Error::new(io::ErrorKind::InvalidInput, "not one of our directories"),
            });
        }
        let mut budget = MOST_ENTRIES;
        match remove_tree(&self.directory, name, DEEPEST, &mut budget) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed("delete", &self.path.join(name))(errno)),
        }
    }
}

/// The files of one request. Dropping this deletes them.
#[derive(Debug)]
#[must_use = "the files are deleted when this is dropped"]
pub struct Files {
    base: Base,
    name: String,
}

impl Files {
    /// The directory that holds them.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.path.join(&self.name)
    }

    /// The file of a variable.
    #[must_use]
    pub fn path(&self, variable: &VariableName) -> PathBuf {
        self.directory().join(variable.as_str())
    }

    /// Leaves the files where they are and gives the directory's name, for [`Base::remove`].
    #[must_use = "somebody has to delete them"]
    pub fn keep(mut self) -> String {
        std::mem::take(&mut self.name)
    }

    fn open(&self) -> Result<OwnedFd, Error> {
        rustix::fs::openat(&self.base.directory, &self.name, DIRECTORY, Mode::empty())
            .map_err(failed("open a directory in", &self.base.path))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if self.name.is_empty() {
            return;
        }
        if let Err(error) = self.base.remove(&self.name) {
            tracing::error!(error = %error, "secrets are left behind");
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// 16 random bytes in hexadecimal.
const NAME_LENGTH: usize = 32;

/// A job may fill its directory with what it likes; deleting must end all the same.
const MOST_ENTRIES: u32 = 100_000;
const DEEPEST: u32 = 32;

/// From the system's generator: a predictable name could be guessed from the names of other jobs.
fn random_name() -> io::Result<String> {
    let mut random = [0; NAME_LENGTH / 2];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().fold(String::new(), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    }))
}

fn write(
    directory: &OwnedFd,
    variable: &VariableName,
    value: &SecretValue,
    mode: u32,
    owner: Option<u32>,
) -> rustix::io::Result<()> {
    let mode = Mode::from_raw_mode(mode);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, variable.as_str(), flags, mode)?;
    // The process's umask took its bits from the mode above.
    rustix::fs::fchmod(&file, mode)?;
    give(&file, owner)?;
    let written = File::from(file).write_all(value.expose());
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Makes a file or directory `owner`'s, if it is not already.
fn give(file: &OwnedFd, owner: Option<u32>) -> rustix::io::Result<()> {
    let theirs = owner.filter(|owner| *owner != geteuid().as_raw());
    theirs.map_or(Ok(()), |owner| {
        rustix::fs::fchown(file, Some(Uid::from_raw(owner)), None)
    })
}

/// Opens a directory to delete what is in it. One that was given away is taken back first: with
/// `CAP_CHOWN` alone, another user's directory cannot even be read. All of it by one descriptor, so
/// that a job that swaps things meanwhile has nothing of it.
fn reclaim<Name: rustix::path::Arg + Copy>(
    parent: &OwnedFd,
    name: Name,
) -> rustix::io::Result<OwnedFd> {
    match rustix::fs::openat(parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {}
        opened => return opened,
    }
    let handle = DIRECTORY.difference(OFlags::RDONLY).union(OFlags::PATH);
    let handle = rustix::fs::openat(parent, name, handle, Mode::empty())?;
    rustix::fs::chownat(&handle, "", Some(geteuid()), None, AtFlags::EMPTY_PATH)?;
    // A descriptor of this kind takes no fchmod; its entry in /proc leads to the very directory.
    let entry = format!("/proc/self/fd/{}", handle.as_raw_fd());
    rustix::fs::chmod(entry, Mode::RWXU)?;
    rustix::fs::openat(&handle, ".", DIRECTORY, Mode::empty())
}

/// Deletes `name` in `parent`, and below it what is there, to a depth and a number of entries.
fn remove_tree<Name: rustix::path::Arg + Copy>(
    parent: &OwnedFd,
    name: Name,
    depth: u32,
    budget: &mut u32,
) -> rustix::io::Result<()> {
    let directory = reclaim(parent, name)?;
    for entry in rustix::fs::Dir::read_from(&directory)? {
        let entry = entry?;
        let child = entry.file_name();
        if matches!(child.to_bytes(), b"." | b"..") {
            continue;
        }
        *budget = budget.checked_sub(1).ok_or(Errno::TOOBIG)?;
        match rustix::fs::unlinkat(&directory, child, AtFlags::empty()) {
            Err(Errno::ISDIR) => {
                let depth = depth.checked_sub(1).ok_or(Errno::LOOP)?;
                remove_tree(&directory, child, depth, budget)?;
            }
            done => done?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Error {
    let path = path.to_owned();
    move |errno| Error {
        action,
        path,
        source: errno.into(),
    }
}

#[cfg(test)]
mod tests;
