//! Where the files of requests are written, and the process that they end with.

use std::{
    sync::{PoisonError, RwLock},
    time::Duration,
};

use super::Call;
use crate::{
    error::Error,
    files::{
        Base,
        owner::{self, Owner},
    },
};

/// Where files are written.
#[derive(Debug)]
pub struct Place {
    /// The directory; another one once the operator has put another in its place.
    pub base: RwLock<Base>,
    /// The mode of the files.
    pub mode: u32,
    /// The longest that they stay.
    pub max_ttl: Duration,
    /// How long they stay after the process that owns them.
    pub owner_grace: Duration,
}

impl Place {
    /// The directory, for as long as this request takes.
    #[must_use]
    pub fn base(&self) -> Base {
        self.base
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The same, if whoever is told of a path below it finds the files there: neither was it moved
    /// away, nor is another file system mounted over it or this one no longer mounted.
    pub(super) fn reachable(&self) -> Result<Base, Error> {
        let base = self.base();
        base.refuse_moved().map_err(Error::FilesFailed)?;
        Ok(base)
    }

    /// From now on, files go there. Those that exist are deleted where they are.
    pub fn move_to(&self, base: Base) {
        *self.base.write().unwrap_or_else(PoisonError::into_inner) = base;
    }

    /// The process that the lease ends with, and how long after that: at once where it is the
    /// client itself, which cannot come back for the files.
    pub(super) fn owner(&self, call: &Call, uid: u32) -> Result<Option<(Owner, Duration)>, Error> {
        let (Some(owner_pid), Some(caller)) = (call.owner_pid, &call.process) else {
            return Ok(None);
        };
        let grace = if owner_pid == caller.pid() {
            Duration::ZERO
        } else {
            self.owner_grace
        };
        match Owner::of(owner_pid, caller, uid) {
            Ok(owner) => Ok(Some((owner, grace))),
            Err(owner::Error::Unknown(error)) => {
                tracing::warn!(owner_pid, %error, "the lease ends by time only");
                Ok(None)
            }
            Err(error) => Err(Error::RequestInvalid {
                field: "owner_pid".to_owned(),
                problem: error.to_string(),
            }),
        }
    }
}
