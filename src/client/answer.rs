//! Is this an answer to what was asked? A job can point the client at any socket, and the answer
//! ends up in a shell: so it must name exactly the variables that were asked for, in the way they
//! were asked for, and its paths must be absolute and so plain that no shell, and no line of
//! `$GITLAB_ENV`, can read anything else into them.

use std::collections::BTreeMap;

use runner_secrets_proto::v1::{ResolveResponse, Variable, variable};

use super::{error::Error, spec::Spec};
use crate::{name::VariableName, screen::Plain, secret::SecretValue};

/// A checked answer.
#[derive(Debug)]
pub struct Answer {
    /// The daemon's name for the request, if it gave one.
    pub request_id: String,
    /// What the daemon keeps files under; `None` when it wrote none.
    pub lease: Option<String>,
    /// What each variable gets: exactly those that were asked for.
    pub variables: BTreeMap<VariableName, Content>,
    /// For the job's log: one sentence each, safe to print.
    pub warnings: Vec<String>,
    /// Whether the operator lets the client write to a disk.
    pub disk_allowed: bool,
}

/// What came for one variable.
#[derive(Debug)]
pub enum Content {
    /// A file that the daemon wrote.
    Path(String),
    /// What the client is to write into a file.
    File(SecretValue),
    /// The variable's own value.
    Value(SecretValue),
}

impl Answer {
    /// Takes an answer apart, or refuses it.
    pub fn check(spec: &Spec, answer: ResolveResponse, request_id: String) -> Result<Self, Error> {
        let asked = spec.variables().map(|(variable, _)| variable);
        let mut given = exactly(asked, answer.variables)?;
        let mut variables = BTreeMap::new();
        let mut warnings = Vec::new();
        for (variable, file) in spec.variables() {
            let given = given.remove(variable).unwrap_or_default();
            for warning in &given.warnings {
                warnings.push(format!("{variable}: {}", Plain(warning)));
            }
            variables.insert(variable.clone(), content(variable, file, given)?);
        }
        let written = |content: &Content| matches!(content, Content::Path(_));
        let unwritten = |content: &Content| matches!(content, Content::File(_));
        if variables.values().any(written) && variables.values().any(unwritten) {
            return Err(refused("it writes some of the files and not others".into()));
        }
        let lease = Some(answer.lease_id).filter(|lease| !lease.is_empty());
        if lease.as_deref().is_some_and(|lease| !is_lease(lease)) {
            return Err(refused("its lease has characters that no lease has".into()));
        }
        Ok(Self {
            request_id,
            lease,
            variables,
            warnings,
            disk_allowed: answer.disk_allowed,
        })
    }
}

/// What an answer has for each variable that was asked for, if it has that and nothing else.
pub(super) fn exactly<'a, Given>(
    asked: impl Iterator<Item = &'a VariableName>,
    mut answer: BTreeMap<String, Given>,
) -> Result<BTreeMap<VariableName, Given>, Error> {
    let mut given = BTreeMap::new();
    for variable in asked {
        match answer.remove(variable.as_str()) {
            Some(one) => given.insert(variable.clone(), one),
            None => return Err(refused(format!("it leaves out {variable}"))),
        };
    }
    match answer.keys().next() {
        None => Ok(given),
        Some(extra) => Err(refused(format!("it adds {extra}, which was not asked for"))),
    }
}

fn content(variable: &VariableName, file: bool, given: Variable) -> Result<Content, Error> {
    if given.file != file {
        let kind = if file { "value" } else { "file" };
        return Err(refused(format!("it makes {variable} a {kind}")));
    }
    match (given.content, file) {
        (Some(variable::Content::Value(value)), true) => Ok(Content::File(SecretValue::new(value))),
        (Some(variable::Content::Value(value)), false) => {
            Ok(Content::Value(SecretValue::new(value)))
        }
        (Some(variable::Content::Path(path)), true) if is_plain_path(&path, variable) => {
            Ok(Content::Path(path))
        }
        (Some(variable::Content::Path(_)), true) => Err(refused(format!(
            "its path for {variable} is not plain and absolute, or ends in another name"
        ))),
        (Some(variable::Content::Path(_)), false) => Err(refused(format!(
            "it gives a path as the value of {variable}"
        ))),
        (None, _) => Err(refused(format!("it has nothing for {variable}"))),
    }
}

/// Absolute, of characters that mean nothing to a shell, in one spelling, ending in the variable.
fn is_plain_path(path: &str, variable: &VariableName) -> bool {
    // What the kernel takes.
    const LONGEST: usize = 4096;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let Some(relative) = path.strip_prefix('/') else {
        return false;
    };
    path.len() < LONGEST
        && relative
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && part.bytes().all(plain))
        && relative.rsplit('/').next() == Some(variable.as_str())
}

/// Leases are random digits and letters, and never look like the client's own (`file:…`).
fn is_lease(lease: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    lease.len() <= 128 && lease.bytes().all(plain)
}

fn refused(problem: String) -> Error {
    Error::Answer { problem }
}

#[cfg(test)]
mod tests;
