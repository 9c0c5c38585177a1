//! Secrets as files: one directory of mode 0700 and unguessable name for a request, one file for a
//! variable, exactly the secret's bytes. All of them appear at once or none do, and they are
//! deleted when [`Files`] is dropped unless somebody took on to do that later. The daemon and, with
//! inline delivery, the client use this same code.
//!
//! Everything happens below an open directory, by descriptor: no path is looked up twice, and no
//! symbolic link is followed.

mod base;
#[cfg(feature = "daemon")]
pub mod lease;
#[cfg(feature = "daemon")]
pub mod moment;
#[cfg(feature = "daemon")]
pub mod note;
#[cfg(feature = "daemon")]
pub mod owner;
mod removal;
mod staged;
#[cfg(feature = "daemon")]
pub mod sweep;

use std::{
    io,
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, io::Errno};

pub use self::{base::Base, staged::Staged};
use crate::name::VariableName;

/// What could not be done, where, and why.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct Error {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Error {
    /// Whether there was only too much to do at once.
    fn is_unfinished(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }
}

/// Which directory it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The file system.
    pub device: u64,
    /// The directory's number in it.
    pub inode: u64,
}

/// The files of one request. Dropping this deletes them.
#[derive(Debug)]
#[must_use = "the files are deleted when this is dropped"]
pub struct Files {
    base: Base,
    /// Empty when they are gone, or somebody else's to delete.
    name: String,
    identity: Identity,
}

impl Files {
    /// Those in a directory that an earlier process made; none where the name is empty.
    #[cfg(feature = "daemon")]
    fn found(base: &Base, name: &str, identity: Identity) -> Self {
        Self {
            base: base.clone(),
            name: name.to_owned(),
            identity,
        }
    }

    /// The directory that holds them.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.base.path().join(&self.name)
    }

    /// The file of a variable.
    #[must_use]
    pub fn path(&self, variable: &VariableName) -> PathBuf {
        self.directory().join(variable.as_str())
    }

    /// How many there seem to be: the directory is its job's by now.
    #[cfg(feature = "daemon")]
    fn count(&self) -> usize {
        // More than any request asks for.
        const MOST: usize = 1000;
        let entries = std::fs::read_dir(self.directory());
        entries.map_or(0, |entries| entries.take(MOST).count())
    }

    /// Leaves the files where they are and gives the directory's name, for [`Base::remove`].
    #[must_use = "somebody has to delete them"]
    pub fn keep(mut self) -> String {
        std::mem::take(&mut self.name)
    }

    /// Deletes the files now. What is left after an error goes when this is dropped, or at the next
    /// attempt.
    pub fn delete(&mut self) -> Result<(), Error> {
        self.delete_by(Base::remove_only)
    }

    /// The same, for a few milliseconds at most.
    #[cfg(feature = "daemon")]
    fn delete_part(&mut self) -> Result<(), Error> {
        self.delete_by(Base::remove_part)
    }

    fn delete_by(
        &mut self,
        remove: fn(&Base, &str, Option<Identity>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.name.is_empty() {
            remove(&self.base, &self.name, Some(self.identity))?;
            self.name.clear();
        }
        Ok(())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Err(error) = self.delete() {
            tracing::error!(error = %error, "secrets are left behind");
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory to look at and to go through, not to read.
const HANDLE: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

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
