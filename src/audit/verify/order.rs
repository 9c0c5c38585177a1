//! Whether the records of one file follow each other, and if not, what became of them.
//!
//! A record that does not follow the last one is not believed at once: it begins an *island*. If
//! the record that was due comes after all, the island was what is out of place; if it does not,
//! what was due is missing. Either way the trail is taken up again, so that one damage is reported
//! as one, and the next one is found as well.

use std::{cmp::Ordering, collections::VecDeque};

use super::damage::{Kind, Span};
use crate::audit::chain::{Digest, Head, Line};

/// Follows the records of a file.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// What the first record was written after, where that is known.
    begin: Option<Head>,
    /// The last record that is in place.
    last: Option<Head>,
    island: Option<Island>,
    /// Islands that may have their place further on.
    aside: Vec<Island>,
    /// The records that came last, to tell a copy from a forgery.
    recent: VecDeque<Head>,
}

/// Records that follow each other and nothing else.
#[derive(Clone, Copy, Debug)]
struct Island {
    lines: (u64, u64),
    first: Head,
    prev: Digest,
    last: Head,
    /// Lines before it that are no records: as many records may have been there.
    broken: u64,
}

/// What is wrong, from line to line.
pub(super) type Finding = ((u64, u64), Kind);

/// Lines are swapped and duplicated nearby; more is told less exactly.
const RECENT: usize = 4096;
const ASIDE: usize = 64;

impl Order {
    /// What the first record was written after; `None` where its beginning is not known.
    pub(super) fn begin(&self) -> Option<Head> {
        self.begin
    }

    /// The last record.
    pub(super) fn end(&self) -> Option<Head> {
        self.last
    }

    /// Takes the next record, in line `at`, after `broken` lines that are none.
    pub(super) fn take(&mut self, at: u64, line: &Line<'_>, broken: u64) -> Vec<Finding> {
        let mut findings = Vec::new();
        let Some(last) = self.last else {
            self.begin = (broken == 0).then(|| line.before());
            self.advance(line.head(), &mut findings);
            return findings;
        };
        if follows(last, line) {
            if let Some(island) = self.island.take() {
                findings.extend(self.set_aside(island));
            }
            self.advance(line.head(), &mut findings);
            return findings;
        }
        match &mut self.island {
            Some(island) if follows(island.last, line) || may_follow(island.last, line, broken) => {
                island.last = line.head();
                island.lines.1 = at;
            }
            Some(_) => {
                self.settle(&mut findings);
                findings.extend(self.take(at, line, broken));
            }
            None if may_follow(last, line, broken) => self.advance(line.head(), &mut findings),
            None => self.island = Some(Island::at(at, line, broken)),
        }
        findings
    }

    /// What is left to say at the end of the file.
    pub(super) fn finish(&mut self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.settle(&mut findings);
        let strays = std::mem::take(&mut self.aside);
        findings.extend(strays.into_iter().map(|island| {
            let span = island.span();
            (island.lines, Kind::Foreign { span })
        }));
        findings
    }

    fn advance(&mut self, head: Head, findings: &mut Vec<Finding>) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(head);
        self.last = Some(head);
        let fits = |island: &Island| island.prev == head.hash && island.first.seq == head.seq + 1;
        if let Some(index) = self.aside.iter().position(fits) {
            let island = self.aside.swap_remove(index);
            let span = island.span();
            findings.push((island.lines, Kind::Moved { span }));
            self.advance(island.last, findings);
        }
    }

    /// The record that was due came after the island.
    fn set_aside(&mut self, island: Island) -> Option<Finding> {
        let last = self.last?;
        if island.first.seq > last.seq && self.aside.len() < ASIDE {
            self.aside.push(island);
            return None;
        }
        if self.begin == Some(island.last) {
            self.begin = Some(Head {
                seq: island.first.seq.saturating_sub(1),
                hash: island.prev,
            });
            let span = island.span();
            return Some((island.lines, Kind::Moved { span }));
        }
        Some((island.lines, self.stray(&island)))
    }

    /// The record that was due does not come: the trail goes on with the island.
    fn settle(&mut self, findings: &mut Vec<Finding>) {
        let (Some(island), Some(last)) = (self.island.take(), self.last) else {
            return;
        };
        let (first, line) = (island.first.seq, (island.lines.0, island.lines.0));
        let due = last.seq + 1;
        findings.push(match first.cmp(&due) {
            Ordering::Greater => {
                let span = Span {
                    from: due,
                    to: first - 1,
                };
                let broken = island.broken;
                (line, Kind::Missing { span, broken })
            }
            Ordering::Equal => (line, Kind::Unchained { seq: first }),
            Ordering::Less => (island.lines, self.stray(&island)),
        });
        if island.last.seq > last.seq {
            self.advance(island.last, findings);
        }
    }

    /// What records are whose numbers have all been there.
    fn stray(&self, island: &Island) -> Kind {
        let span = island.span();
        let index = self
            .recent
            .binary_search_by_key(&island.first.seq, |head| head.seq);
        match index.ok().and_then(|index| self.recent.get(index)) {
            Some(head) if head.hash == island.first.hash => Kind::Again { span },
            Some(_) => Kind::Twice { span },
            None => Kind::Stray { span },
        }
    }
}

impl Island {
    fn at(at: u64, line: &Line<'_>, broken: u64) -> Self {
        Self {
            lines: (at, at),
            first: line.head(),
            prev: line.prev,
            last: line.head(),
            broken,
        }
    }

    fn span(&self) -> Span {
        Span {
            from: self.first.seq,
            to: self.last.seq,
        }
    }
}

fn follows(last: Head, line: &Line<'_>) -> bool {
    line.before() == last && line.seq > 0
}

/// Whether the broken lines between can be the records between.
fn may_follow(last: Head, line: &Line<'_>, broken: u64) -> bool {
    (2..=broken + 1).contains(&line.seq.saturating_sub(last.seq))
}
