//! What a job's log says when its secrets cannot be had: the lines that users know from the
//! runner, then three of ours: what is wrong, under which name operator and audit know it, and
//! whether trying again makes sense. And the reason that GitLab is told, on which a job's
//! `retry: when:` acts.

use std::fmt::Write as _;

use runner_secrets_proto::Reason;

use crate::{error::Error, screen::Plain};

/// Why a job fails.
pub(super) struct Cause {
    /// What the pipeline said.
    pub(super) error: Error,
    /// Its name for the request.
    pub(super) request_id: String,
}

/// Kinds of failure, by who can do something about it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The job, the policy or Azure is set up wrongly.
    Configuration,
    /// A service that is needed does not answer.
    Dependency,
    /// The gateway itself.
    System,
}

impl Kind {
    fn of(reason: Reason) -> Self {
        match reason {
            Reason::RequestInvalid
            | Reason::TokenInvalid
            | Reason::TokenExpired
            | Reason::CallerDenied
            | Reason::PolicyDenied
            | Reason::ExchangeRefused
            | Reason::VaultForbidden
            | Reason::SecretNotFound
            | Reason::SecretDisabled
            | Reason::SecretExpired
            | Reason::ConfigInvalid => Self::Configuration,
            Reason::UpstreamThrottled
            | Reason::UpstreamUnavailable
            | Reason::KeysUnavailable
            | Reason::DeadlineExceeded => Self::Dependency,
            Reason::Overloaded
            | Reason::FilesFailed
            | Reason::AuditFailed
            | Reason::ProviderUnreachable
            | Reason::Bug => Self::System,
        }
    }

    /// What GitLab calls it, the best name first; the last is known to every GitLab.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Configuration => &["runner_configuration_error", "script_failure"],
            Self::Dependency => &[
                "runner_external_dependency_failure",
                "runner_system_failure",
            ],
            Self::System => &["runner_system_failure"],
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Configuration => "configuration error",
            Self::Dependency => "external dependency failure",
            Self::System => "system failure",
        }
    }
}

impl Cause {
    /// The failure reason for GitLab, one that it says it knows.
    pub(super) fn failure_reason(&self, known: &[String]) -> &'static str {
        let names = Kind::of(self.error.reason()).names();
        let fits = names
            .iter()
            .find(|name| known.iter().any(|known| known == *name));
        fits.or(names.last())
            .copied()
            .unwrap_or("runner_system_failure")
    }

    /// The three lines, without colours.
    pub(super) fn lines(&self) -> Vec<String> {
        let reason = self.error.reason();
        let mut lines: Vec<String> = Vec::new();
        // What an error adds below its sentence are lines to paste into a job.
        for (at, line) in self.error.to_string().lines().enumerate() {
            let line = Plain(line).to_string();
            lines.push(if at == 0 {
                format!("runner-secrets: {line}")
            } else {
                line
            });
        }
        let (name, id) = (reason.name(), &self.request_id);
        lines.push(format!(
            "runner-secrets: {name}, request {id}, which the operator's log and audit trail know"
        ));
        lines.push(match (self.error.retry_after(), Kind::of(reason)) {
            (Some(pause), _) => format!(
                "runner-secrets: this may pass: try again in {} s or later, or let the job do it with `retry:`",
                pause.as_secs().max(1)
            ),
            (None, Kind::Configuration) => {
                "runner-secrets: trying again changes nothing until that is mended".to_owned()
            }
            (None, _) => "runner-secrets: ask the operator of the runner to look into it".to_owned(),
        });
        lines
    }

    /// The whole of the job's log.
    pub(super) fn text(&self, names: &[String]) -> String {
        const CLEAR: &str = "\u{1b}[0K";
        const RESET: &str = "\u{1b}[0;m";
        let mut text = format!("{CLEAR}\u{1b}[36;1mResolving secrets{RESET}{RESET}\n");
        // Writing to a string cannot fail.
        for name in names {
            let name = Plain(name);
            let _ = writeln!(text, "{CLEAR}Resolving secret \"{name}\"...{RESET}");
            let _ = writeln!(
                text,
                "{CLEAR}Using \"azure-key-vault\" secret resolver...{RESET}"
            );
        }
        for line in self.lines() {
            let _ = writeln!(text, "{CLEAR}{line}{RESET}");
        }
        let reason = self.error.reason();
        let _ = writeln!(
            text,
            "\u{1b}[31;1mERROR: Job failed ({}): resolving secrets: {}{RESET}",
            Kind::of(reason).title(),
            reason.name()
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Cause;
    use crate::error::Error;

    fn cause(error: Error) -> Cause {
        let request_id = "7f3a".to_owned();
        Cause { error, request_id }
    }

    #[test]
    fn gitlab_is_told_a_reason_that_it_knows() {
        let known = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let all = known(&[
            "script_failure",
            "runner_configuration_error",
            "runner_external_dependency_failure",
        ]);
        let wrong = cause(Error::CallerDenied { problem: "x" });
        let slow = cause(Error::DeadlineExceeded { waiting: "x" });
        let bug = cause(Error::Bug { what: "x" });
        for (cause, new, old) in [
            (wrong, "runner_configuration_error", "script_failure"),
            (
                slow,
                "runner_external_dependency_failure",
                "runner_system_failure",
            ),
            (bug, "runner_system_failure", "runner_system_failure"),
        ] {
            assert_eq!(cause.failure_reason(&all), new);
            assert_eq!(cause.failure_reason(&[]), old);
        }
    }

    #[test]
    fn the_log_looks_like_the_runners_and_says_what_to_do() {
        let error = Error::Overloaded {
            problem: "too\u{1b}[2J much",
            retry_after: Duration::from_secs(7),
        };
        assert_eq!(
            cause(error).text(&["DB".to_owned()]),
            "\u{1b}[0K\u{1b}[36;1mResolving secrets\u{1b}[0;m\u{1b}[0;m\n\
             \u{1b}[0KResolving secret \"DB\"...\u{1b}[0;m\n\
             \u{1b}[0KUsing \"azure-key-vault\" secret resolver...\u{1b}[0;m\n\
             \u{1b}[0Krunner-secrets: too\\u{1b}[2J much\u{1b}[0;m\n\
             \u{1b}[0Krunner-secrets: OVERLOADED, request 7f3a, which the operator's log and audit trail know\u{1b}[0;m\n\
             \u{1b}[0Krunner-secrets: this may pass: try again in 7 s or later, or let the job do it with `retry:`\u{1b}[0;m\n\
             \u{1b}[31;1mERROR: Job failed (system failure): resolving secrets: OVERLOADED\u{1b}[0;m\n"
        );
    }
}
