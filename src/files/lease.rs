//! How long files live: until their job releases them, until their time is over, until some time
//! after the process that owns them ended, or until the daemon stops; whichever comes first. Each
//! end is reported when the files are gone. Files that cannot be deleted are not forgotten: it is
//! tried again and again, and by the next daemon, which finds a [note](mod@super::note) of them.

mod end;
mod granted;
mod held;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use self::held::{Lease, Left, Watch};
pub use self::{
    end::{End, Ended},
    granted::Granted,
};
use super::{
    Base, Files,
    moment::{Alarm, Moment},
    note::{self, Noted, Notes},
    owner::Owner,
};
use crate::{error::Error, name::VariableName, secret::SecretValue};

/// Who may end a lease: a process of the same user with a token of the same job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The user of the process that asked for the secrets.
    pub uid: u32,
    /// The issuer of its token.
    pub issuer: String,
    /// The project in its token.
    pub project_id: String,
    /// The job in its token.
    pub job_id: String,
}

/// How a lease may end.
#[derive(Debug)]
pub struct Terms {
    /// The request that it was granted for.
    pub request_id: String,
    /// Who may end it at any time.
    pub holder: Holder,
    /// When it ends at the latest.
    pub until: Moment,
    /// The process that it ends with, and how long after that.
    pub owner: Option<(Owner, Duration)>,
}

/// The leases of a daemon. Dropping this deletes all their files.
pub struct Leases {
    book: Mutex<Book>,
    changed: Notify,
    notes: Option<Notes>,
    ended: Box<dyn Fn(Ended) + Send + Sync>,
}

#[derive(Debug, Default)]
struct Book {
    held: HashMap<String, Lease>,
    /// Those that have ended and whose files could not be deleted yet.
    left: Vec<Left>,
    /// Whether no more are granted.
    closed: bool,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

impl Leases {
    /// No leases yet. `ended` hears of the end of each; the next daemon finds notes of them in
    /// `notes`.
    pub fn new(notes: Option<Notes>, ended: impl Fn(Ended) + Send + Sync + 'static) -> Self {
        Self {
            book: Mutex::default(),
            changed: Notify::new(),
            notes,
            ended: Box::new(ended),
        }
    }

    /// Where the notes are.
    pub(crate) fn notes(&self) -> Option<&Notes> {
        self.notes.as_ref()
    }

    /// Writes the values to files of mode `mode` below `base`, for the holder alone.
    pub fn grant<'a>(
        self: &Arc<Self>,
        base: &Base,
        mode: u32,
        values: impl Iterator<Item = (&'a VariableName, &'a SecretValue)> + Clone,
        terms: Terms,
    ) -> Result<Granted, Error> {
        let failed = Error::FilesFailed;
        let id = base.random_name().map_err(failed)?;
        let staged = base.stage().map_err(failed)?;
        // Before the first secret is in it, so that there is none that the next daemon does not
        // know of.
        let noted = self.notes.as_ref();
        let noted = noted.map(|notes| terms.note(notes, &staged, &id));
        let noted = noted.transpose().map_err(failed)?;
        let granted = Granted::new(self, &id, staged.path(), terms.until);
        let count = values.clone().count();
        let files = base.fill(staged, mode, Some(terms.holder.uid), values);
        let lease = Lease {
            request_id: terms.request_id,
            holder: terms.holder,
            until: terms.until,
            end: End::Expired,
            files: files.map_err(failed)?,
            count,
            noted,
            watch: None,
        };
        self.hold(id, lease, terms.owner)?;
        Ok(granted)
    }

    /// Deletes the files of a lease. Gives whether there were any; a lease of another job, or of
    /// another user, is refused.
    pub fn release(&self, id: &str, holder: &Holder) -> Result<bool, Error> {
        if let Some(lease) = self.book().held.get(id)
            && lease.holder != *holder
        {
            return Err(Error::CallerDenied {
                problem: "the lease belongs to another job or another user",
            });
        }
        self.end_of(id, End::Released).map_err(Error::FilesFailed)
    }

