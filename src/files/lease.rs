//! How long files live: until their job releases them, until their time is over, until some time
//! after the process that owns them ended, or until the daemon stops; whichever comes first. Each
//! end is reported, once, when the files are gone.

use std::{
    collections::HashMap,
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{Base, Files, owner::Owner};
use crate::{error, name::VariableName, secret::SecretValue};

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
    /// How long it lasts at the most.
    pub left: Duration,
    /// The process that it ends with, and how long after that.
    pub owner: Option<(Owner, Duration)>,
}

/// A lease that came to its end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its id.
    pub lease: String,
    /// The request that it was granted for.
    pub request_id: String,
    /// Whose it was.
    pub holder: Holder,
    /// Why it ended.
    pub end: End,
}

/// What ends a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It was granted, and its request failed or was abandoned before the answer.
    Abandoned,
    /// Its time was over.
    Expired,
    /// The process that owned it had ended, and its grace was over.
    OwnerEnded,
    /// Its job gave it back.
    Released,
    /// The daemon stopped.
    Stopped,
    /// An earlier daemon left it behind.
    Swept,
}

impl End {
    /// What it is called on record.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Abandoned => "ABANDONED",
            Self::Expired => "EXPIRED",
            Self::OwnerEnded => "OWNER_ENDED",
            Self::Released => "RELEASED",
            Self::Stopped => "STOPPED",
            Self::Swept => "SWEPT",
        }
    }
}

/// The leases of a daemon. Dropping this deletes all their files.
pub struct Leases {
    held: Mutex<HashMap<String, Lease>>,
    changed: Notify,
    ended: Box<dyn Fn(Ended) + Send + Sync>,
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases").finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Lease {
    request_id: String,
    holder: Holder,
    until: Instant,
    /// Why it ends when its time is over.
    end: End,
    files: Files,
    _watch: Option<Watch>,
}

/// The task that waits for the end of an owner.
#[derive(Debug)]
struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A lease whose holder has not heard of it yet. Dropping this ends it, unless it is
/// [kept](Self::keep).
#[derive(Debug)]
#[must_use = "the lease ends when this is dropped"]
pub struct Granted {
    leases: Weak<Leases>,
    id: String,
    directory: PathBuf,
    until: Instant,
}

impl Granted {
    /// What to release it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The file of a variable.
    #[must_use]
    pub fn path(&self, variable: &VariableName) -> PathBuf {
        self.directory.join(variable.as_str())
    }

    /// How long it lasts at the most.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Leaves the lease to its holder, who has to be told the id.
    pub fn keep(mut self) -> String {
        self.leases = Weak::new();
        std::mem::take(&mut self.id)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(leases) = self.leases.upgrade() {
            let lease = leases.held().remove(&self.id);
            leases.end(std::mem::take(&mut self.id), lease, End::Abandoned);
        }
    }
}

impl Leases {
    /// No leases yet. `ended` hears of the end of each.
    pub fn new(ended: impl Fn(Ended) + Send + Sync + 'static) -> Self {
        Self {
            held: Mutex::default(),
            changed: Notify::new(),
            ended: Box::new(ended),
        }
    }

    /// Writes the values to files of mode `mode` below `base`, for the holder alone.
    pub fn grant<'a>(
        self: &Arc<Self>,
        base: &Base,
        mode: u32,
        values: impl Iterator<Item = (&'a VariableName, &'a SecretValue)>,
        terms: Terms,
    ) -> Result<Granted, error::Error> {
        let id = base.random_name().map_err(error::Error::FilesFailed)?;
        let files = base
            .materialise(mode, Some(terms.holder.uid), values)
            .map_err(error::Error::FilesFailed)?;
        let until = Instant::now() + terms.left;
        let granted = Granted {
            leases: Arc::downgrade(self),
            id: id.clone(),
            directory: files.directory(),
            until,
        };
        let watch = terms
            .owner
            .map(|(owner, grace)| self.watch(id.clone(), owner, grace));
        let lease = Lease {
            request_id: terms.request_id,
            holder: terms.holder,
            until,
            end: End::Expired,
            files,
            _watch: watch,
        };
        self.held().insert(id, lease);
        self.changed.notify_one();
        Ok(granted)
    }

    /// Deletes the files of a lease. Gives whether there were any; a lease of another job, or of
    /// another user, is refused.
    pub fn release(&self, id: &str, holder: &Holder) -> Result<bool, error::Error> {
        let lease = {
            let mut held = self.held();
            match held.get(id) {
                Some(lease) if lease.holder != *holder => {
                    return Err(error::Error::CallerDenied {
                        problem: "the lease belongs to another job or another user",
                    });
                }
                _ => held.remove(id),
            }
        };
        let known = lease.is_some();
        self.end(id.to_owned(), lease, End::Released);
        Ok(known)
    }

    /// Deletes the files of leases whose time is over, for as long as it is polled.
    pub async fn expire(&self) {
        loop {
            for (id, lease) in self.take_expired(Instant::now()) {
                let end = lease.end;
                self.end(id, Some(lease), end);
            }
            let next = self.held().values().map(|lease| lease.until).min();
            let changed = self.changed.notified();
            match next {
                Some(next) => drop(tokio::time::timeout_at(next, changed).await),
                None => changed.await,
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.held().len()
    }

    /// Deletes all files, because the daemon stops.
    pub fn end_all(&self) {
        let held = std::mem::take(&mut *self.held());
        for (id, lease) in held {
            self.end(id, Some(lease), End::Stopped);
        }
    }

    /// Brings the end of a lease forward when its owner has ended.
    fn watch(self: &Arc<Self>, id: String, owner: Owner, grace: Duration) -> Watch {
        let leases = Arc::downgrade(self);
        let watching = tokio::spawn(async move {
            owner.ended().await;
            let Some(leases) = leases.upgrade() else {
                return;
            };
            let end = Instant::now() + grace;
            if let Some(lease) = leases.held().get_mut(&id)
                && end < lease.until
            {
                lease.until = end;
                lease.end = End::OwnerEnded;
            }
            leases.changed.notify_one();
        });
        Watch(watching.abort_handle())
    }

    /// Deletes the files first, so that whoever hears of the end can rely on it.
    fn end(&self, id: String, lease: Option<Lease>, end: End) {
        let Some(Lease {
            request_id,
            holder,
            files,
            ..
        }) = lease
        else {
            return;
        };
        drop(files);
        (self.ended)(Ended {
            lease: id,
            request_id,
            holder,
            end,
        });
    }

    fn take_expired(&self, now: Instant) -> Vec<(String, Lease)> {
        let mut held = self.held();
        held.extract_if(|_, lease| lease.until <= now).collect()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
