//! What is deleted of the trail: full files that are too many or too old, the oldest first. Only
//! files with our kind of name whose header has the number in the name, and none before the trail
//! says so itself.

use std::{
    collections::BTreeSet,
    fs, io,
    path::Path,
    time::{Duration, SystemTime},
};

use super::{file::directory, siblings};
use crate::{
    audit::{chain::Head, event::Pruned},
    config::{self, audit::stem},
};

/// Which files go.
#[derive(Debug)]
pub(crate) struct Retention {
    settings: config::audit::File,
    /// Files that could not be deleted. The trail says once that they are gone, not every time.
    stuck: BTreeSet<String>,
}

/// A full file.
#[derive(Debug)]
struct Full {
    name: String,
    last: Head,
    time: Option<SystemTime>,
}

impl Retention {
    /// `None` where everything is kept.
    pub(crate) fn new(settings: &config::audit::File) -> Option<Self> {
        let some = settings.keep.is_some() || settings.keep_for.is_some();
        some.then(|| Self {
            settings: settings.clone(),
            stuck: BTreeSet::new(),
        })
    }

    /// Deletes what has to go, each file after `record` has put that on record. `age_counts`: the
    /// clock is not known to be wrong, so that it may decide what is old.
    pub(crate) fn prune(&mut self, age_counts: bool, mut record: impl FnMut(Pruned) -> bool) {
        let expired = match self.expired(SystemTime::now(), age_counts) {
            Ok(expired) => expired,
            Err(error) => {
                tracing::warn!(%error, "cannot look for audit files that are too old");
                return;
            }
        };
        let directory = directory(&self.settings.path).to_owned();
        for Full { name, last, .. } in expired {
            let pruned = Pruned {
                file: name.clone(),
                last: Some(last),
            };
            if !record(pruned) {
                return;
            }
            match fs::remove_file(directory.join(&name)) {
                Ok(()) => tracing::info!(file = name, "an old audit file was deleted"),
                Err(error) => {
                    tracing::error!(file = name, %error, "an audit file cannot be deleted; it is not tried again");
                    self.stuck.insert(name);
                }
            }
        }
    }

    fn expired(&self, now: SystemTime, age_counts: bool) -> io::Result<Vec<Full>> {
        let mut full = full(&self.settings.path)?;
        full.retain(|full| !self.stuck.contains(&full.name));
        let most = self.settings.keep.unwrap_or(usize::MAX);
        let too_many = full.len().saturating_sub(most);
        let keep_for = self.settings.keep_for.filter(|_| age_counts);
        let is_old = |full: &&Full| {
            keep_for.is_some_and(|keep_for| full.age(now).is_some_and(|age| age > keep_for))
        };
        let too_old = full.iter().take_while(is_old).count();
        full.truncate(too_many.max(too_old));
        Ok(full)
    }
}

impl Full {
    fn age(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.time?).ok()
    }
}

