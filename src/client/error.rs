//! Why the client stops: one enum by what a user can see, one exit status each, by way of the
//! table of reasons that client and daemon share. Nothing here may hold a token or a value.

mod advice;

use std::{io, path::PathBuf, time::Duration};

use runner_secrets_proto::{
    Reason,
    reason::{Row, TABLE},
};
use tonic::Code;

pub use self::advice::Advice;
use crate::{files, name::VariableName, screen::Plain};

/// A failure of the client. `Display` is one sentence for the job's log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the daemon sent back is not an answer to what was asked.
    #[error("the daemon's answer is refused: {problem}")]
    Answer {
        /// What is wrong with it.
        problem: String,
    },
    /// The server has no such call.
    #[error(
        "the daemon at the socket {} is older than this client and cannot explain",
        socket.display()
    )]
    CannotExplain {
        /// Where it was asked.
        socket: PathBuf,
    },
    /// The server did not answer in time.
    #[error("no answer from {} within {} s", socket.display(), waited.as_secs())]
    Deadline {
        /// Where it was asked.
        socket: PathBuf,
        /// How long it had.
        waited: Duration,
    },
    /// A traced shell would write the value into the job's log.
    #[error(
        "{variable} has `file: false` and CI_DEBUG_TRACE is on: the shell would print its value"
    )]
    DebugTrace {
        /// The variable whose value would show.
        variable: VariableName,
    },
    /// The client could not write the files of inline delivery, or remove them.
    #[error("{problem}")]
    Files {
        /// What failed, and what the operator can do.
        problem: String,
    },
    /// The other end of the socket is somebody else.
    #[error(
        "the socket {} belongs to uid {uid}, which is neither root nor the owner of this program: nothing was sent to it",
        socket.display()
    )]
    Impostor {
        /// The socket.
        socket: PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// No environment variable can hold it.
    #[error("{variable} holds a NUL byte, which no environment variable can")]
    Nul {
        /// The variable.
        variable: VariableName,
    },
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The daemon refused or failed.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// A variable that goes with the spec is wrong or missing.
    #[error("{place}: {problem}")]
    Setting {
        /// The variable.
        place: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// The spec is wrong.
    #[error("{place}: {problem}")]
    Spec {
        /// The variable, and the path of the field in it.
        place: String,
        /// What is wrong, and what to write instead.
        problem: String,
        /// YAML as it would be right, where that helps.
        lines: &'static str,
    },
    /// The system refuses what every process may do.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// The system's words.
        source: io::Error,
    },
    /// A secret's bytes do not go to a screen.
    #[error("standard output is a terminal: redirect it to a file or a pipe")]
    Terminal,
    /// There is no ID token to ask with, or more than one.
    #[error("{place}: {problem}")]
    Token {
        /// The path of the secret's `token:`.
        place: String,
        /// What is missing.
        problem: String,
        /// Where the lines belong.
        fix: &'static str,
        /// YAML to paste into the job.
        lines: String,
    },
    /// What should be an ID token is something else.
    #[error("{place}: {problem}")]
    TokenInvalid {
        /// The path of the secret's `token:`.
        place: String,
        /// What it is instead.
        problem: String,
        /// YAML to paste into the job.
        lines: String,
    },
    /// Nobody listens at the socket, or the connection broke.
    #[error("no daemon at the socket {}: {problem}", socket.display())]
    Unreachable {
        /// Where it was sought.
        socket: PathBuf,
        /// The system's words.
        problem: String,
    },
    /// The command line is wrong.
    #[error("{problem}; see runner-secrets --help")]
    Usage {
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    /// The row of the table that this belongs to.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Answer { .. } | Self::System { .. } => Reason::Bug,
            Self::Deadline { .. } => Reason::DeadlineExceeded,
            Self::CannotExplain { .. }
            | Self::DebugTrace { .. }
            | Self::Nul { .. }
            | Self::Setting { .. }
            | Self::Spec { .. }
            | Self::Terminal
            | Self::Token { .. }
            | Self::Usage { .. } => Reason::RequestInvalid,
            Self::Files { .. } | Self::Output(_) => Reason::FilesFailed,
            Self::Impostor { .. } => Reason::CallerDenied,
            Self::Refused(refusal) => refusal.reason,
            Self::TokenInvalid { .. } => Reason::TokenInvalid,
            Self::Unreachable { .. } => Reason::ProviderUnreachable,
        }
    }

    /// The reason's name, as the daemon gave it where it is the daemon's.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Refused(refusal) => &refusal.name,
            _ => self.reason().name(),
        }
    }

    /// The exit status of a command that fails with this.
    #[must_use]
    pub fn exit(&self) -> u8 {
        self.reason().exit()
    }

    /// What a job's log shows: the sentence with the reason in parentheses; who refused; what to
    /// change; where there is more.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = format!("runner-secrets: {} (", Plain(&self.to_string()));
        report.push_str(self.name());
        if let Self::Refused(refusal) = self
            && !refusal.request_id.is_empty()
        {
            report.push_str(", request ");
            report.push_str(&refusal.request_id);
        }
        report.push_str(")\n");
        report.push_str(&self.advice().text());
        report
    }
}

