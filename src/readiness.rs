//! Whether the daemon could do what it is asked for: what that depends on, and what of it is
//! missing. Others look; this only remembers, and tells the operator of each change once.

use std::{collections::BTreeMap, fmt};

/// Something without which requests fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dependency {
    /// The trail can be written.
    Audit,
    /// Files can be written for jobs.
    Files,
    /// Every issuer's keys are known.
    Keys,
}

impl Dependency {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Audit, Self::Files, Self::Keys];

    /// What it is called in metrics, in the log and by `/readyz`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Files => "files",
            Self::Keys => "keys",
        }
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is missing, and why; at first, nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readiness(BTreeMap<Dependency, String>);

impl Readiness {
    /// Whether nothing is missing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is there.
    #[must_use]
    pub fn has(&self, dependency: Dependency) -> bool {
        !self.0.contains_key(&dependency)
    }

    /// What is missing. Why is for the operator alone.
    pub fn missing(&self) -> impl Iterator<Item = Dependency> {
        self.0.keys().copied()
    }

    /// Takes note that `dependency` is still to come. Whatever is found to be the cause is news.
    pub fn expect(&mut self, dependency: Dependency) {
        self.0.insert(dependency, String::new());
    }

    /// Takes note that `dependency` is there, or why it is not, and says so if that is news. Gives
    /// whether it is.
    pub fn set(&mut self, dependency: Dependency, found: Result<(), String>) -> bool {
        match found {
            Ok(()) => {
                let was_missing = self.0.remove(&dependency).is_some();
                if was_missing {
                    let ready = self.is_complete();
                    tracing::info!(%dependency, ready, "is there again");
                }
                was_missing
            }
            Err(cause) if self.0.get(&dependency) == Some(&cause) => false,
            Err(cause) => {
                tracing::error!(%dependency, cause, "not ready");
                self.0.insert(dependency, cause);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Dependency, Readiness};

    #[test]
    fn a_change_is_news_once() {
        let mut readiness = Readiness::default();
        assert!(readiness.is_complete());
        assert!(!readiness.set(Dependency::Keys, Ok(())));
        readiness.expect(Dependency::Keys);
        assert!(!readiness.is_complete());
        assert!(readiness.set(Dependency::Keys, Err("none".to_owned())));
        assert!(!readiness.set(Dependency::Keys, Err("none".to_owned())));
        assert!(readiness.set(Dependency::Files, Err("gone".to_owned())));
        assert!(readiness.set(Dependency::Files, Err("full".to_owned())));
        let missing: Vec<_> = readiness.missing().collect();
        assert_eq!(missing, [Dependency::Files, Dependency::Keys]);
        assert!(readiness.set(Dependency::Files, Ok(())));
        assert!(readiness.has(Dependency::Files) && !readiness.is_complete());
        assert!(readiness.set(Dependency::Keys, Ok(())));
        assert!(readiness.is_complete());
    }
}
