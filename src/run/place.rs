//! The directories for files and for notes, if they will do, and whether the daemon may do there
//! what it has to. Refuses at the start what would fail, or isolate nobody, with every job.

use std::{path::PathBuf, sync::RwLock};

use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};

use crate::{
    config::{Config, Delivery, Files, Listen},
    files::{self, Base, lease::Leases, note::Notes},
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
    /// The directory for notes is not the one that was locked.
    #[error("files.state_directory: {} is another directory than this daemon's: it was replaced; restart the daemon", .0.display())]
    Replaced(PathBuf),
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
    let base = fit(files)?;
    refuse_strangers(&listeners)?;
    // What a request does, with nothing in it: better that this fails than the first job.
    drop(base.stage().map_err(Error::Files)?);
    let notes = Notes::open(&files.state_directory).map_err(Error::State)?;
    let place = Place {
        base: RwLock::new(base),
        mode: files.mode,
        max_ttl: files.max_ttl,
        owner_grace: files.owner_grace,
    };
    Ok(Some((place, notes)))
}

/// Whether files could be written now. Where another directory is at the path that will do as well,
/// files go there from now on: a directory that was removed and made again, or mounted anew, needs
/// no restart. Writes nothing.
pub(super) fn look(files: &Files, place: &Place, leases: &Leases) -> Result<(), Error> {
    let base = fit(files)?;
    base.refuse_unwritable().map_err(Error::Files)?;
    let identity = base.identity().map_err(Error::Files)?;
    if place.base().identity().map_err(Error::Files)? != identity {
        tracing::warn!(directory = %files.directory.display(), "files.directory is another one than before: files go there from now on");
        place.move_to(base);
    }
    let state = Base::open(&files.state_directory).map_err(Error::State)?;
    state.refuse_unwritable().map_err(Error::State)?;
    match leases.notes() {
        Some(notes) if !notes.are_in(&state).map_err(Error::State)? => {
            Err(Error::Replaced(files.state_directory.clone()))
        }
        _ => Ok(()),
    }
}

/// The directory for files, if it is what the operator wants and what nobody else can change.
fn fit(files: &Files) -> Result<Base, Error> {
    let base = Base::open(&files.directory).map_err(Error::Files)?;
    if files.require_memory_backed && !base.is_memory_backed().map_err(Error::Files)? {
        return Err(Error::OnDisk(files.directory.clone()));
    }
    base.refuse_others().map_err(Error::Files)?;
    Ok(base)
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
