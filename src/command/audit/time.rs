//! Times as people type them.

use std::time::SystemTime;

use time::{
    Date, OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

const DATE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");

/// A moment (RFC 3339), the midnight in UTC that a date begins with, or how long before `now`:
/// `90m`, `24h`, `7d`. What was before 1970 has no form, and is 1970: no record is that old.
pub(super) fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    Some(at(text, now)?.max(SystemTime::UNIX_EPOCH))
}

fn at(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(moment.into());
    }
    if let Ok(date) = Date::parse(text, DATE) {
        return Some(date.midnight().assume_utc().into());
    }
    now.checked_sub(humantime::parse_duration(text).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::parse;

    #[test]
    fn people_type_moments_dates_and_durations() {
        let second = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let now = second(1_795_250_818);
        for (text, expected) in [
            ("2026-11-21", Some(second(1_795_219_200))),
            ("2026-11-21T00:00:00Z", Some(second(1_795_219_200))),
            ("2026-11-21T01:00:00+01:00", Some(second(1_795_219_200))),
            ("24h", Some(second(1_795_250_818 - 86_400))),
            ("7d", Some(second(1_795_250_818 - 7 * 86_400))),
            ("1066-10-14", Some(second(0))),
            ("36500d", Some(second(0))),
            ("2026-11-31", None),
            ("2026-11-21 00:00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text, now), expected, "{text}");
        }
    }
}
