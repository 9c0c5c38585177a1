//! `bound_claims`: which jobs a rule is for. An operator who is mistaken here gives secrets away
//! or looks for an hour why nothing matches, so what cannot be meant is refused with what could.

use std::collections::BTreeMap;

use super::{Bound, Pattern, Table};
use crate::token::claims::NEVER_KEPT;

/// Claims that say which project a job belongs to, the telling ones first.
pub(crate) const IDENTITY: [&str; 9] = [
    "project_path",
    "project_id",
    "job_project_path",
    "job_project_id",
    "namespace_path",
    "namespace_id",
    "job_namespace_path",
    "job_namespace_id",
    "sub",
];

/// Claims that hold an id: digits, of which a pattern would match unrelated ones.
const IDS: [&str; 8] = [
    "project_id",
    "job_project_id",
    "namespace_id",
    "job_namespace_id",
    "user_id",
    "pipeline_id",
    "job_id",
    "runner_id",
];

/// Claims that are `true` or `false`, however the issuer writes it.
const BOOLEANS: [&str; 2] = ["ref_protected", "environment_protected"];

/// Claims that are objects or lists of them: nothing to compare a pattern with.
const OBJECTS: [&str; 1] = ["job_config"];

pub(super) fn read(table: &mut Table<'_>) -> Option<Vec<(String, Vec<Pattern>)>> {
    let key = "bound_claims";
    if !table.has(key) {
        let problem = "is missing: without it the rule would grant to every job of the instance";
        table.problem(key, problem.to_owned());
    }
    let claims: BTreeMap<String, Bound> = table.entries(key);
    if table.has(key) && !claims.keys().any(|name| IDENTITY.contains(&name.as_str())) {
        let problem = "binds no project: bind project_path, project_id, namespace_path, \
                       namespace_id or sub, or say project_path = \"**\" if every project is meant";
        table.problem(key, problem.to_owned());
    }
    let mut read = Vec::new();
    let mut right = !claims.is_empty();
    for (name, bound) in claims {
        match patterns(&name, bound) {
            Ok(patterns) => read.push((name, patterns)),
            Err(problem) => {
                right = false;
                table.problem_in(key, &name, problem);
            }
        }
    }
    read.sort_by_key(|(name, _)| rank(name));
    right.then_some(read)
}

/// Where a claim comes among a rule's; those that say nothing of the project stay as they are.
fn rank(name: &str) -> usize {
    let found = IDENTITY.iter().position(|identity| *identity == name);
    found.unwrap_or(IDENTITY.len())
}

/// All patterns of a claim, or the first problem.
fn patterns(name: &str, bound: Bound) -> Result<Vec<Pattern>, String> {
    let pattern = |text: &String| {
        let parsed = Pattern::parse(text).map_err(|error| format!("{text:?} {error}"))?;
        match mistake(name, &parsed) {
            Some(problem) => Err(format!("{text:?} {problem}")),
            None => Ok(parsed),
        }
    };
    bound.0?.iter().map(pattern).collect()
}

/// What cannot be meant, as the end of a sentence.
fn mistake(name: &str, pattern: &Pattern) -> Option<&'static str> {
    let text = pattern.as_str();
    if NEVER_KEPT.contains(&name) {
        return Some("can never match: this claim is not kept; bind user_login or user_id");
    }
    if OBJECTS.contains(&name) {
        return Some("can never match: this claim is an object");
    }
    if BOOLEANS.contains(&name) && text != "true" && text != "false" {
        return Some("can never match: this claim is true or false");
    }
    if IDS.contains(&name) && !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some("is no id: digits, without wildcards, which would match unrelated ids");
    }
    match name {
        "project_path" | "job_project_path" => project_path(text),
        "namespace_path" | "job_namespace_path" => group(text),
        "ref" if text.starts_with("refs/") => {
            Some("can hardly be meant: ref is the bare name; refs/heads/… is in ref_path")
        }
        "ref_path" if !text.starts_with("refs/") && !text.starts_with('*') => {
            Some("can never match: ref_path begins with refs/heads/ or refs/tags/")
        }
        _ => None,
    }
}

fn project_path(text: &str) -> Option<&'static str> {
    if !text.contains('/') && !text.contains("**") {
        return Some("can never match: a project's path has a group, as in acme/shop");
    }
    group(text)
}

fn group(text: &str) -> Option<&'static str> {
    if text.starts_with('/') || text.ends_with('/') || text.contains("//") {
        return Some("can never match: a path neither begins nor ends with a slash, nor has two");
    }
    // Anybody may register a group whose name only begins like ours.
    let first = text.split('/').next().unwrap_or_default();
    if first.contains('*') && first.bytes().any(|byte| byte != b'*') {
        return Some("would match other people's groups: write acme/**, not acme**");
    }
    None
}
