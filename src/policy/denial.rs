//! What a refusal says, and to whom. The job hears of rules that are about its project, and of its
//! own claims; the operator's log has every rule with the first condition that was not met.

use std::fmt::{self, Write as _};

use super::{
    Asked, Policy,
    condition::{self, Failure},
    explain::Line,
};
use crate::{
    name::{SecretName, VariableName},
    token::{Claims, quoted::Quoted},
};

// More would not be read in a job's log.
const MOST_RULES: usize = 3;
const MOST_VARIABLES: usize = 5;

// Trailers of 4 KB go through everywhere, and `grpc-message` may triple what is not ASCII.
const LONGEST: usize = 1_000;

/// Secrets were refused. Displays what the job may know.
#[derive(Clone, Debug)]
pub struct Denied {
    refusals: Vec<Refusal>,
    account: Vec<Line>,
}

/// One secret was refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What the job calls it.
    pub variable: VariableName,
    /// What the vault calls it.
    pub name: SecretName,
    /// What the job may know of the reason.
    pub sentence: String,
}

impl Denied {
    /// The refused secrets, at least one, in the order of the request.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// For the operator: rule by rule, in file order, the first condition that was not met, with
    /// the claim's value. For rules that are for such jobs, one line a refused secret.
    #[must_use]
    pub fn account(&self) -> &[Line] {
        &self.account
    }
}

impl std::error::Error for Denied {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, others)) = self.refusals.split_first() else {
            return Ok(());
        };
        f.write_str(&first.sentence)?;
        for (index, other) in others.iter().take(MOST_VARIABLES).enumerate() {
            let before = if index == 0 { "; also refused: " } else { ", " };
            write!(f, "{before}{}", other.variable)?;
        }
        match others.len().saturating_sub(MOST_VARIABLES) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl Policy {
    pub(super) fn deny(&self, claims: &Claims, refused: &[&Asked]) -> Denied {
        let mut account = Vec::new();
        let mut failures: Vec<Vec<(&str, Failure<'_>)>> = vec![Vec::new(); refused.len()];
        for rule in &self.rules {
            if let Err(failure) = condition::admits(rule, claims) {
                account.push(Line::new(rule, None, failure));
                if failure.is_about_job(rule) {
                    let lists = failures.iter_mut();
                    lists.for_each(|failures| failures.push((&rule.name, failure)));
                }
                continue;
            }
            for (asked, failures) in refused.iter().zip(&mut failures) {
                if let Err(failure) = condition::fits(rule, asked, &self.defaults) {
                    account.push(Line::new(rule, Some(&asked.variable), failure));
                    if failure.is_about_job(rule) {
                        failures.push((&rule.name, failure));
                    }
                }
            }
        }
        let refusals = refused
            .iter()
            .zip(&failures)
            .map(|(asked, failures)| Refusal {
                variable: asked.variable.clone(),
                name: asked.name.clone(),
                sentence: sentence(claims, asked, failures),
            });
        Denied {
            refusals: refusals.collect(),
            account,
        }
    }
}

/// What the job is told: the rules that are about it, or else what it is.
pub(super) fn sentence(claims: &Claims, asked: &Asked, about: &[(&str, Failure<'_>)]) -> String {
    let mut text = format!(
        "no rule grants the secret {} (variable {})",
        asked.name, asked.variable
    );
    if about.is_empty() {
        text.push_str(" to ");
        text.push_str(&job(claims));
        return cut(text);
    }
    for (index, (rule, failure)) in about.iter().take(MOST_RULES).enumerate() {
        let before = if index == 0 { ": " } else { "; " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{before}rule {} {failure}", Quoted(rule));
    }
    if about.len() > MOST_RULES {
        let _ = write!(text, "; and {} more rules", about.len() - MOST_RULES);
    }
    cut(text)
}

/// Names and claims are bounded one by one; together they may be too much for a response.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let starts = text.char_indices().map(|(at, _)| at);
        let end = starts.take_while(|at| *at <= LONGEST).last();
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// The job in the claims that rules are usually about.
fn job(claims: &Claims) -> String {
    let mut text = match &claims.project_path {
        Some(path) => format!("a job of {}", Quoted(path)),
        None => "a job of an unnamed project".to_owned(),
    };
    if let Some(name) = &claims.git_ref {
        let protected = match claims.ref_protected {
            Some(true) => "protected ",
            Some(false) => "unprotected ",
            None => "",
        };
        // Anything but these two is no word of GitLab's, and not ours to repeat.
        let kind = match claims.ref_type.as_deref() {
            Some("branch") => "branch",
            Some("tag") => "tag",
            _ => "ref",
        };
        let _ = write!(text, " on the {protected}{kind} {}", Quoted(name));
    }
    match &claims.environment {
        Some(environment) => {
            let _ = write!(text, " for the environment {}", Quoted(environment));
        }
        None => text.push_str(" without an environment"),
    }
    if let Some((_, runs_in)) = condition::fork(claims) {
        let _ = write!(text, ", a fork whose pipeline runs in {}", Quoted(runs_in));
    }
    text
}
