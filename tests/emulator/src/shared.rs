//! A mutex for state that every service may touch.
//!
//! A handler that panicked while holding it must not take the other handlers down: the data is
//! always whole between two statements here, so poisoning is ignored.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A mutex without poisoning.
#[derive(Debug, Default)]
pub(crate) struct Shared<T>(Mutex<T>);

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits for the lock. Never hold it over an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
