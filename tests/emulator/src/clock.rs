//! The emulator's own time, which a test may shift.
//!
//! Tokens, timestamps and expiry all ask here, so that "an hour later" is one call away. Only
//! certificates are dated by the real clock: clients check those against theirs.

use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// `2025-10-13 14:54:34Z`, as Entra writes the time of an error.
const ENTRA_TIMESTAMP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
/// `2024-06-04T11:40:28.3451933Z`, as .NET prints a time.
const ROUND_TRIP: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");

/// Real time plus an offset.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    offset_seconds: AtomicI64,
}

impl Clock {
    pub(crate) fn shift(&self, offset_seconds: i64) {
        self.offset_seconds.store(offset_seconds, Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        let offset = time::Duration::seconds(self.offset_seconds.load(Ordering::Relaxed));
        OffsetDateTime::now_utc().saturating_add(offset)
    }

    /// Seconds since 1970.
    pub(crate) fn unix(&self) -> i64 {
        self.now().unix_timestamp()
    }
}

/// The time as Entra's error documents have it.
pub(crate) fn entra_timestamp(at: OffsetDateTime) -> String {
    at.format(ENTRA_TIMESTAMP).unwrap_or_default()
}

/// The time with seven decimals.
pub(crate) fn round_trip(at: OffsetDateTime) -> String {
    at.format(ROUND_TRIP).unwrap_or_default()
}

/// As [`round_trip`], from a claim; what is no time is the epoch, as Entra prints it.
pub(crate) fn round_trip_unix(seconds: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    round_trip(at)
}
