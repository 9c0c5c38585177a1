//! What the daemon does at its start with what an earlier one left: it goes by the notes, and by
//! nothing else. A directory that is the one of its note, with a lease that still holds, is taken
//! over; any other of ours is deleted; what is not ours is reported and left.

use std::{collections::HashSet, sync::Arc};

use rustix::{
    fs::{AtFlags, Dir, FileType},
    io::Errno,
    process::geteuid,
};

use super::{
    Base, Error, Files, Identity,
    base::is_random_name,
    failed,
    lease::Leases,
    moment::Moment,
    note::{Note, Noted},
    owner::Owner,
};

/// What stands under the name in a note.
enum Found {
    /// Something that the note is not about.
    Foreign,
    /// The directory of a request that was never answered, or of a lease that was being ended: it
    /// may be gone already.
    Begun(Files),
    /// The directory of a lease.
    Whole(Files),
}

impl Leases {
    /// Deletes what an earlier daemon left behind below `base`, and takes over the leases that
    /// still hold.
    pub fn take_over(self: &Arc<Self>, base: &Base) -> Result<(), Error> {
        let Some(notes) = self.notes() else {
            return Ok(());
        };
        let mut known = HashSet::new();
        for found in notes.read()? {
            match found {
                Ok(found) => known.extend(self.settle(base, notes.boot(), found)?),
                Err(strange) => tracing::warn!(%strange, "not trusted, and left"),
            }
        }
        report_foreign(base, &known)
    }

    /// Gives the name of the directory that is left, if one is.
    fn settle(
        self: &Arc<Self>,
        base: &Base,
        boot: &str,
        noted: Noted,
    ) -> Result<Option<String>, Error> {
        let note = noted.note();
        let name = note.directory.clone();
        let of_this_boot = note.boot == boot;
        let holds = of_this_boot && Moment::from_millis(note.until_ms) > Moment::now();
        match find(base, note)? {
            Found::Whole(files) if holds => {
                let owner = again(note);
                self.adopt(files, noted, owner);
                Ok(Some(name))
            }
            Found::Whole(files) | Found::Begun(files) => {
                let gone = self.sweep(files, noted);
                Ok((!gone).then_some(name))
            }
            Found::Foreign => {
                let path = base.path().join(&name);
                tracing::warn!(path = %path.display(), "not the directory of its note, and left");
                Ok(Some(name))
            }
        }
    }
}

/// The owner of a lease, if it still runs.
fn again(note: &Note) -> Option<Owner> {
    let identity = note.owner?.identity();
    let owner = Owner::again(identity);
    owner.unwrap_or_else(|error| {
        tracing::warn!(%error, lease = note.lease, "its owner cannot be found again");
        None
    })
}

/// What became of the directory in a note.
fn find(base: &Base, note: &Note) -> Result<Found, Error> {
    let hidden = format!(".{}", note.directory);
    for name in [&note.directory, &hidden] {
        let status = match rustix::fs::statat(&base.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(status) => status,
            Err(Errno::NOENT) => continue,
            Err(errno) => return Err(failed("look at", &base.path().join(name))(errno)),
        };
        let identity = Identity {
            device: status.st_dev,
            inode: status.st_ino,
        };
        let is_directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
        if !is_directory || identity != note.identity() {
            return Ok(Found::Foreign);
        }
        let files = Files::found(base, name, identity);
        let own = geteuid().as_raw();
        // Given back to us: somebody had begun to delete it.
        return Ok(match status.st_uid {
            uid if uid == note.uid && name == &note.directory => Found::Whole(files),
            uid if uid == own || uid == note.uid => Found::Begun(files),
            _ => {
                drop(files.keep());
                Found::Foreign
            }
        });
    }
    Ok(Found::Begun(Files::found(base, "", note.identity())))
}

/// Says what is below `base` that nothing is known of. Empty directories that were made for
/// requests and never used go.
fn report_foreign(base: &Base, known: &HashSet<String>) -> Result<(), Error> {
    let failed = |errno| failed("read", base.path())(errno);
    for entry in Dir::read_from(&base.directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if matches!(name.to_bytes(), b"." | b"..")
            || known.contains(text.strip_prefix('.').unwrap_or(&text))
        {
            continue;
        }
        let hidden = text.strip_prefix('.').is_some_and(is_random_name);
        if hidden && rustix::fs::unlinkat(&base.directory, name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        let path = base.path().join(&*text);
        tracing::warn!(path = %path.display(), "none of this daemon's directories, and left");
    }
    Ok(())
}
