//! A lease between being granted and being told to its holder.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{End, Leases};
use crate::{files::moment::Moment, name::VariableName};

/// A lease whose holder has not heard of it yet. Dropping this ends it, unless it is
/// [kept](Self::keep).
#[derive(Debug)]
#[must_use = "the lease ends when this is dropped"]
pub struct Granted {
    leases: Weak<Leases>,
    id: String,
    directory: PathBuf,
    until: Moment,
}

impl Granted {
    pub(super) fn new(leases: &Arc<Leases>, id: &str, directory: PathBuf, until: Moment) -> Self {
        Self {
            leases: Arc::downgrade(leases),
            id: id.to_owned(),
            directory,
            until,
        }
    }

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
        self.until.left()
    }

    /// Leaves the lease to its holder, who has to be told the id.
    #[must_use = "without it nobody can release the lease"]
    pub fn keep(mut self) -> String {
        self.leases = Weak::new();
        std::mem::take(&mut self.id)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(leases) = self.leases.upgrade() {
            // What fails is logged and tried again.
            drop(leases.end_of(&self.id, End::Abandoned));
        }
    }
}
