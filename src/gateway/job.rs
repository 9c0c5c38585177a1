//! A job that GitLab has handed out and that nobody has yet. Whoever holds one hands it over, fails
//! it, or drops it, and even then it is not lost: GitLab is asked to give it to somebody else, or
//! told that it failed. Once the runner has it, it is never touched again.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::task::TaskTracker;

use super::{
    gitlab::{Broken, GitLab},
    report,
};

/// Which job, and the token that GitLab lets its state be changed with.
pub(super) struct Job {
    pub(super) id: i64,
    token: SecretString,
}

impl Job {
    pub(super) fn new(id: i64, token: String) -> Self {
        let token = SecretString::from(token);
        Self { id, token }
    }

    pub(super) fn token(&self) -> &str {
        self.token.expose_secret()
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Job({})", self.id)
    }
}

/// A job that nobody has yet.
pub(super) struct Taken {
    job: Option<Job>,
    gitlab: GitLab,
    tasks: TaskTracker,
}

impl Taken {
    /// A job that cannot be told is nobody's: there is nothing to be done about it.
    pub(super) fn new(job: Option<Job>, gitlab: &GitLab, tasks: &TaskTracker) -> Self {
        let (gitlab, tasks) = (gitlab.clone(), tasks.clone());
        Self { job, gitlab, tasks }
    }

    pub(super) fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }

    /// The job, for whoever ends it.
    pub(super) fn end(mut self) -> Option<Job> {
        self.job.take()
    }

    /// The job as the body of an answer: when all of that was taken, the job was handed over.
    pub(super) fn hand_over(self, payload: Bytes) -> HandedOver {
        let payload = Some(payload);
        HandedOver {
            taken: self,
            payload,
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        // Without a runtime the process is ending, and nothing can be sent any more.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let gitlab = self.gitlab.clone();
            let giving_back = async move { report::give_back(&gitlab, &job).await };
            self.tasks.spawn_on(giving_back, &runtime);
        }
    }
}

/// A payload on its way to the runner.
pub(super) struct HandedOver {
    taken: Taken,
    payload: Option<Bytes>,
}

impl Body for HandedOver {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let payload = this.payload.take();
        if payload.is_some() {
            drop(this.taken.job.take());
        }
        Poll::Ready(payload.map(|payload| Ok(Frame::data(payload))))
    }

    fn is_end_stream(&self) -> bool {
        self.payload.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.payload.as_ref().map_or(0, Bytes::len);
        SizeHint::with_exact(length as u64)
    }
}
