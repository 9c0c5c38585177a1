//! How the files of a trail hang together: each has to have been written after the last record of
//! another, and what was kept elsewhere has to be in them.

use super::{
    Kept, Options, Report,
    damage::{Damage, Kind, Span},
    summary::Summary,
};
use crate::audit::chain::Head;

/// Makes the report of the files, which come in the order of their first records.
pub(super) fn link(files: Vec<Summary>, options: &Options) -> Report {
    let mut chain = Chain::of(&files);
    chain.follow();
    chain.held_against(options);
    let Chain {
        root,
        last,
        found,
        mut notes,
        ..
    } = chain;
    if let Some(root) = root.and_then(|root| files.get(root)) {
        notes.extend(beginning(root, &files));
    }
    notes.extend(files.iter().enumerate().filter_map(|(index, file)| {
        let name = &file.name;
        let said = if Some(index) == last {
            "the beginning of a record that broke off, or is being written; the daemon closes it off when it starts"
        } else {
            "the beginning of a record that broke off"
        };
        (file.tail > 0).then(|| format!("{name}: its last {} bytes are {said}", file.tail))
    }));
    Report::of(files, root, last, found, notes, options)
}

struct Chain<'a> {
    files: &'a [Summary],
    root: Option<usize>,
    /// The file that the trail ends with, as far as it was followed.
    last: Option<usize>,
    /// The files that another one follows.
    followed: Vec<bool>,
    found: Vec<Damage>,
    notes: Vec<String>,
}

impl<'a> Chain<'a> {
    fn of(files: &'a [Summary]) -> Self {
        Self {
            files,
            root: None,
            last: None,
            followed: vec![false; files.len()],
            found: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn follow(&mut self) {
        for (index, file) in self.files.iter().enumerate() {
            let Some(first) = file.first else {
                continue;
            };
            let Some((last, end)) = self.end() else {
                (self.root, self.last) = (Some(index), Some(index));
                continue;
            };
            if let Some(before) = self.predecessor(index, file, last, end) {
                if let Some(followed) = self.followed.get_mut(before) {
                    *followed = true;
                }
                if before == last || file.end.is_some_and(|own| own.seq > end.seq) {
                    self.last = Some(index);
                }
                continue;
            }
            let kind = self.gap(file, first, last, end);
            self.found.push(Damage {
                file: Some(file.name.clone()),
                lines: None,
                kind,
            });
            if first > end.seq {
                self.last = Some(index);
            }
        }
    }

    fn end(&self) -> Option<(usize, Head)> {
        let last = self.last?;
        Some((last, self.files.get(last)?.end?))
    }

    /// The file that this one was written after; the one before it, where there is no other sign
    /// than its number.
    fn predecessor(&self, index: usize, file: &Summary, last: usize, end: Head) -> Option<usize> {
        let Some(begin) = file.begin else {
            let due = end.seq + 1..=end.seq + 1 + file.broken_before;
            return file.first.filter(|first| due.contains(first)).map(|_| last);
        };
        if begin == end {
            return Some(last);
        }
        let earlier = self.files.iter().zip(&self.followed).take(index);
        earlier
            .enumerate()
            .find(|(_, (earlier, followed))| earlier.end == Some(begin) && !**followed)
            .map(|(before, _)| before)
    }

    /// What it means that a file follows none of the others.
    fn gap(&self, file: &Summary, first: u64, last: usize, end: Head) -> Kind {
        let same = |other: &&Summary| {
            other.begin.is_some() && other.begin == file.begin && other.name != file.name
        };
        if let Some(other) = self.files.iter().find(same) {
            return Kind::Copy(other.name.clone());
        }
        let (after, host) = match self.files.get(last) {
            Some(last) => (last.name.clone(), last.host.as_deref()),
            None => (String::new(), None),
        };
        let hosts = match (host, file.host.as_deref()) {
            (Some(one), Some(other)) if one != other => format!(" (hosts {one:?} and {other:?})"),
            _ => String::new(),
        };
        let due = end.seq + 1;
        if first > due {
            let named = file.predecessor.as_ref();
            return Kind::Between {
                span: Span {
                    from: due,
                    to: first - 1,
                },
                after,
                named: named.and_then(|before| before.file.clone()),
            };
        }
        if first == due {
            return Kind::NotAfter {
                seq: end.seq,
                after,
                hosts,
            };
        }
        Kind::Overlap {
            seq: first,
            after,
            end: end.seq,
            hosts,
        }
    }

    /// Looks for each record that was kept elsewhere.
    fn held_against(&mut self, options: &Options) {
        let begin = self.root.and_then(|root| self.files.get(root)?.begin);
        let end = self.end().map_or(0, |(_, end)| end.seq);
        for (index, kept) in options.kept.iter().enumerate() {
            let seen = self
                .files
                .iter()
                .filter_map(|file| Some((file, (*file.kept.get(index)?)?)));
            let mut other = None;
            let mut same = begin == Some(kept.head);
            for (file, (line, is_same)) in seen {
                same |= is_same;
                other = other.or(Some((file.name.clone(), line)));
            }
            if same {
                self.newer(kept, end);
                continue;
            }
            let at_end = kept.head.seq > end;
            let seq = kept.head.seq;
            let what = kept.what;
            let (file, line) = other.unzip();
            let kind = match line {
                Some(_) => Kind::Kept { seq, what },
                None if at_end => {
                    let from = end + 1;
                    let span = Span { from, to: seq };
                    Kind::Cut { span, what }
                }
                None => Kind::KeptMissing { seq, what },
            };
            let lines = line.map(|line| (line, line));
            self.found.push(Damage { file, lines, kind });
        }
    }

    fn newer(&mut self, kept: &Kept, end: u64) {
        let newer = end.saturating_sub(kept.head.seq);
        if newer > 0 {
            let what = kept.what;
            self.notes.push(format!(
                "{newer} records are newer than what {what} names: that some of their end was cut off cannot be seen"
            ));
        }
    }
}

/// What there is to say of a trail that does not begin with the first record of all.
fn beginning(root: &Summary, files: &[Summary]) -> Option<String> {
    let begin = root.begin.filter(|begin| begin.seq > 0)?;
    let named = root.predecessor.as_ref()?.file.as_deref();
    let named = named.map_or_else(String::new, |file| format!(", {file:?}"));
    let mut pruned = files.iter().flat_map(|file| &file.pruned);
    let why = if pruned.any(|pruned| pruned.last == Some(begin)) {
        "which retention deleted, as a record says"
    } else {
        "which is not here, and no record here says that retention deleted it"
    };
    Some(format!(
        "{}: the trail begins with record {}, after another file{named}, {why}",
        root.name,
        begin.seq + 1,
    ))
}
