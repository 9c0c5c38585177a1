//! What the daemon remembers of a lease beyond its own life: one small file for each, in a directory
//! that nobody else can enter, complete before there is any secret to remember and removed after
//! the last one is gone. It holds what the next daemon needs to delete the files or to take the
//! lease over, and never a value. A note that is torn, strange or somebody else's is not trusted.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, Stat},
    io::Errno,
    process::geteuid,
};
use serde::{Deserialize, Serialize};

use super::{
    Base, Error, Identity,
    base::{is_random_name, walk},
    failed, owner,
};

/// What is known of a lease. All of it is needed, nothing else is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    version: u32,
    /// The directory's name, once it has been published.
    pub directory: String,
    /// The file system that it is in.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// The boot in which the times below count.
    pub boot: String,
    /// When the lease ends, in milliseconds since that boot.
    pub until_ms: u64,
    /// The process that it ends with.
    pub owner: Option<Owner>,
    /// The lease's id.
    pub lease: String,
    /// The request that it was granted for.
    pub request: String,
    /// The user whose files they are.
    pub uid: u32,
    /// With the next two, the job that may release them.
    pub issuer: String,
    /// See above.
    pub project_id: String,
    /// See above.
    pub job_id: String,
}

/// The process that a lease ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// Its number.
    pub pid: i32,
    /// When it started.
    pub started: u64,
    /// How long the files stay after it.
    pub grace_ms: u64,
}

impl Note {
    /// The form of the notes that this program writes, and the only one that it reads.
    pub const VERSION: u32 = 1;

    /// A note on a directory, in this boot. The rest is for the caller to fill in.
    #[must_use]
    pub fn new(notes: &Notes, directory: &str, identity: Identity) -> Self {
        Self {
            version: Self::VERSION,
            directory: directory.to_owned(),
            device: identity.device,
            inode: identity.inode,
            boot: notes.boot.clone(),
            until_ms: 0,
            owner: None,
            lease: String::new(),
            request: String::new(),
            uid: 0,
            issuer: String::new(),
            project_id: String::new(),
            job_id: String::new(),
        }
    }

    /// Which directory it is about.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            device: self.device,
            inode: self.inode,
        }
    }
}

impl Owner {
    /// A process, and how long the files stay after it.
    #[must_use]
    pub fn new(identity: owner::Identity, grace: Duration) -> Self {
        let owner::Identity { pid, started } = identity;
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        Self {
            pid,
            started,
            grace_ms,
        }
    }

    /// Which process it is.
    #[must_use]
    pub fn identity(self) -> owner::Identity {
        let Self { pid, started, .. } = self;
        owner::Identity { pid, started }
    }

    /// How long the files stay after it.
    #[must_use]
    pub fn grace(self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }
}

/// The directory of the notes, which this daemon alone uses.
#[derive(Clone, Debug)]
pub struct Notes {
    path: PathBuf,
    /// Locked as long as it is open.
    directory: Arc<OwnedFd>,
    boot: String,
}

/// A note that was written. Dropping this removes it, unless it is [kept](Self::keep).
#[derive(Debug)]
#[must_use = "the note is removed when this is dropped"]
pub struct Noted {
    notes: Notes,
    note: Note,
    kept: bool,
}

/// A file among the notes that is none.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct Strange {
    path: PathBuf,
    problem: String,
}

/// More than the claims of any token can fill.
const MOST_BYTES: u64 = 64 * 1024;

const SUFFIX: &str = ".json";

