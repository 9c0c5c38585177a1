//! The directories for files and for notes, if they will do, and whether the daemon may do there
//! what it has to. Refuses at the start what would fail, or isolate nobody, with every job.

use std::path::PathBuf;

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};

use crate::{
    config::{Config, Delivery, Listen},
    files::{self, Base, note::Notes},
    provide::Place,
};

/// Why files cannot be delivered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory for files cannot be used.
    #[error("files.directory: {0}")]
    Files(files::Error),
    /// Secrets would be written to a disk.
    #[error("files.directory: {} is neither tmpfs nor ramfs, so secrets would be written to a disk; mount a tmpfs there, or set require_memory_backed = false", .0.display())]
    OnDisk(PathBuf),
    /// The directory for notes cannot be used.
    #[error("files.state_directory: {0}")]
    State(files::Error),
    /// Files cannot be given to the users that may call.
    #[error(
        "this daemon runs as uid {0} without the capability CAP_CHOWN, so it cannot give files to their jobs' users: start it with CAP_CHOWN, or set allowed_uids = [{0}] in every [[listen]] with delivery = \"files\""
    )]
    Owner(u32),
}

/// The place for files and that for notes; `None` where every listener delivers inline.
pub(super) fn open(config: &Config) -> Result<Option<(Place, Notes)>, Error> {
    let delivers = |listen: &&Listen| listen.delivery == Delivery::Files;
    let listeners: Vec<&Listen> = config.listeners.iter().filter(delivers).collect();
    if listeners.is_empty() {
        return Ok(None);
    }
    let files = &config.files;
    let base = Base::open(&files.directory).map_err(Error::Files)?;
    if files.require_memory_backed && !base.is_memory_backed().map_err(Error::Files)? {
        return Err(Error::OnDisk(files.directory.clone()));
    }
    base.refuse_others().map_err(Error::Files)?;
    refuse_strangers(&listeners)?;
    // What a request does, with nothing in it: better that this fails than the first job.
    drop(base.stage().map_err(Error::Files)?);
    let notes = Notes::open(&files.state_directory).map_err(Error::State)?;
    let place = Place {
        base,
        mode: files.mode,
        max_ttl: files.max_ttl,
        owner_grace: files.owner_grace,
    };
    Ok(Some((place, notes)))
}

/// Without the right to give files away, the daemon serves its own user or nobody.
fn refuse_strangers(listeners: &[&Listen]) -> Result<(), Error> {
    // Where the system does not say, there is none.
    let effective = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    if effective.contains(CapabilitySet::CHOWN) {
        return Ok(());
    }
    let uid = geteuid().as_raw();
    if !listeners.iter().all(|listen| listen.allowed_uids == [uid]) {
        return Err(Error::Owner(uid));
    }
    tracing::warn!(
        uid,
        "without CAP_CHOWN all files are this user's, and nothing is isolated from it: each of its \
         processes can read and change the files of every job, and the daemon's notes"
    );
    Ok(())
}