    /// Deletes the files of leases whose time is over, for as long as it is polled.
    pub async fn expire(self: &Arc<Self>, alarm: &Alarm) {
        loop {
            for (id, lease) in self.take_expired() {
                let end = lease.end;
                // What fails is logged and tried again.
                drop(self.end(id, lease, end));
            }
            self.try_again().await;
            let next = self.next();
            tokio::select! {
                () = self.changed.notified() => {}
                rung = alarm.at(next) => if let Err(error) = rung {
                    tracing::error!(%error, "the alarm for leases fails");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Grants no more from now on: what is granted now would be deleted before it could be used.
    pub fn close(&self) {
        self.book().closed = true;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.book().held.len()
    }

    /// How many files they have. What a job adds to its directory is not counted.
    #[must_use]
    pub fn files(&self) -> usize {
        self.book().held.values().map(|lease| lease.count).sum()
    }

    /// Deletes all files, because the daemon stops.
    pub fn end_all(&self) {
        for (id, mut lease, end) in self.take_all(End::Stopped) {
            match lease.files.delete() {
                Ok(()) => self.report(id, lease, end),
                Err(error) => {
                    tracing::error!(lease = id, %error, "secrets are left to the next start");
                    lease.leave();
                }
            }
        }
    }

    /// Leaves all files to the next daemon, because this one stops.
    pub fn leave_all(&self) {
        let all = self.take_all(End::Stopped);
        if !all.is_empty() {
            tracing::info!(leases = all.len(), "left to the next daemon");
        }
        for (_, lease, _) in all {
            lease.leave();
        }
    }

    /// Goes on with the lease of an earlier daemon, whose owner may have ended meanwhile.
    pub(super) fn adopt(self: &Arc<Self>, files: Files, noted: Noted, owner: Option<Owner>) {
        let mut lease = Lease::noted(files, noted);
        let Some(noted) = &lease.noted else { return };
        let id = noted.note().lease.clone();
        let grace = noted.note().owner.map(note::Owner::grace);
        tracing::info!(
            lease = id,
            request_id = lease.request_id,
            job_id = lease.holder.job_id,
            "a lease of an earlier daemon is taken over"
        );
        let owner = owner.zip(grace);
        if owner.is_none()
            && let Some(grace) = grace
        {
            // It cannot be told when it ended; the grace counts from now.
            lease.bring_forward(Moment::in_future(grace));
        }
        // A daemon that starts is not closed.
        drop(self.hold(id, lease, owner));
        self.changed.notify_one();
    }

    /// Deletes what an earlier daemon left. Gives whether it is gone.
    pub(super) fn sweep(&self, files: Files, noted: Noted) -> bool {
        let id = noted.note().lease.clone();
        self.end(id, Lease::noted(files, noted), End::Swept).is_ok()
    }

    /// Ends a lease. Gives whether there was one.
    fn end_of(&self, id: &str, end: End) -> Result<bool, super::Error> {
        let lease = self.book().held.remove(id);
        match lease.map(|lease| self.end(id.to_owned(), lease, end)) {
            None => Ok(false),
            // From its first step on, nobody else can reach what is still to be deleted.
            Some(Err(error)) if !error.is_unfinished() => Err(error),
            Some(_) => Ok(true),
        }
    }

    /// Deletes the files first, so that whoever hears of the end can rely on it.
    fn end(&self, id: String, mut lease: Lease, end: End) -> Result<(), super::Error> {
        lease.watch = None;
        let Err(error) = lease.files.delete_part() else {
            self.report(id, lease, end);
            return Ok(());
        };
        let due = if error.is_unfinished() {
            Moment::now()
        } else {
            tracing::error!(lease = id, %error, "secrets are left behind, for now");
            Moment::in_future(AGAIN)
        };
        self.book().left.push(Left {
            id,
            lease,
            end,
            due,
        });
        self.changed.notify_one();
        Err(error)
    }

    /// Only then the note goes: an end may be reported twice, if the daemon is killed in between,
    /// but none is missing.
    fn report(&self, id: String, lease: Lease, end: End) {
        let Lease {
            request_id,
            holder,
            noted,
            ..
        } = lease;
        (self.ended)(Ended {
            lease: id,
            request_id,
            holder,
            end,
        });
        drop(noted);
    }

    /// Tries to delete what could not be deleted before, where nobody waits for it.
    async fn try_again(self: &Arc<Self>) {
        let now = Moment::now();
        let due: Vec<Left> = self
            .book()
            .left
            .extract_if(.., |left| left.due <= now)
            .collect();
        if due.is_empty() {
            return;
        }
        let leases = self.clone();
        let trying = tokio::task::spawn_blocking(move || {
            for mut left in due {
                if left.lease.files.delete().is_ok() {
                    leases.report(left.id, left.lease, left.end);
                } else {
                    left.due = Moment::in_future(AGAIN);
                    leases.book().left.push(left);
                }
            }
        });
        drop(trying.await);
    }

    /// Puts a lease into the book, unless that is closed.
    fn hold(
        self: &Arc<Self>,
        id: String,
        mut lease: Lease,
        owner: Option<(Owner, Duration)>,
    ) -> Result<(), Error> {
        let mut book = self.book();
        if book.closed {
            return Err(Error::DeadlineExceeded {
                waiting: "the daemon was stopping",
            });
        }
        lease.watch = owner.map(|(owner, grace)| self.watch(id.clone(), owner, grace));
        book.held.insert(id, lease);
        drop(book);
        self.changed.notify_one();
        Ok(())
    }

    /// Brings the end of a lease forward when its owner has ended.
    fn watch(self: &Arc<Self>, id: String, owner: Owner, grace: Duration) -> Watch {
        let leases = Arc::downgrade(self);
        let watching = tokio::spawn(async move {
            owner.ended().await;
            let Some(leases) = leases.upgrade() else {
                return;
            };
            if let Some(lease) = leases.book().held.get_mut(&id) {
                lease.bring_forward(Moment::in_future(grace));
            }
            leases.changed.notify_one();
        });
        Watch(watching.abort_handle())
    }

    fn take_expired(&self) -> Vec<(String, Lease)> {
        let now = Moment::now();
        let mut book = self.book();
        let expired = book.held.extract_if(|_, lease| lease.until <= now);
        expired.collect()
    }

    /// Everything, held or left, with its end; nothing is granted any more.
    fn take_all(&self, end: End) -> Vec<(String, Lease, End)> {
        let mut book = self.book();
        book.closed = true;
        let held = std::mem::take(&mut book.held).into_iter();
        let left = std::mem::take(&mut book.left).into_iter();
        held.map(|(id, lease)| (id, lease, end))
            .chain(left.map(|left| (left.id, left.lease, left.end)))
            .collect()
    }

    /// When there is something to do next.
    fn next(&self) -> Option<Moment> {
        let book = self.book();
        let ends = book.held.values().map(|lease| lease.until);
        ends.chain(book.left.iter().map(|left| left.due)).min()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Often enough for files to be gone soon after what hindered it has passed, and seldom enough not
/// to fill the log.
const AGAIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