impl From<files::Error> for Error {
    fn from(error: files::Error) -> Self {
        Self::Files {
            problem: error.to_string(),
        }
    }
}

/// The daemon's error, as it came over the wire, made safe to print.
#[derive(Debug, thiserror::Error)]
#[error("{message}{}", retry(self.retry_after))]
pub struct Refusal {
    /// The reason, or what its gRPC code comes closest to when the name is a newer daemon's.
    pub reason: Reason,
    /// The reason's name as the daemon gave it.
    pub name: String,
    /// The sentence for the user.
    pub message: String,
    /// The daemon's name for the request, if it gave one.
    pub request_id: String,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// Who refused, and what to change.
    pub advice: Advice,
    /// The daemon's version, if it says so.
    pub version: String,
}

fn retry(after: Option<Duration>) -> String {
    after.map_or_else(String::new, |after| {
        let seconds = after.as_millis().div_ceil(1000);
        format!("; try again in {seconds} s")
    })
}

/// A reason with the exit status of a gRPC code, for an error that has none of ours. All reasons of
/// a code share their status, but for `FILES_FAILED`, which nobody but our daemon can mean.
pub(super) fn reason_of(code: Code) -> Reason {
    let of_code = |row: &&Row| row.code == Some(code) && row.reason != Reason::FilesFailed;
    let row = TABLE.iter().find(of_code);
    row.map_or(Reason::Bug, |row| row.reason)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use runner_secrets_proto::Reason;
    use tonic::Code;

    use super::{Advice, Error, Refusal, reason_of};

    #[test]
    fn a_report_ends_with_reason_and_request() {
        let refused = Error::Refused(Box::new(Refusal {
            reason: Reason::UpstreamThrottled,
            name: "UPSTREAM_THROTTLED".into(),
            message: "Key Vault is limiting\u{1b}[31m the rate".into(),
            request_id: "7f3a".into(),
            retry_after: Some(Duration::from_millis(1500)),
            advice: Advice {
                by: "Key\nVault".into(),
                fix: "wait".into(),
                command: "sleep 2".into(),
                ..Advice::default()
            },
            version: String::new(),
        }));
        assert_eq!(
            refused.report(),
            "runner-secrets: Key Vault is limiting\\u{1b}[31m the rate; try again in 2 s \
             (UPSTREAM_THROTTLED, request 7f3a)\n  refused by  Key\\u{a}Vault\n  to fix      \
             wait\n              sleep 2\n"
        );
        assert_eq!(refused.exit(), 75);
    }

    #[test]
    fn lines_to_paste_follow_the_sentence() {
        let error = Error::Token {
            place: "A.token".into(),
            problem: "is not set".into(),
            fix: "add these lines:",
            lines: "id_tokens:\n  A:\n".into(),
        };
        let expected = "runner-secrets: A.token: is not set (REQUEST_INVALID)\n  \
            refused by  runner-secrets itself; nothing was sent\n  \
            to fix      add these lines:\n              id_tokens:\n                A:\n  \
            see         docs/troubleshooting.md#no-id-token\n";
        assert_eq!(error.report(), expected);
    }

    #[test]
    fn unknown_reasons_go_by_their_code() {
        for (code, exit) in [
            (Code::InvalidArgument, 64),
            (Code::Unauthenticated, 65),
            (Code::NotFound, 66),
            (Code::FailedPrecondition, 66),
            (Code::PermissionDenied, 77),
            (Code::ResourceExhausted, 75),
            (Code::Unavailable, 75),
            (Code::DeadlineExceeded, 75),
            (Code::Internal, 70),
            (Code::Unknown, 70),
            (Code::Unimplemented, 70),
        ] {
            assert_eq!(reason_of(code).exit(), exit, "{code:?}");
        }
    }
}
