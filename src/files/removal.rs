//! Deleting a directory in which a job may have done what it likes: as deep, as many, as closed
//! and as quickly changing as it can. No symbolic link is followed and nothing but directories is
//! opened. However deep the tree, what is deep is moved up before it is emptied, so that neither
//! the stack nor the descriptors grow with it.

use std::{
    ffi::CStr,
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, Mode, RenameFlags},
    io::Errno,
    process::geteuid,
};

use super::{HANDLE, Identity, base::random_name};

/// A job may fill its directory with what it likes, and others wait meanwhile: some milliseconds'
/// worth. Whoever asked goes on later.
const MOST_STEPS: u32 = 20_000;

/// Deletes the directory `name` in `parent` and what is in it. [`Errno::STALE`]: it is not the one
/// that is meant. [`Errno::AGAIN`]: a part is done, and it has to be asked for again.
pub(super) fn remove(
    parent: &OwnedFd,
    name: &str,
    identity: Option<Identity>,
) -> rustix::io::Result<()> {
    let handle = rustix::fs::openat(parent, name, HANDLE, Mode::empty())?;
    let status = rustix::fs::fstat(&handle)?;
    let found = Identity {
        device: status.st_dev,
        inode: status.st_ino,
    };
    if identity.is_some_and(|identity| identity != found) {
        return Err(Errno::STALE);
    }
    let top = Ours::take_back(&handle)?;
    top.empty(&mut Steps(MOST_STEPS))?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// How much more may be done.
struct Steps(u32);

impl Steps {
    fn take(&mut self) -> rustix::io::Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(Errno::AGAIN)?;
        Ok(())
    }
}

/// A directory that only we may change.
struct Ours(OwnedFd);

impl Ours {
    /// Takes a directory back that was given away, before anything is done in it: with `CAP_CHOWN`
    /// alone, another user's directory cannot even be read. All of it by one descriptor, so that a
    /// job that swaps things meanwhile has nothing of it.
    fn take_back(handle: &OwnedFd) -> rustix::io::Result<Self> {
        let status = rustix::fs::fstat(handle)?;
        if status.st_uid != geteuid().as_raw() {
            rustix::fs::chownat(handle, "", Some(geteuid()), None, AtFlags::EMPTY_PATH)?;
        }
        if status.st_mode & 0o7777 != 0o700 {
            // A descriptor of this kind takes no fchmod; its entry in /proc leads to the very
            // directory.
            let entry = format!("/proc/self/fd/{}", handle.as_raw_fd());
            rustix::fs::chmod(entry, Mode::RWXU)?;
        }
        let flags = super::DIRECTORY;
        rustix::fs::openat(handle, ".", flags, Mode::empty()).map(Self)
    }

    /// Takes back a directory in this one; `None` where there is none of that name.
    fn enter(&self, name: &CStr) -> rustix::io::Result<Option<Self>> {
        match rustix::fs::openat(&self.0, name, HANDLE, Mode::empty()) {
            Ok(handle) => Self::take_back(&handle).map(Some),
            // A link or a file by now: the next round deletes it.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Deletes what is in it, round by round until nothing is found.
    fn empty(&self, steps: &mut Steps) -> rustix::io::Result<()> {
        while self.each(steps, |child, steps| {
            let Some(directory) = self.enter(child)? else {
                return Ok(());
            };
            directory.each(steps, |grandchild, _| self.raise(&directory, grandchild))?;
            match rustix::fs::unlinkat(&self.0, child, AtFlags::REMOVEDIR) {
                // It may have been filled again, until it was taken back.
                Err(Errno::NOTEMPTY | Errno::NOENT | Errno::NOTDIR) => Ok(()),
                done => done,
            }
        })? {}
        Ok(())
    }

    /// Moves a directory up to this one, where it is emptied in its turn.
    fn raise(&self, from: &Self, name: &CStr) -> rustix::io::Result<()> {
        // A directory that moves has to be ours, as its `..` changes.
        if from.enter(name)?.is_none() {
            return Ok(());
        }
        let fresh = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&from.0, name, &self.0, random_name()?, fresh) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }

    /// Deletes every entry that is no directory, and calls `deeper` for those that are. Gives
    /// whether there was any entry.
    fn each(
        &self,
        steps: &mut Steps,
        mut deeper: impl FnMut(&CStr, &mut Steps) -> rustix::io::Result<()>,
    ) -> rustix::io::Result<bool> {
        let mut any = false;
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            any = true;
            steps.take()?;
            match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
                Err(Errno::ISDIR) => deeper(name, steps)?,
                Err(Errno::NOENT) | Ok(()) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(any)
    }
}