impl Notes {
    /// Opens the directory, makes it if there is none, and locks it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed("create", path)(errno)),
        }
        let error = |action, source| Error {
            action,
            path: path.to_owned(),
            source,
        };
        let directory = walk(path).map_err(|source| error("open the directory", source))?;
        let status = rustix::fs::fstat(&directory).map_err(failed("look at", path))?;
        refuse_others(&status).map_err(|source| error("trust", source))?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let problem = "another daemon uses it; give each a directory of its own";
                return Err(error("lock", io::Error::other(problem)));
            }
            Err(errno) => return Err(failed("lock", path)(errno)),
        }
        let boot = Path::new("/proc/sys/kernel/random/boot_id");
        let id = fs::read_to_string(boot).map_err(|source| Error {
            action: "read",
            path: boot.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            directory: Arc::new(directory),
            boot: id.trim().to_owned(),
        })
    }

    /// Whether `directory` is where they are kept.
    pub fn are_in(&self, directory: &Base) -> Result<bool, Error> {
        let status = rustix::fs::fstat(&self.directory).map_err(failed("look at", &self.path))?;
        let identity = Identity {
            device: status.st_dev,
            inode: status.st_ino,
        };
        Ok(directory.identity()? == identity)
    }

    /// The boot that we are in.
    #[must_use]
    pub fn boot(&self) -> &str {
        &self.boot
    }

    /// Writes a note: all of it, or none.
    pub fn write(&self, note: Note) -> Result<Noted, Error> {
        let noted = Noted {
            notes: self.clone(),
            note,
            kept: false,
        };
        noted.write()?;
        Ok(noted)
    }

    /// All notes that an earlier daemon left, and what is none of its notes. Half-written ones are
    /// removed: what they are about was never begun.
    pub fn read(&self) -> Result<Vec<Result<Noted, Strange>>, Error> {
        let mut found = Vec::new();
        let failed = |errno| failed("read", &self.path)(errno);
        for entry in Dir::read_from(&self.directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_suffix(SUFFIX) {
                None if matches!(name.as_str(), "." | "..") => {}
                Some(hidden) if hidden.strip_prefix('.').is_some_and(is_random_name) => {
                    let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
                }
                Some(directory) if is_random_name(directory) => found.push(self.one(directory)),
                _ => found.push(Err(self.strange(&name, "is no note"))),
            }
        }
        Ok(found)
    }

    fn one(&self, directory: &str) -> Result<Noted, Strange> {
        let name = format!("{directory}{SUFFIX}");
        let strange = |problem: &str| self.strange(&name, problem);
        let text = self
            .text(&name)
            .map_err(|error| strange(&error.to_string()))?;
        let note: Note = serde_json::from_slice(&text)
            .map_err(|error| strange(&format!("is no note: {error}")))?;
        if note.version != Note::VERSION {
            return Err(strange(&format!("has the version {}", note.version)));
        }
        if note.directory != directory || !is_random_name(&note.lease) {
            return Err(strange("is about something else than its name says"));
        }
        Ok(Noted {
            notes: self.clone(),
            note,
            kept: false,
        })
    }

    fn text(&self, name: &str) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(
            &self.directory,
            name,
            flags,
            Mode::empty(),
        )?);
        let status = rustix::fs::fstat(&file)?;
        refuse_others(&status)?;
        if !file.metadata()?.is_file() || status.st_nlink != 1 {
            return Err(io::Error::other("is no regular file of one name"));
        }
        let mut text = Vec::new();
        file.take(MOST_BYTES + 1).read_to_end(&mut text)?;
        if u64::try_from(text.len()).is_ok_and(|length| length <= MOST_BYTES) {
            Ok(text)
        } else {
            Err(io::Error::other(format!(
                "has more than {MOST_BYTES} bytes"
            )))
        }
    }

    fn strange(&self, name: &str, problem: &str) -> Strange {
        Strange {
            path: self.path.join(name),
            problem: problem.to_owned(),
        }
    }
}

impl Noted {
    /// What it says.
    #[must_use]
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// Writes it again with an earlier end, which the owner's end has brought.
    pub fn bring_forward(&mut self, until_ms: u64) -> Result<(), Error> {
        self.note.until_ms = until_ms;
        self.note.owner = None;
        self.write()
    }

    /// Leaves the note to the next daemon.
    pub fn keep(mut self) {
        self.kept = true;
    }

    fn write(&self) -> Result<(), Error> {
        let Notes {
            path, directory, ..
        } = &self.notes;
        let name = self.name();
        let hidden = format!(".{name}");
        let text = serde_json::to_vec(&self.note).map_err(|error| Error {
            action: "write a note in",
            path: path.clone(),
            source: error.into(),
        })?;
        let written = write(directory, &hidden, &text)
            .and_then(|()| rustix::fs::renameat(directory, &hidden, directory, &name));
        written.map_err(|errno| {
            let _ = rustix::fs::unlinkat(directory, &hidden, AtFlags::empty());
            failed("write a note in", path)(errno)
        })
    }

    fn name(&self) -> String {
        format!("{}{SUFFIX}", self.note.directory)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let name = self.name();
        match rustix::fs::unlinkat(&self.notes.directory, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                let path = self.notes.path.join(name);
                tracing::warn!(path = %path.display(), error = %errno, "a note stays behind");
            }
        }
    }
}

fn write(directory: &OwnedFd, name: &str, text: &[u8]) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?;
    let written = File::from(file).write_all(text);
    written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Not even root's: whoever can write here decides what the next daemon deletes.
fn refuse_others(status: &Stat) -> io::Result<()> {
    let (uid, own) = (status.st_uid, geteuid());
    if uid != own.as_raw() {
        let problem =
            format!("it belongs to uid {uid}, and has to be this daemon's own, uid {own}");
        return Err(io::Error::other(problem));
    }
    if status.st_mode & 0o022 != 0 {
        let mode = status.st_mode & 0o7777;
        let problem =
            format!("others than its owner may write to it (mode {mode:04o}); make it 0700");
        return Err(io::Error::other(problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
