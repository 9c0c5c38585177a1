//! What the policy would say to a spec, as the daemon tells a job: checked to be about exactly what
//! was asked, and printed one secret a line, for people or for machines. The daemon's sentences
//! are foreign text like any other, and cannot steer the screen that they appear on.

use std::collections::BTreeMap;

use runner_secrets_proto::v1::{ExplainResponse, Verdict};
use serde::Serialize;

use super::{answer::exactly, error::Error, spec::Spec};
use crate::{
    name::VariableName,
    screen::{self, Plain},
};

/// A checked answer.
#[derive(Debug)]
pub struct Verdicts {
    request_id: String,
    version: String,
    by_variable: BTreeMap<VariableName, Verdict>,
}

impl Verdicts {
    /// Takes an answer apart, or refuses it.
    pub(super) fn check(
        spec: &Spec,
        answer: ExplainResponse,
        request_id: String,
        version: String,
    ) -> Result<Self, Error> {
        let variables = spec.variables().map(|(variable, _)| variable);
        Ok(Self {
            request_id,
            version,
            by_variable: exactly(variables, answer.verdicts)?,
        })
    }

    /// The daemon's version; empty if it does not say.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Each variable, whether it is granted, and by which rule or why not.
    pub(super) fn each(&self) -> impl Iterator<Item = (&VariableName, bool, String)> {
        self.by_variable.iter().map(|(variable, verdict)| {
            let says = if verdict.granted {
                format!("granted by the rule {}", verdict.rule)
            } else {
                verdict.sentence.clone()
            };
            (variable, verdict.granted, says)
        })
    }

    /// Whether the job would get all that it asks for.
    #[must_use]
    pub fn all_granted(&self) -> bool {
        self.by_variable.values().all(|verdict| verdict.granted)
    }

    /// For people: mark, variable and rule in columns, and the reason below what is denied.
    #[must_use]
    pub fn text(&self, terminal: bool) -> String {
        let lengths = self.by_variable.keys().map(|name| name.as_str().len());
        let width = lengths.max().unwrap_or_default();
        let lines = self.by_variable.iter().map(|(variable, verdict)| {
            let mark = screen::mark(verdict.granted, terminal);
            if verdict.granted {
                let (variable, rule) = (variable.as_str(), Plain(&verdict.rule));
                format!("{mark}  {variable:width$}  {rule}\n")
            } else {
                format!("{mark}  {variable}\n    {}\n", Plain(&verdict.sentence))
            }
        });
        lines.collect()
    }

    /// For machines: one line of JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        let secrets = self.by_variable.iter();
        let secret = |(variable, verdict): (&'_ VariableName, &'_ Verdict)| Line {
            variable: variable.as_str().to_owned(),
            granted: verdict.granted,
            rule: verdict.granted.then(|| verdict.rule.clone()),
            sentence: verdict.sentence.clone(),
        };
        screen::json(&Lines {
            request_id: &self.request_id,
            granted: self.all_granted(),
            secrets: secrets.map(secret).collect(),
        })
    }
}

#[derive(Serialize)]
struct Lines<'a> {
    request_id: &'a str,
    granted: bool,
    secrets: Vec<Line>,
}

#[derive(Serialize)]
struct Line {
    variable: String,
    granted: bool,
    rule: Option<String>,
    sentence: String,
}

#[cfg(test)]
mod tests {
    use runner_secrets_proto::v1::{ExplainResponse, Verdict};

    use super::Verdicts;
    use crate::client::{Environment, Spec};

    fn verdict(granted: bool, rule: &str, sentence: &str) -> Verdict {
        Verdict {
            granted,
            rule: rule.to_owned(),
            sentence: sentence.to_owned(),
        }
    }

    fn checked(verdicts: &[(&str, Verdict)]) -> Result<Verdicts, String> {
        let spec = "A: {azure_key_vault: {name: a}, token: e30.e30.e30}\n\
                    LONGER: {azure_key_vault: {name: b}, token: e30.e30.e30}";
        let environment: Environment = [("RUNNER_SECRETS", spec)].into_iter().collect();
        let spec = Spec::from_environment(&environment).unwrap().unwrap();
        let named = |(name, verdict): &(&str, Verdict)| ((*name).to_owned(), verdict.clone());
        let answer = ExplainResponse {
            verdicts: verdicts.iter().map(named).collect(),
        };
        Verdicts::check(&spec, answer, "7f3a".into(), String::new())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn people_read_columns_and_reasons() {
        let verdicts = checked(&[
            ("A", verdict(true, "shop\u{1b}[2J", "unused")),
            ("LONGER", verdict(false, "", "no rule\ngrants it")),
        ]);
        let verdicts = verdicts.unwrap();
        assert!(!verdicts.all_granted());
        assert_eq!(
            verdicts.text(false),
            "granted  A       shop\\u{1b}[2J\ndenied   LONGER\n    no rule\\u{a}grants it\n"
        );
        assert_eq!(
            verdicts.text(true),
            "\u{1b}[32m✓\u{1b}[0m  A       shop\\u{1b}[2J\n\
             \u{1b}[31m✗\u{1b}[0m  LONGER\n    no rule\\u{a}grants it\n"
        );
    }

    #[test]
    fn machines_read_stable_names() {
        let verdicts = checked(&[
            ("A", verdict(true, "shop", "rule \"shop\" grants it")),
            ("LONGER", verdict(false, "", "\u{9b}31m")),
        ]);
        assert_eq!(
            verdicts.unwrap().json().unwrap(),
            "{\"request_id\":\"7f3a\",\"granted\":false,\"secrets\":[\
             {\"variable\":\"A\",\"granted\":true,\"rule\":\"shop\",\
             \"sentence\":\"rule \\\"shop\\\" grants it\"},\
             {\"variable\":\"LONGER\",\"granted\":false,\"rule\":null,\
             \"sentence\":\"\\u009b31m\"}]}\n"
        );
    }

    #[test]
    fn an_answer_to_something_else_is_refused() {
        let granted = || verdict(true, "shop", "");
        for (verdicts, problem) in [
            (vec![("A", granted())], "it leaves out LONGER"),
            (
                vec![("A", granted()), ("LONGER", granted()), ("B", granted())],
                "it adds B, which was not asked for",
            ),
        ] {
            let error = checked(&verdicts).unwrap_err();
            let expected = format!("the daemon's answer is refused: {problem}");
            assert_eq!(error, expected);
        }
    }
}
