//! What belongs to the records of a package: their checkpoints, and the policies that they refer
//! to.

use std::{collections::BTreeSet, fs};

use serde::Deserialize;

use super::{Error, inside, package::Package};
use crate::audit::{
    chain::{Digest, Line},
    trail::{Source, Unreadable},
};

/// What was found besides the checkpoints.
pub(super) struct Gathered {
    /// How many policies.
    pub(super) policies: usize,
    /// The hashes of those that are not beside the trail, or are other texts.
    pub(super) missing: Vec<String>,
}

/// Any record, as far as it refers to a policy.
#[derive(Deserialize)]
struct Referring {
    /// Of a policy's own record.
    policy_hash: Option<String>,
    /// Of a request.
    policy: Option<Policy>,
}

#[derive(Deserialize)]
struct Policy {
    hash: Option<String>,
}

/// Puts them into the package.
pub(super) fn gather(sources: &[Source], package: &mut Package) -> Result<Gathered, Error> {
    let mut hashes = BTreeSet::new();
    let mut checkpoints = package.create("checkpoints")?;
    for source in sources {
        let failed = |why: Unreadable| Error::Source {
            path: package.path().join(inside(source)),
            why,
        };
        let mut lines = package.lines(&inside(source)).map_err(failed)?;
        let mut text = Vec::new();
        while lines
            .next(&mut text)
            .map_err(|why| failed(why.into()))?
            .is_some()
        {
            let Ok(line) = Line::parse(&text) else {
                continue;
            };
            match line.event {
                "checkpoint" => checkpoints.put(format!("{}\n", line.text).as_bytes())?,
                "policy" | "intent" | "outcome" => hashes.extend(policy(&line)),
                _ => {}
            }
        }
    }
    package.finish(checkpoints)?;
    let mut missing = Vec::new();
    for hash in &hashes {
        if !put(hash, sources, package)? {
            missing.push(hash.to_string());
        }
    }
    Ok(Gathered {
        policies: hashes.len() - missing.len(),
        missing,
    })
}

/// The policy that a record refers to. What is no hash names no file.
fn policy(line: &Line<'_>) -> Option<Digest> {
    let record: Referring = serde_json::from_str(line.text).ok()?;
    let asked = record.policy.and_then(|policy| policy.hash);
    Digest::parse(&record.policy_hash.or(asked)?)
}

/// Copies a policy's text from beside the trail, if it is there and is the one that was meant.
fn put(hash: &Digest, sources: &[Source], package: &mut Package) -> Result<bool, Error> {
    let name = format!("policies/{hash}.txt");
    let beside = sources.iter().filter_map(|source| source.path.parent());
    let beside: BTreeSet<_> = beside.map(|directory| directory.join(&name)).collect();
    let mut texts = beside.iter().filter_map(|path| fs::read(path).ok());
    let Some(text) = texts.find(|text| Digest::of(text) == *hash) else {
        return Ok(false);
    };
    package.file(&name, &text)?;
    Ok(true)
}
