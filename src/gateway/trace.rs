//! What a job's log says when its secrets cannot be had: the lines that users know from the
//! runner, then ours, which are the client's: what is wrong, by whom, what to change, and when
//! trying again makes sense. And the reason that GitLab is told, on which a job's
//! `retry: when:` acts.

use std::fmt::Write as _;

use runner_secrets_proto::{DOCUMENTATION, Reason};

use crate::{
    client,
    error::{Advice, Error, Reader},
    screen::Plain,
};

/// Why a job fails.
pub(super) struct Cause {
    /// What the pipeline said.
    pub(super) error: Error,
    /// Its name for the request.
    pub(super) request_id: String,
    /// Lines for the job's YAML that would mend it.
    pub(super) paste: String,
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
    pub(super) fn of(error: Error, request_id: String) -> Box<Self> {
        let paste = String::new();
        Box::new(Self {
            error,
            request_id,
            paste,
        })
    }

    /// With lines that would mend the job's YAML.
    pub(super) fn with(self, paste: String) -> Self {
        Self { paste, ..self }
    }

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

    /// What the client would say in a job: what is wrong, by whom, and what to change.
    pub(super) fn lines(&self) -> Vec<String> {
        let Advice {
            by,
            fix,
            command,
            row,
        } = self.error.advice(Reader::Job);
        let reason = self.error.reason();
        let refusal = client::Error::Refused(Box::new(client::Refusal {
            reason,
            name: reason.name().to_owned(),
            message: self.error.to_string(),
            request_id: self.request_id.clone(),
            retry_after: self.error.retry_after(),
            advice: client::Advice {
                by,
                fix,
                command: command.unwrap_or_default(),
                lines: self.paste.clone(),
                see: format!("{DOCUMENTATION}#{row}"),
            },
            version: String::new(),
        }));
        refusal.report().lines().map(str::to_owned).collect()
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
        Cause {
            error,
            request_id: "7f3a".to_owned(),
            paste: "line: 1\n".to_owned(),
        }
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
             \u{1b}[0Krunner-secrets: too\\u{1b}[2J much; try again in 7 s (OVERLOADED, request 7f3a)\u{1b}[0;m\n\
             \u{1b}[0K  refused by  runner-secretsd\u{1b}[0;m\n\
             \u{1b}[0K  to fix      the operator sets the bounds, in [limits]\u{1b}[0;m\n\
             \u{1b}[0K              line: 1\u{1b}[0;m\n\
             \u{1b}[0K  see         docs/troubleshooting.md#overloaded\u{1b}[0;m\n\
             \u{1b}[31;1mERROR: Job failed (system failure): resolving secrets: OVERLOADED\u{1b}[0;m\n"
        );
    }
}
