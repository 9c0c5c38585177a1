//! A directory on its way: made under a hidden name, filled, given to its owner, and only then
//! renamed to what its readers know. They see no file or the whole file.

use std::{fs::File, io::Write as _, os::fd::OwnedFd, path::PathBuf};

use rustix::{
    fs::{AtFlags, Mode, OFlags, RenameFlags, Uid},
    io::Errno,
    process::geteuid,
};

use super::{Base, DIRECTORY, Error, Files, Identity, failed};
use crate::{name::VariableName, secret::SecretValue};

/// A directory that nobody knows of yet. Dropping it deletes it.
#[derive(Debug)]
#[must_use = "the directory is deleted when this is dropped"]
pub struct Staged {
    files: Files,
    name: String,
    directory: OwnedFd,
}

impl Base {
    /// Writes one file of mode `mode` for each value into a new directory, all of them `owner`'s
    /// where one is given (another user's takes `CAP_CHOWN`). On an error nothing is left behind.
    pub fn materialise<'a>(
        &self,
        mode: u32,
        owner: Option<u32>,
        values: impl Iterator<Item = (&'a VariableName, &'a SecretValue)> + Clone,
    ) -> Result<Files, Error> {
        self.fill(self.stage()?, mode, owner, values)
    }

    /// The same, in a directory that was made before.
    pub fn fill<'a>(
        &self,
        staged: Staged,
        mode: u32,
        owner: Option<u32>,
        values: impl Iterator<Item = (&'a VariableName, &'a SecretValue)> + Clone,
    ) -> Result<Files, Error> {
        self.refuse_full(values.clone().map(|(_, value)| value.expose().len()))?;
        for (variable, value) in values {
            staged.write(variable, value, mode, owner)?;
        }
        staged.publish(owner)
    }

    /// Makes an empty directory under a hidden name.
    pub fn stage(&self) -> Result<Staged, Error> {
        let name = self.random_name()?;
        let hidden = format!(".{name}");
        rustix::fs::mkdirat(&self.directory, &hidden, Mode::RWXU)
            .map_err(failed("create a directory in", self.path()))?;
        let opened = rustix::fs::openat(&self.directory, &hidden, DIRECTORY, Mode::empty())
            .and_then(|directory| Ok((rustix::fs::fstat(&directory)?, directory)));
        let (status, directory) = opened.map_err(|errno| {
            // There is nothing in it yet.
            let _ = rustix::fs::unlinkat(&self.directory, &hidden, AtFlags::REMOVEDIR);
            failed("open a directory in", self.path())(errno)
        })?;
        let files = Files {
            base: self.clone(),
            name: hidden,
            identity: Identity {
                device: status.st_dev,
                inode: status.st_ino,
            },
        };
        Ok(Staged {
            files,
            name,
            directory,
        })
    }
}

impl Staged {
    /// What it will be called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which directory it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.files.identity
    }

    /// Where it will be.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.files.base.path().join(&self.name)
    }

    /// Writes a file of mode `mode` for `owner`.
    pub fn write(
        &self,
        variable: &VariableName,
        value: &SecretValue,
        mode: u32,
        owner: Option<u32>,
    ) -> Result<(), Error> {
        write(
            &self.directory,
            variable,
            value,
            Mode::from_raw_mode(mode),
            owner,
        )
        .map_err(failed("write a file in", self.files.base.path()))
    }

    /// Hands the directory over and gives it its name.
    pub fn publish(mut self, owner: Option<u32>) -> Result<Files, Error> {
        let Files { base, name, .. } = &mut self.files;
        give(&self.directory, owner)
            .map_err(failed("change the owner of a directory in", base.path()))?;
        let (parent, fresh) = (&base.directory, RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(parent, &*name, parent, &self.name, fresh)
            .map_err(failed("rename a directory in", base.path()))?;
        *name = self.name;
        Ok(self.files)
    }
}

fn write(
    directory: &OwnedFd,
    variable: &VariableName,
    value: &SecretValue,
    mode: Mode,
    owner: Option<u32>,
) -> rustix::io::Result<()> {
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
