//! How long files live: until their job releases them, until their time is over, until some time
//! after the process that owns them ended, or until the daemon stops; whichever comes first.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle, time::Instant};

use super::{Error, Files, owner::Owner, random_name};
use crate::error;

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

/// The leases of a daemon. Dropping this deletes all their files.
#[derive(Debug, Default)]
pub struct Leases {
    held: Mutex<HashMap<String, Lease>>,
    changed: Notify,
}

/// How a lease may end.
#[derive(Debug)]
pub struct Terms {
    /// Who may end it at any time.
    pub holder: Holder,
    /// When it ends at the latest.
    pub until: Instant,
    /// The process that it ends with, and how long after that.
    pub owner: Option<(Owner, Duration)>,
}

#[derive(Debug)]
struct Lease {
    holder: Holder,
    until: Instant,
    _files: Files,
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

impl Leases {
    /// Takes the files over and gives the lease's id.
    pub fn grant(self: &Arc<Self>, files: Files, terms: Terms) -> Result<String, Error> {
        let id = random_name().map_err(|source| Error {
            action: "name a lease of",
            path: files.directory(),
            source,
        })?;
        let watch = terms
            .owner
            .map(|(owner, grace)| self.watch(id.clone(), owner, grace));
        let lease = Lease {
            holder: terms.holder,
            until: terms.until,
            _files: files,
            _watch: watch,
        };
        self.held().insert(id.clone(), lease);
        self.changed.notify_one();
        Ok(id)
    }

    /// Deletes the files of a lease. Gives whether there were any; a lease of another job, or of
    /// another user, is refused.
    pub fn release(&self, id: &str, holder: &Holder) -> Result<bool, error::Error> {
        let ended = {
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
        Ok(ended.is_some())
    }

    /// Deletes the files of leases whose time is over, for as long as it is polled.
    pub async fn expire(&self) {
        loop {
            let ended = self.take_expired(Instant::now());
            if !ended.is_empty() {
                tracing::info!(leases = ended.len(), "leases expired");
            }
            drop(ended);
            let next = self.held().values().map(|lease| lease.until).min();
            let changed = self.changed.notified();
            match next {
                Some(next) => drop(tokio::time::timeout_at(next, changed).await),
                None => changed.await,
            }
        }
    }

    /// Deletes all files.
    pub fn end_all(&self) {
        let ended = std::mem::take(&mut *self.held());
        if !ended.is_empty() {
            tracing::info!(leases = ended.len(), "leases ended with the daemon");
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
            if let Some(lease) = leases.held().get_mut(&id) {
                lease.until = lease.until.min(end);
            }
            leases.changed.notify_one();
        });
        Watch(watching.abort_handle())
    }

    fn take_expired(&self, now: Instant) -> Vec<Lease> {
        let mut held = self.held();
        held.extract_if(|_, lease| lease.until <= now)
            .map(|(_, lease)| lease)
            .collect()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Lease>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        process::{Command, Stdio},
        sync::Arc,
        time::Duration,
    };

    use tokio::time::Instant;

    use super::{Holder, Leases, Terms};
    use crate::files::{Base, Files, owner::Owner};

    fn holder(uid: u32, job_id: &str) -> Holder {
        Holder {
            uid,
            issuer: "https://gitlab.example.com".into(),
            project_id: "1".into(),
            job_id: job_id.into(),
        }
    }

    fn terms(until: Instant) -> Terms {
        Terms {
            holder: holder(1, "7"),
            until,
            owner: None,
        }
    }

    fn files(place: &Path) -> Files {
        let base = Base::open(place).unwrap();
        base.materialise(0o400, None, std::iter::empty()).unwrap()
    }

    fn count(place: &Path) -> usize {
        fs::read_dir(place).unwrap().count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_ends_by_release_of_its_owner_only() {
        let place = tempfile::tempdir().unwrap();
        let leases = Arc::new(Leases::default());
        let until = Instant::now() + Duration::from_secs(60);
        let id = leases.grant(files(place.path()), terms(until)).unwrap();
        assert!(leases.release(&id, &holder(1, "8")).is_err());
        assert!(leases.release(&id, &holder(2, "7")).is_err());
        assert_eq!(count(place.path()), 1);
        assert!(leases.release(&id, &holder(1, "7")).unwrap());
        assert_eq!(count(place.path()), 0);
        assert!(!leases.release(&id, &holder(1, "7")).unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn leases_end_when_their_time_is_over_and_not_before() {
        let place = tempfile::tempdir().unwrap();
        let leases = Arc::new(Leases::default());
        let start = Instant::now();
        for seconds in [30, 10] {
            let until = start + Duration::from_secs(seconds);
            leases.grant(files(place.path()), terms(until)).unwrap();
        }
        for (seconds, left) in [(9, 2), (11, 1), (29, 1), (31, 0)] {
            let now = start + Duration::from_secs(seconds);
            let _ = tokio::time::timeout_at(now, leases.expire()).await;
            assert_eq!(count(place.path()), left, "after {seconds} s");
        }
    }

    #[test]
    fn the_end_of_the_daemon_ends_all_leases() {
        let place = tempfile::tempdir().unwrap();
        let leases = Arc::new(Leases::default());
        let until = Instant::now() + Duration::from_secs(60);
        leases.grant(files(place.path()), terms(until)).unwrap();
        leases.end_all();
        assert_eq!(count(place.path()), 0);
    }

    #[tokio::test]
    async fn a_lease_ends_with_its_owner() {
        let place = tempfile::tempdir().unwrap();
        let leases = Arc::new(Leases::default());
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let owner = Owner::of(pid, pid, rustix::process::geteuid().as_raw()).unwrap();
        let until = Instant::now() + Duration::from_secs(600);
        let terms = Terms {
            owner: Some((owner, Duration::ZERO)),
            ..terms(until)
        };
        leases.grant(files(place.path()), terms).unwrap();
        assert_eq!(count(place.path()), 1);
        drop(child.stdin.take());
        child.wait().unwrap();
        let gone = async {
            while count(place.path()) > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = leases.expire() => {}
            gone = tokio::time::timeout(Duration::from_secs(30), gone) => gone.unwrap(),
        }
    }
}