/// All full files, in the order of their numbers.
fn full(path: &Path) -> io::Result<Vec<Full>> {
    let directory = directory(path);
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name
            .to_str()
            .and_then(|name| Some((name, number(path, name)?)));
        let Some((name, number)) = name else { continue };
        let Ok(Some((begins, tail))) = siblings::ends(&directory.join(name)) else {
            continue;
        };
        if begins == number {
            let full = Full {
                name: name.to_owned(),
                last: tail.head,
                time: humantime::parse_rfc3339(&tail.time).ok(),
            };
            found.push((number, full));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    Ok(found.into_iter().map(|(_, full)| full).collect())
}

/// 7 of `audit-000000000007.jsonl`.
fn number(path: &Path, name: &str) -> Option<u64> {
    let rest = name.strip_prefix(stem(path)?)?.strip_prefix('-')?;
    let digits = rest.strip_suffix(".jsonl")?;
    let plain = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::Path,
        time::{Duration, SystemTime},
    };

    use serde_json::json;

    use super::{Retention, number};
    use crate::{
        audit::chain::{Head, Stamp},
        config::audit::File,
    };

    fn retention(path: &Path, keep: Option<usize>, keep_for: Option<Duration>) -> Retention {
        let settings = File {
            path: path.to_owned(),
            rotate_size: 1,
            keep,
            keep_for,
        };
        Retention::new(&settings).unwrap()
    }

    /// Files of one record each, of one hour after the other; the last is an hour old.
    fn files(count: u64) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        let mut head = Head::GENESIS;
        for number in 1..=count {
            let ago = Duration::from_secs(3600) * u32::try_from(count + 1 - number).unwrap();
            let stamp = Stamp {
                time: SystemTime::now() - ago,
                instance: "0123456789abcdef",
            };
            let (line, next) = head.line(&stamp, &json!({"event": "header"})).unwrap();
            let name = format!("audit-{number:012}.jsonl");
            put(place.path(), &name, &line);
            head = next;
        }
        place
    }

    fn put(directory: &Path, name: &str, bytes: &[u8]) {
        use std::io::Write as _;
        let mut file = fs::File::create_new(directory.join(name)).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn left(place: &Path) -> Vec<String> {
        let names = fs::read_dir(place).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let place = files(5);
        let mut retention = retention(&place.path().join("audit.jsonl"), Some(2), None);
        let mut said = Vec::new();
        retention.prune(true, |pruned| {
            assert!(
                place.path().join(&pruned.file).exists(),
                "it is on record first"
            );
            said.push((pruned.file, pruned.last.unwrap().seq));
            true
        });
        assert_eq!(
            said.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(),
            [1, 2, 3]
        );
        assert_eq!(
            left(place.path()),
            ["audit-000000000004.jsonl", "audit-000000000005.jsonl"]
        );
    }

    #[test]
    fn files_go_by_the_age_of_their_last_record_unless_the_clock_is_wrong() {
        let place = files(5);
        let age = Duration::from_secs(3600 * 3 + 1800);
        let mut retention = retention(&place.path().join("audit.jsonl"), None, Some(age));
        retention.prune(false, |_| panic!("nothing is old by a wrong clock"));
        retention.prune(true, |_| true);
        assert_eq!(left(place.path()).len(), 3);
        assert!(!place.path().join("audit-000000000002.jsonl").exists());
    }

    #[test]
    fn what_is_not_on_record_is_not_deleted() {
        let place = files(3);
        let mut retention = retention(&place.path().join("audit.jsonl"), Some(1), None);
        retention.prune(true, |_| false);
        assert_eq!(left(place.path()).len(), 3);
    }

    #[test]
    fn what_is_none_of_ours_is_left_alone() {
        let place = files(1);
        let ours = fs::read(place.path().join("audit-000000000001.jsonl")).unwrap();
        put(place.path(), "audit-000000000009.jsonl", &ours);
        put(place.path(), "audit-000000000008.jsonl", b"no trail\n");
        put(place.path(), "audit-8.jsonl", &ours);
        put(place.path(), "other-000000000001.jsonl", &ours);
        fs::create_dir(place.path().join("audit-000000000007.jsonl")).unwrap();
        let age = Some(Duration::from_secs(1));
        let mut retention = retention(&place.path().join("audit.jsonl"), None, age);
        retention.prune(true, |_| true);
        assert_eq!(left(place.path()).len(), 5);
        assert!(!place.path().join("audit-000000000001.jsonl").exists());
    }

    #[test]
    fn numbers_are_of_twelve_digits_or_more() {
        let path = Path::new("/var/log/audit.jsonl");
        assert_eq!(number(path, "audit-000000000012.jsonl"), Some(12));
        assert_eq!(
            number(path, "audit-1000000000012.jsonl"),
            Some(1_000_000_000_012)
        );
        for name in ["audit.jsonl", "audit-+00000000012.jsonl", "audit-12.jsonl"] {
            assert_eq!(number(path, name), None, "{name}");
        }
    }

    #[test]
    fn what_cannot_be_deleted_is_on_record_once() {
        let place = files(2);
        let mut retention = retention(&place.path().join("audit.jsonl"), Some(1), None);
        let mut count = 0;
        for _ in 0..2 {
            retention.prune(true, |pruned| {
                count += 1;
                // As if it were a directory: no file can be deleted there.
                let path = place.path().join(pruned.file);
                fs::remove_file(&path).unwrap();
                fs::create_dir(&path).unwrap();
                true
            });
        }
        assert_eq!(count, 1);
    }
}
