//! A lease in the book: whose it is, until when, its files and the note of them.

use tokio::task::AbortHandle;

use super::{End, Holder, Terms};
use crate::files::{
    Error, Files, Staged,
    moment::Moment,
    note::{Note, Noted, Notes, Owner},
};

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) request_id: String,
    pub(super) holder: Holder,
    pub(super) until: Moment,
    /// Why it ends when its time is over.
    pub(super) end: End,
    pub(super) files: Files,
    /// How many there are.
    pub(super) count: usize,
    pub(super) noted: Option<Noted>,
    pub(super) watch: Option<Watch>,
}

#[derive(Debug)]
pub(super) struct Left {
    pub(super) id: String,
    pub(super) lease: Lease,
    pub(super) end: End,
    /// When it is tried again.
    pub(super) due: Moment,
}

/// The task that waits for the end of an owner.
#[derive(Debug)]
pub(super) struct Watch(pub(super) AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lease {
    /// The lease that a note is of.
    pub(super) fn noted(files: Files, noted: Noted) -> Self {
        let note = noted.note();
        Self {
            request_id: note.request.clone(),
            holder: Holder {
                uid: note.uid,
                issuer: note.issuer.clone(),
                project_id: note.project_id.clone(),
                job_id: note.job_id.clone(),
            },
            until: Moment::from_millis(note.until_ms),
            end: End::Expired,
            count: files.count(),
            files,
            noted: Some(noted),
            watch: None,
        }
    }

    /// Lets it end at `until`, if it would not end before, because its owner has ended.
    pub(super) fn bring_forward(&mut self, until: Moment) {
        if self.until <= until {
            return;
        }
        self.until = until;
        self.end = End::OwnerEnded;
        let noted = self.noted.as_mut();
        if let Some(Err(error)) = noted.map(|noted| noted.bring_forward(until.as_millis())) {
            tracing::warn!(%error, "the next daemon would give the files another grace");
        }
    }

    /// Leaves it to the next daemon.
    pub(super) fn leave(self) {
        drop(self.files.keep());
        if let Some(noted) = self.noted {
            noted.keep();
        }
    }
}

impl Terms {
    /// Writes a note of the lease `id` on what is in `staged`.
    pub(super) fn note(&self, notes: &Notes, staged: &Staged, id: &str) -> Result<Noted, Error> {
        let owner = self.owner.as_ref();
        let mut note = Note::new(notes, staged.name(), staged.identity());
        note.until_ms = self.until.as_millis();
        note.owner = owner.map(|(owner, grace)| Owner::new(owner.identity(), *grace));
        id.clone_into(&mut note.lease);
        note.request.clone_from(&self.request_id);
        note.uid = self.holder.uid;
        note.issuer.clone_from(&self.holder.issuer);
        note.project_id.clone_from(&self.holder.project_id);
        note.job_id.clone_from(&self.holder.job_id);
        notes.write(note)
    }
}
