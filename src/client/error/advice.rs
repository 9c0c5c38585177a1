//! What follows a failure's sentence in the job's log: who refused, what to change, lines to paste
//! and where there is more. The daemon's advice comes over the wire; for what the client itself
//! refuses, it is here.

use std::fmt::Write as _;

use runner_secrets_proto::DOCUMENTATION;

use super::Error;
use crate::{client::token::NEEDED, screen::Plain};

/// The lines below the sentence. Empty: not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Who refused or failed.
    pub by: String,
    /// What to change.
    pub fix: String,
    /// A command that changes it.
    pub command: String,
    /// Lines to paste into .gitlab-ci.yml, each with its end.
    pub lines: String,
    /// Where the documentation has more.
    pub see: String,
}

impl Advice {
    fn ours(fix: &str, row: &str) -> Self {
        Self {
            by: "runner-secrets itself; nothing was sent".to_owned(),
            fix: fix.to_owned(),
            see: format!("{DOCUMENTATION}#{row}"),
            ..Self::default()
        }
    }

    fn by(self, by: &str) -> Self {
        let by = by.to_owned();
        Self { by, ..self }
    }

    fn with(self, lines: &str) -> Self {
        let lines = lines.to_owned();
        Self { lines, ..self }
    }

    /// The lines, in columns; nothing in them can begin a line of its own or steer a screen.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut put = |label: &str, value: &str| {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "  {label:<12}{}", Plain(value));
            }
        };
        put("refused by", &self.by);
        put("to fix", &self.fix);
        put("", &self.command);
        for line in self.lines.lines() {
            put("", line);
        }
        put("see", &self.see);
        text
    }
}

const TAGS: &str = "tags: [a tag of a runner that has the daemon]\n";

impl Error {
    /// Who refused, and what to change.
    #[must_use]
    pub fn advice(&self) -> Advice {
        match self {
            Self::Refused(refusal) => refusal.advice.clone(),
            Self::Spec { lines: "", .. } => Advice::ours("correct it there", "spec"),
            Self::Spec { lines, .. } => {
                Advice::ours("it is written like this:", "spec").with(lines)
            }
            Self::Token { lines, fix, .. } => Advice::ours(fix, "no-id-token").with(lines),
            Self::TokenInvalid { lines, .. } => Advice::ours(NEEDED, "no-id-token").with(lines),
            Self::Unreachable { .. } => Advice::ours(
                "run the job on a runner that has the daemon; if this one has it, its operator has \
                 to start it, or to mount its socket's directory into the job",
                "no-daemon",
            )
            .by("the system: nobody listens there")
            .with(TAGS),
            Self::Answer { .. } => Advice::ours(
                "have the operator bring daemon and client to the same version",
                "bug",
            ),
            Self::CannotExplain { .. } => {
                Advice::ours("have the operator update the daemon", "no-explain")
            }
            Self::Deadline { .. } => Advice::ours(
                "try again; if it happens often, the operator's log says what takes so long",
                "deadline-exceeded",
            )
            .by("runner-secrets itself, which waited"),
            Self::Impostor { .. } => Advice::ours(
                "correct RUNNER_SECRETS_SOCKET; have the operator run the daemon as root or as the \
                 owner of the client's file",
                "caller-denied",
            ),
            Self::DebugTrace { .. } | Self::Nul { .. } => {
                Advice::ours("take the secret as a file: `file: true`", "request-invalid")
            }
            Self::Files { .. } => Advice::ours(
                "have the operator mount a memory-backed directory, or allow inline_disk",
                "files-failed",
            )
            .by("the system"),
            Self::Setting { .. } | Self::Usage { .. } | Self::Terminal => Advice::default(),
            Self::Output(_) | Self::System { .. } => Advice::ours(
                "have the operator look at the job's image and limits",
                "bug",
            )
            .by("the system"),
        }
    }
}
