//! What the policy would say, and why: the same conditions as in `authorise`, with every answer
//! kept. For the `Explain` call, which may pass on the verdict and the sentence only, and for the
//! operator, whose is the account.

use super::{
    Asked, Granted, Policy,
    condition::{self, Failure},
    denial,
};
use crate::{
    config::rule::Rule,
    name::VariableName,
    token::{Claims, quoted::Quoted},
};

/// What the policy would say to one secret.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What the job calls it.
    pub variable: VariableName,
    /// What would be granted, by which rule. Audit mode makes no difference here.
    pub granted: Option<Granted>,
    /// What the job may know.
    pub sentence: String,
    /// For the operator: rule by rule up to the one that grants, if one does, the first condition
    /// that is not met.
    pub account: Vec<Line>,
}

/// What one rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The rule's name.
    pub rule: String,
    /// The variable that it is about; `None` if the rule is not for such jobs, whatever they ask.
    pub variable: Option<VariableName>,
    /// What it says, after its name: `wants environment to be "production", and …`, `grants it`.
    pub says: String,
}

impl Line {
    pub(super) fn new(rule: &Rule, variable: Option<&VariableName>, failure: Failure<'_>) -> Self {
        Self {
            rule: rule.name.clone(),
            variable: variable.cloned(),
            says: failure.to_string(),
        }
    }
}

impl Policy {
    /// What would be said to each secret. Grants nothing.
    #[must_use]
    pub fn explain<'a>(
        &self,
        claims: &Claims,
        asked: impl IntoIterator<Item = &'a Asked>,
    ) -> Vec<Explanation> {
        asked
            .into_iter()
            .map(|asked| self.explain_one(claims, asked))
            .collect()
    }

    fn explain_one(&self, claims: &Claims, asked: &Asked) -> Explanation {
        let mut account = Vec::new();
        let mut about = Vec::new();
        for rule in &self.rules {
            let admitted = condition::admits(rule, claims);
            let variable = admitted.is_ok().then_some(&asked.variable);
            let fits = admitted.and_then(|()| condition::fits(rule, asked, &self.defaults));
            let Err(failure) = fits else {
                account.push(Line {
                    rule: rule.name.clone(),
                    variable: variable.cloned(),
                    says: "grants it".to_owned(),
                });
                break;
            };
            account.push(Line::new(rule, variable, failure));
            if failure.is_about_job(rule) {
                about.push((rule.name.as_str(), failure));
            }
        }
        let granted = self.grant(&self.admitting(claims), asked);
        let sentence = match &granted {
            Some(granted) => grants(granted),
            None => denial::sentence(claims, asked, &about),
        };
        Explanation {
            variable: asked.variable.clone(),
            granted,
            sentence,
            account,
        }
    }
}

fn grants(granted: &Granted) -> String {
    let rule = granted.rule.as_deref().unwrap_or_default();
    format!(
        "rule {} grants the secret {} of {} (variable {})",
        Quoted(rule),
        granted.name,
        granted.vault,
        granted.variable
    )
}
