//! What to tell whom about a failure: who refused, what to change, and where the documentation has
//! more. A job hears of tenants, clients, vaults and addresses only what it said itself; the
//! operator's log has the rest, under the same request id.

use super::{Error, Service};
use crate::{
    posix::{self, Word},
    token,
};

/// Who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The job's author, and everybody who may see the job's log.
    Job,
    /// Whoever runs the daemon.
    Operator,
}

/// Part of an answer to the question what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Who refused or failed.
    pub by: String,
    /// What to change, and whether trying again can help.
    pub fix: String,
    /// The command that does it, where there is one and all of it can be shown.
    pub command: Option<String>,
    /// The row of the documentation.
    pub row: String,
}

/// What is the operator's, unless the job named it.
#[derive(Clone, Debug)]
pub struct Named<T> {
    value: T,
    by_job: bool,
}

impl<T> Named<T> {
    /// Takes a value, and whether the job itself said it.
    pub fn new(value: T, by_job: bool) -> Self {
        Self { value, by_job }
    }

    /// The value, if this reader may know it.
    #[must_use]
    pub fn to(&self, reader: Reader) -> Option<&T> {
        (self.by_job || reader == Reader::Operator).then_some(&self.value)
    }

    /// Whatever it is, for what is sent and not told.
    #[must_use]
    pub fn any(&self) -> &T {
        &self.value
    }
}

impl Advice {
    pub(super) fn new(by: impl Into<String>, fix: impl Into<String>, row: &str) -> Self {
        Self {
            by: by.into(),
            fix: fix.into(),
            command: None,
            row: row.to_owned(),
        }
    }

    pub(super) fn with(self, command: &[Word<'_>]) -> Self {
        let command = posix::command(command);
        Self { command, ..self }
    }
}

/// The text itself, or the shell variable that stands for it.
pub(super) fn or<'a>(text: Option<&'a str>, variable: &'static str) -> Word<'a> {
    text.map_or(Word::Variable(variable), Word::Text)
}

const DAEMON: &str = "runner-secretsd, before anything was sent to Azure";

impl Error {
    /// Who refused, and what this reader can change about it.
    #[must_use]
    pub fn advice(&self, reader: Reader) -> Advice {
        match self {
            Self::ExchangeRefused(refused) => refused.advice(reader),
            Self::SecretDisabled { read, .. } => read.disabled(reader),
            Self::SecretExpired { secret, .. } => expired(secret),
            Self::SecretNotFound { read, missing, .. } => read.missing(*missing, reader),
            Self::Token { error, .. } => of_token(error),
            Self::UpstreamThrottled { service, .. } => throttled(*service),
            Self::UpstreamUnavailable {
                service, problem, ..
            } => problem.advice(*service, reader),
            Self::VaultForbidden(forbidden) => forbidden.advice(reader),
            Self::AuditFailed(_)
            | Self::Bug { .. }
            | Self::CallerDenied { .. }
            | Self::DeadlineExceeded { .. }
            | Self::FilesFailed(_)
            | Self::Overloaded { .. }
            | Self::PolicyDenied(_)
            | Self::RequestInvalid { .. }
            | Self::TokenInvalid { .. } => self.plain_advice(reader),
        }
    }

    /// For causes that are the same whoever reads of them, or nearly.
    fn plain_advice(&self, reader: Reader) -> Advice {
        let (by, fix) = match (self, reader) {
            (Self::AuditFailed(_), _) => (
                "runner-secretsd, before a secret was fetched or handed out",
                "if it goes on, `runner-secretsd doctor` on the host says what is wrong with the \
                 trail: usually there is no space",
            ),
            (Self::CallerDenied { .. }, _) => (
                DAEMON,
                "use the token in the job and as the user that GitLab issued it to, and look at \
                 allowed_uids of the daemon's socket",
            ),
            (Self::DeadlineExceeded { .. }, _) => (
                "runner-secretsd",
                "if it happens often, `runner-secretsd doctor` on the host says what is slow",
            ),
            (Self::FilesFailed(_), _) => (
                "runner-secretsd",
                "look at files.directory on the host: its space, its owner, its mode; trying again \
                 helps when it is only full",
            ),
            (Self::Overloaded { .. }, _) => (
                "runner-secretsd",
                "the operator sets the bounds, in [limits]",
            ),
            (Self::PolicyDenied(_), Reader::Job) => (
                "the operator's policy, before anything was sent to Azure",
                "run the job where a rule grants it, or ask whoever runs the runners for a rule; \
                 `runner-secrets explain` says what each secret of the spec would get",
            ),
            (Self::PolicyDenied(_), Reader::Operator) => (
                "policy",
                "if the job is to have it, change a [[rule]] and send SIGHUP; `runner-secretsd \
                 policy explain` has the whole account",
            ),
            (Self::RequestInvalid { .. }, _) => (DAEMON, "correct that field of the spec"),
            (Self::TokenInvalid { .. }, _) => (DAEMON, "use ID tokens of this very job"),
            _ => (
                "runner-secretsd",
                "report it with the request id; the operator's log has more",
            ),
        };
        Advice::new(
            by,
            fix,
            &self.reason().name().to_lowercase().replace('_', "-"),
        )
    }
}

fn expired(secret: &str) -> Advice {
    let by = "the operator's configuration: refuse_expired";
    let fix = "store a new version, with an end of its own, from a file that holds the value:";
    Advice::new(by, fix, "secret-expired").with(&[
        Word::Text("az"),
        Word::Text("keyvault"),
        Word::Text("secret"),
        Word::Text("set"),
        Word::Text("--vault-name"),
        Word::Variable("VAULT"),
        Word::Text("--name"),
        Word::Text(secret),
        Word::Text("--file"),
        Word::Variable("FILE"),
        Word::Text("--expires"),
        Word::Variable("END"),
    ])
}

fn throttled(service: Service) -> Advice {
    let fix = match service {
        Service::Entra => {
            "if it happens often, the tenant has too many sign-ins, or one application too many \
             jobs"
        }
        Service::KeyVault => {
            "if it happens often, give busy projects vaults of their own: one vault answers 4,000 \
             reads in ten seconds"
        }
    };
    let row = match service {
        Service::Entra => "entra-throttled",
        Service::KeyVault => "key-vault-throttled",
    };
    Advice::new(service.to_string(), fix, row)
}

fn of_token(error: &token::Error) -> Advice {
    let (fix, row) = error.fix();
    let by = match error {
        token::Error::KeysUnavailable { .. } => {
            "runner-secretsd, which cannot tell it from a forged one"
        }
        _ => DAEMON,
    };
    Advice::new(by, fix, row)
}
