//! The ends that a lease can come to, each with one name on record.

use super::Holder;

/// A lease that came to its end, and whose files are gone.
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
