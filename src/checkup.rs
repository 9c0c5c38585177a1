//! What the two `doctor` commands print: steps in the order in which things happen, each with a
//! tick or a cross, and under each cross what to change. Both share it, so that a job's author and
//! an operator read the same form. Whatever comes from elsewhere is made harmless here.

use std::fmt::Write as _;

use serde::Serialize;

use crate::screen::{self, Plain};

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Good,
    /// Not so.
    Wrong,
    /// Not looked at, because of a step before it, or because it cannot be told from here.
    Unknown,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    name: String,
    state: State,
    says: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fix: Vec<String>,
}

impl Step {
    /// A step that found what it should.
    #[must_use]
    pub fn good(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(name, State::Good, says)
    }

    /// A step that did not.
    #[must_use]
    pub fn wrong(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(name, State::Wrong, says)
    }

    /// A step that cannot be taken.
    #[must_use]
    pub fn unknown(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(name, State::Unknown, says)
    }

    /// Whether it found what it should.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.state == State::Good
    }

    fn new(name: impl Into<String>, state: State, says: impl Into<String>) -> Self {
        let (name, says) = (name.into(), says.into());
        Self {
            name,
            state,
            says,
            fix: Vec::new(),
        }
    }

    /// With a line on what to change.
    #[must_use]
    pub fn fix(mut self, line: impl Into<String>) -> Self {
        let line = line.into();
        if !line.is_empty() {
            self.fix.push(line);
        }
        self
    }

    /// Whether it found what it should not.
    #[must_use]
    pub fn is_wrong(&self) -> bool {
        self.state == State::Wrong
    }
}

/// All steps.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checkup {
    steps: Vec<Step>,
}

impl Checkup {
    /// Adds a step.
    pub fn add(&mut self, step: Step) {
        self.steps.push(step);
    }

    /// Whether no step found what it should not.
    #[must_use]
    pub fn is_well(&self) -> bool {
        !self.steps.iter().any(Step::is_wrong)
    }

    /// The exit status of the command: 0, or 1 if anything is wrong.
    #[must_use]
    pub fn exit(&self) -> u8 {
        u8::from(!self.is_well())
    }

    /// For people.
    #[must_use]
    pub fn text(&self, colour: bool) -> String {
        let lengths = self.steps.iter().map(|step| step.name.chars().count());
        let width = lengths.max().unwrap_or_default();
        let mut text = String::new();
        for step in &self.steps {
            let mark = match (step.state, colour) {
                (State::Good, false) => "✓",
                (State::Wrong, false) => "✗",
                (State::Good, true) => "\u{1b}[32m✓\u{1b}[0m",
                (State::Wrong, true) => "\u{1b}[31m✗\u{1b}[0m",
                (State::Unknown, _) => "-",
            };
            // Names are ours, or of configured hosts; writing to a string cannot fail.
            let (name, says) = (&step.name, Plain(&step.says));
            let _ = writeln!(text, "{mark} {name:width$}  {says}");
            for line in &step.fix {
                let _ = writeln!(text, "  {:width$}  {}", "", Plain(line));
            }
        }
        text
    }

    /// For machines: one line of JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        #[derive(Serialize)]
        struct Document<'a> {
            well: bool,
            steps: &'a [Step],
        }
        screen::json(&Document {
            well: self.is_well(),
            steps: &self.steps,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Checkup, Step};

    #[test]
    fn people_and_machines_read_the_same() {
        let mut checkup = Checkup::default();
        checkup.add(Step::good("socket", "root listens"));
        assert_eq!((checkup.is_well(), checkup.exit()), (true, 0));
        checkup.add(Step::wrong("policy", "no\u{1b}[2K rule").fix("ask\nfor one"));
        checkup.add(Step::unknown("x", "not looked at"));
        assert_eq!(
            checkup.text(false),
            "✓ socket  root listens\n✗ policy  no\\u{1b}[2K rule\n          ask\\u{a}for one\n\
             - x       not looked at\n"
        );
        assert_eq!(checkup.exit(), 1);
        assert_eq!(
            checkup.json().unwrap(),
            "{\"well\":false,\"steps\":[{\"name\":\"socket\",\"state\":\"good\",\"says\":\"root \
             listens\"},{\"name\":\"policy\",\"state\":\"wrong\",\"says\":\"no\\u001b[2K rule\",\
             \"fix\":[\"ask\\nfor one\"]},{\"name\":\"x\",\"state\":\"unknown\",\"says\":\"not \
             looked at\"}]}\n"
        );
    }
}
