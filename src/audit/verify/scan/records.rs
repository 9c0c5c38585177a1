//! What the few records say that are about the trail itself.

use serde::de::DeserializeOwned;

use super::{Kind, Scan};
use crate::audit::{
    chain::{Head, Line, VERSION},
    event::{Checkpoint, Header, Pruned, Recovered},
    verify::summary::{MOST_KEYS, MOST_NOTES},
};

impl Scan<'_> {
    pub(super) fn header(&mut self, line: &Line<'_>) {
        let Some(header) = self.fields::<Header>(line) else {
            return;
        };
        if header.version != VERSION {
            self.damage(Kind::Version(header.version));
        }
        let before = header.predecessor.as_ref().map(|before| before.head);
        if before.unwrap_or(Head::GENESIS) != line.before() {
            self.damage(Kind::HeaderWrong);
        }
        if self.number == 1 {
            self.summary.host = Some(header.host);
            self.summary.predecessor = header.predecessor;
        }
    }

    pub(super) fn checkpoint(&mut self, line: &Line<'_>) {
        let Some(checkpoint) = self.fields::<Checkpoint>(line) else {
            return;
        };
        let summary = &mut self.summary;
        summary.checkpoints += 1;
        if let Some(key) = &checkpoint.key
            && (summary.keys.len() < MOST_KEYS || summary.keys.contains_key(key))
        {
            *summary.keys.entry(key.clone()).or_default() += 1;
        }
        if self.options.public_keys.is_empty() {
            return;
        }
        let keys = &self.options.public_keys;
        let Some(id) = checkpoint.key else {
            return self.damage(Kind::Unsigned);
        };
        match keys.iter().find(|key| key.id() == id) {
            None => self.damage(Kind::OtherKey { key: id }),
            Some(key) if key.has_signed(line) => summary.signed = Some(line.seq),
            Some(_) => self.damage(Kind::Signature),
        }
    }

    pub(super) fn pruned(&mut self, line: &Line<'_>) {
        if let Some(pruned) = self.fields::<Pruned>(line) {
            let (name, number) = (&self.summary.name, self.number);
            let to = pruned
                .last
                .map(|last| format!(", up to record {},", last.seq));
            let to = to.unwrap_or_default();
            self.summary.notes.add(format!(
                "{name}:{number}: the file {:?}{to} was deleted by retention at {}",
                pruned.file, line.time
            ));
            if self.summary.pruned.len() < MOST_NOTES {
                self.summary.pruned.push(pruned);
            }
        }
    }

    pub(super) fn recovered(&mut self, line: &Line<'_>) {
        if let Some(recovered) = self.fields::<Recovered>(line) {
            let (name, number) = (&self.summary.name, self.number);
            self.summary.notes.add(format!(
                "{name}:{number}: no trail could be written from {} to {} ({}): {} requests were refused, {} records lost",
                recovered.since, line.time, recovered.cause, recovered.refused, recovered.lost
            ));
        }
    }

    pub(super) fn fields<T: DeserializeOwned>(&mut self, line: &Line<'_>) -> Option<T> {
        let fields = serde_json::from_str(line.text).ok();
        if fields.is_none() {
            let event = line.event.to_owned();
            self.damage(Kind::Fields { event });
        }
        fields
    }
}
