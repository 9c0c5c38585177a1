//! Looks through one file of a trail, line by line: every line's hash, its place in the chain, the
//! signatures of checkpoints, and what the records themselves say of times without a trail. Of the
//! records it reads only those few as JSON; the rest is hashed as it stands.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Options,
    damage::{Damage, Kind, MOST},
    order::{Finding, Order},
    summary::Summary,
};
use crate::audit::{
    chain::{Broken, Line},
    event::Torn,
    trail::{End, Fragment, Source, Unreadable},
};

mod records;

/// Looks through `source`, and counts the bytes into `read`.
pub(super) fn scan(source: &Source, options: &Options, read: &AtomicU64) -> Summary {
    let mut scan = Scan::new(source, options);
    if let Err(error) = scan.run(source, read) {
        scan.summary.unreadable = true;
        scan.file_damage(Kind::Unreadable(error.to_string()));
    }
    scan.finish()
}

struct Scan<'a> {
    options: &'a Options,
    summary: Summary,
    order: Order,
    number: u64,
    /// The lines that are no records since the last one that is, and what is wrong with them.
    fragment: Fragment,
    broken: Vec<Finding>,
}

impl<'a> Scan<'a> {
    fn new(source: &Source, options: &'a Options) -> Self {
        Self {
            options,
            summary: Summary {
                name: source.name(),
                kept: vec![None; options.kept.len()],
                ..Summary::default()
            },
            order: Order::default(),
            number: 0,
            fragment: Fragment::default(),
            broken: Vec::new(),
        }
    }

    fn run(&mut self, source: &Source, read: &AtomicU64) -> Result<(), Unreadable> {
        let mut lines = source.lines()?;
        let mut text = Vec::new();
        while let Some(end) = lines.next(&mut text)? {
            let bytes = text.len() as u64 + u64::from(end == End::Line);
            self.number = lines.number();
            self.summary.bytes += bytes;
            read.fetch_add(bytes, Ordering::Relaxed);
            match (end, Line::parse(&text)) {
                (End::Line | End::File, Ok(line)) => self.record(&line),
                (End::Line, Err(Broken::Hash)) => {
                    let seq = Line::claimed(&text);
                    let kind = seq.map_or(Kind::NoRecord, |seq| Kind::Altered { seq });
                    self.no_record(&text, kind);
                }
                (End::Line, Err(Broken::Form)) => self.no_record(&text, Kind::NoRecord),
                (End::Never, _) => self.no_record(&text, Kind::Long),
                (End::File, _) => self.tail(&text),
            }
        }
        Ok(())
    }

    fn no_record(&mut self, text: &[u8], kind: Kind) {
        self.fragment.add(text);
        // What is too much to list is counted when it is reported.
        if self.fragment.lines() <= 2 * MOST as u64 {
            self.broken.push(((self.number, self.number), kind));
        }
    }

    /// Bytes without a line end. What a machine leaves when it stops is the beginning of a line, or
    /// all of it; a whole line and something else in place of its end is not.
    fn tail(&mut self, text: &[u8]) {
        self.summary.tail = text.len() as u64;
        if let Some((_, line)) = text.split_last()
            && let Ok(line) = Line::parse(line)
        {
            let seq = line.seq;
            self.damage(Kind::LineEnd { seq });
        }
    }

    fn record(&mut self, line: &Line<'_>) {
        let broken = self.settle(line);
        self.summary.count(line, broken);
        self.look_for_kept(line);
        if self.number == 1 && line.event != "header" {
            self.damage(Kind::NoHeader);
        }
        if self.number > 1 && line.event == "header" {
            self.damage(Kind::HeaderInside);
        }
        let findings = self.order.take(self.number, line, broken);
        self.report(findings);
        match line.event {
            "header" => self.header(line),
            "checkpoint" => self.checkpoint(line),
            "pruned" => self.pruned(line),
            "recovered" => self.recovered(line),
            _ => {}
        }
    }

    /// Says what the lines before this record are that are none, and how many of them may have
    /// been records.
    fn settle(&mut self, line: &Line<'_>) -> u64 {
        let fragment = std::mem::take(&mut self.fragment);
        let torn = (line.event == "torn")
            .then(|| self.fields::<Torn>(line))
            .flatten();
        let Some(torn) = torn else {
            self.report_broken(fragment.lines());
            return fragment.lines();
        };
        let at = format!("{}:{}", self.summary.name, self.number);
        let bytes = torn.bytes;
        if bytes == 0 && fragment.lines() == 0 || fragment.lines() == 1 && fragment.is(&torn) {
            self.broken.clear();
            let note = format!("{at}: {bytes} bytes of a record broke off at {}", line.time);
            self.summary.notes.add(note);
            return 0;
        }
        if fragment.lines() > 1 && fragment.is(&torn) {
            self.broken.clear();
            let lines = fragment.before(self.number);
            self.report(vec![(lines, Kind::Fragment { bytes })]);
            return 0;
        }
        self.report_broken(fragment.lines());
        self.damage(Kind::TornOther);
        fragment.lines()
    }

    fn look_for_kept(&mut self, line: &Line<'_>) {
        let kept = self.options.kept.iter().zip(&mut self.summary.kept);
        for (kept, found) in kept.filter(|(kept, _)| kept.head.seq == line.seq) {
            let same = kept.head == line.head();
            if same || found.is_none() {
                *found = Some((self.number, same));
            }
        }
    }

    fn report_broken(&mut self, lines: u64) {
        let broken = std::mem::take(&mut self.broken);
        let rest = lines.saturating_sub(broken.len() as u64);
        self.report(broken);
        self.summary.damages.leave_out(rest);
    }

    fn report(&mut self, findings: Vec<Finding>) {
        for (lines, kind) in findings {
            self.summary.damages.add(Damage {
                file: Some(self.summary.name.clone()),
                lines: Some(lines),
                kind,
            });
        }
    }

    /// A damage in the line that is being read.
    fn damage(&mut self, kind: Kind) {
        self.report(vec![((self.number, self.number), kind)]);
    }

    /// A damage of the file as a whole.
    fn file_damage(&mut self, kind: Kind) {
        let file = Some(self.summary.name.clone());
        let lines = None;
        self.summary.damages.add(Damage { file, lines, kind });
    }

    fn finish(mut self) -> Summary {
        self.report_broken(self.fragment.lines());
        let findings = self.order.finish();
        self.report(findings);
        if self.summary.bytes == 0 && !self.summary.unreadable {
            // A gap shows where records were in it, unless they were the last of all.
            let note =
                "is empty: the daemon was stopped before its first line, or all of it was cut off";
            self.summary
                .notes
                .add(format!("{} {note}", self.summary.name));
        } else if self.summary.records == 0 {
            self.file_damage(Kind::NoRecords);
        }
        self.summary.begin = self.order.begin();
        self.summary.end = self.order.end();
        self.summary
    }
}
