//! Refusals of callers that nobody identified. Anybody who can connect can cause them, as many as
//! they like, so only some get a record of their own; the others are counted by caller and reason and
//! recorded in one line a minute. A flood fills no disk, and hides nobody's number.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::event::{Caller, Refused, RefusedBy};

/// The refusals of the current minute.
#[derive(Debug)]
pub(super) struct Refusals {
    since: Instant,
    wall: SystemTime,
    recorded: u32,
    count: u64,
    by: BTreeMap<(Option<u32>, Option<IpAddr>, String), u64>,
}

/// How long refusals are counted before they are summed up.
pub(super) const MINUTE: Duration = Duration::from_secs(60);
/// Ample for mistakes; at half a kilobyte each, a flood writes 70 MB a day.
const RECORDED: u32 = 100;
/// Callers and reasons that are told apart; reasons are a dozen.
const APART: usize = 200;
/// As many as somebody reads.
const LISTED: usize = 20;

impl Default for Refusals {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            wall: SystemTime::now(),
            recorded: 0,
            count: 0,
            by: BTreeMap::new(),
        }
    }
}

impl Refusals {
    /// Whether this refusal gets a record of its own; otherwise it is counted.
    pub(super) fn admit(&mut self, caller: &Caller, reason: &str, now: Instant) -> bool {
        // What was counted is waiting for its summary, and the new minute with it.
        if self.count == 0 && now.saturating_duration_since(self.since) >= MINUTE {
            *self = Self::since(now);
        }
        if self.recorded < RECORDED {
            self.recorded += 1;
            return true;
        }
        self.count += 1;
        let key = (caller.uid(), caller.address(), reason.to_owned());
        if self.by.len() < APART || self.by.contains_key(&key) {
            *self.by.entry(key).or_default() += 1;
        }
        false
    }

    /// What was only counted in the minute before `now`, if there is any, and begins another one.
    pub(super) fn sum_up(&mut self, now: Instant) -> Option<Refused> {
        let ended = std::mem::replace(self, Self::since(now));
        if ended.count == 0 {
            return None;
        }
        let mut by: Vec<RefusedBy> = ended
            .by
            .into_iter()
            .map(|((uid, address, reason), count)| RefusedBy {
                uid,
                address,
                reason,
                count,
            })
            .collect();
        by.sort_by_key(|by| std::cmp::Reverse(by.count));
        by.truncate(LISTED);
        Some(Refused {
            since: humantime::format_rfc3339_seconds(ended.wall).to_string(),
            count: ended.count,
            by,
        })
    }

    fn since(now: Instant) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{APART, Caller, LISTED, MINUTE, RECORDED, Refusals};
    use crate::{audit::event::Local, caller::Remote};

    fn user(uid: u32) -> Caller {
        Caller::Local(Local {
            uid,
            ..Local::default()
        })
    }

    #[test]
    fn a_few_are_recorded_and_a_flood_is_counted() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let admitted = (0..1000).filter(|_| refusals.admit(&user(7), "TOKEN_INVALID", start));
        assert_eq!(admitted.count(), RECORDED as usize);
        assert!(!refusals.admit(&user(8), "CALLER_DENIED", start));
        let summary = refusals.sum_up(start + MINUTE).unwrap();
        assert_eq!(summary.count, 1001 - u64::from(RECORDED));
        let by: Vec<(u32, &str, u64)> = summary
            .by
            .iter()
            .map(|by| (by.uid.unwrap_or_default(), by.reason.as_str(), by.count))
            .collect();
        assert_eq!(by, [(7, "TOKEN_INVALID", 900), (8, "CALLER_DENIED", 1)]);
        assert!(refusals.sum_up(start + MINUTE).is_none());
    }

    #[test]
    fn every_minute_some_are_recorded_again() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        for minute in 0..3 {
            let now = start + MINUTE * minute + Duration::from_secs(1);
            for _ in 0..RECORDED {
                assert!(refusals.admit(&user(7), "TOKEN_INVALID", now));
            }
            assert!(refusals.by.is_empty());
        }
    }

    #[test]
    fn however_many_users_there_are_the_summary_is_short_and_the_count_is_right() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        for uid in 0..5000 {
            refusals.admit(&user(uid), "CALLER_DENIED", start);
        }
        assert!(refusals.by.len() <= APART);
        let summary = refusals.sum_up(start + MINUTE).unwrap();
        assert_eq!(summary.count, 5000 - u64::from(RECORDED));
        assert_eq!(summary.by.len(), LISTED);
    }

    #[test]
    fn addresses_are_told_apart() {
        let start = Instant::now();
        let mut refusals = Refusals::default();
        let hosts = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let callers = hosts.map(|host| Caller::Remote(Remote::at(host.into())));
        for caller in callers.iter().cycle().take(2 * RECORDED as usize) {
            refusals.admit(caller, "TOKEN_INVALID", start);
        }
        let summary = refusals.sum_up(start + MINUTE).unwrap();
        assert_eq!(summary.count, u64::from(RECORDED));
        let by: Vec<_> = summary.by.iter().map(|by| (by.address, by.count)).collect();
        let each = u64::from(RECORDED) / 2;
        assert_eq!(by, hosts.map(|host| (Some(host.into()), each)));
    }
}
