//! Why a request was refused or failed: one enum by the cause that a user sees, each with one
//! [`Reason`]. What `Display` says goes into the job's log: what was refused and by whom, with
//! nothing but what the caller sent or may know; what to change is [`Error::advice`]. What the
//! services answered goes to the operator's log only, through [`Error::detail`].

mod advice;
mod entra;
mod key_vault;
mod network;

use std::{fmt, time::Duration};

use runner_secrets_proto::Reason;

pub use self::{
    advice::{Advice, Named, Reader},
    entra::{Refused, meaning},
    key_vault::{Forbidden, Missing, Read},
    network::Trouble,
};
use crate::{
    audit::log::Failing,
    files,
    name::VariableName,
    policy::{Denied, Line},
    token,
};

/// A request that gets no secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no audit trail at the moment.
    #[error("this request cannot be put on record, and nothing is handed out without a record")]
    AuditFailed(Failing),
    /// Something that should be impossible happened.
    #[error("runner-secrets has a defect ({what})")]
    Bug {
        /// What was found to be impossible.
        what: &'static str,
    },
    /// The caller may not do this.
    #[error("{problem}")]
    CallerDenied {
        /// Who may not do what.
        problem: &'static str,
    },
    /// The time that the caller or the operator allows was over.
    #[error("the time for the request ran out while {waiting}")]
    DeadlineExceeded {
        /// What was going on when it did.
        waiting: &'static str,
    },
    /// Entra refused the ID token.
    #[error("{0}")]
    ExchangeRefused(Box<Refused>),
    /// The files could not be written.
    #[error("the secrets' files could not be written or deleted")]
    FilesFailed(#[source] files::Error),
    /// The caller asks for more than its share.
    #[error("{problem}")]
    Overloaded {
        /// What was too much.
        problem: &'static str,
        /// How long to wait.
        retry_after: Duration,
    },
    /// No rule grants it.
    #[error(transparent)]
    PolicyDenied(Denied),
    /// The request itself is wrong.
    #[error("{field} {problem}")]
    RequestInvalid {
        /// The field, as a path into the request.
        field: String,
        /// What is wrong with it, as the end of the sentence.
        problem: String,
    },
    /// The secret's version is disabled.
    #[error("{}: the secret {read} is disabled in Key Vault", .read.variable)]
    SecretDisabled {
        /// Which.
        read: Box<Read>,
        /// What Key Vault answered.
        detail: Detail,
    },
    /// The secret's time is over, or has not come, and the operator refuses such secrets.
    #[error("{variable}: the secret {secret} {problem}, and the operator refuses such secrets")]
    SecretExpired {
        /// For which variable.
        variable: VariableName,
        /// Which secret, as the job named it.
        secret: String,
        /// Since when it has expired, or from when on it is valid.
        problem: String,
    },
    /// There is no such secret, no such version, or no such vault.
    #[error("{}: {}", .read.variable, .missing.says(.read))]
    SecretNotFound {
        /// Which.
        read: Box<Read>,
        /// What of it there is not.
        missing: Missing,
        /// What Key Vault answered, or what the network said.
        detail: Detail,
    },
    /// The ID token was not accepted, or could not be verified.
    #[error("{field} {error}")]
    Token {
        /// The field that holds the token.
        field: String,
        /// What verification found.
        error: token::Error,
    },
    /// A token is missing, or does not go with the request's others.
    #[error("{field} {problem}")]
    TokenInvalid {
        /// The field that holds the token.
        field: String,
        /// What is wrong with it, as the end of the sentence.
        problem: String,
    },
    /// A service limits the rate of requests.
    #[error("{service} is limiting the rate of requests")]
    UpstreamThrottled {
        /// Which service.
        service: Service,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
        /// What it answered.
        detail: Detail,
    },
    /// A service cannot be reached or fails.
    #[error("{service} {}", .problem.says())]
    UpstreamUnavailable {
        /// Which service.
        service: Service,
        /// What is wrong.
        problem: Trouble,
        /// What it answered, or what the network said.
        detail: Detail,
    },
    /// Key Vault refused the read.
    #[error("{0}")]
    VaultForbidden(Box<Forbidden>),
}

/// The services that a request depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Microsoft Entra ID.
    Entra,
    /// Azure Key Vault.
    KeyVault,
}

/// What a service or the network said, for the operator's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail(pub String);

impl Error {
    /// The reason, the same word on the wire, in the log and in the documentation.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::AuditFailed(_) => Reason::AuditFailed,
            Self::Bug { .. } => Reason::Bug,
            Self::CallerDenied { .. } => Reason::CallerDenied,
            Self::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
            Self::ExchangeRefused(_) => Reason::ExchangeRefused,
            Self::FilesFailed(_) => Reason::FilesFailed,
            Self::RequestInvalid { .. } => Reason::RequestInvalid,
            Self::SecretDisabled { .. } => Reason::SecretDisabled,
            Self::SecretNotFound { .. } => Reason::SecretNotFound,
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::PolicyDenied(_) => Reason::PolicyDenied,
            Self::SecretExpired { .. } => Reason::SecretExpired,
            Self::Token { error, .. } => error.reason(),
            Self::TokenInvalid { .. } => Reason::TokenInvalid,
            Self::UpstreamThrottled { .. } => Reason::UpstreamThrottled,
            Self::UpstreamUnavailable { .. } => Reason::UpstreamUnavailable,
            Self::VaultForbidden(_) => Reason::VaultForbidden,
        }
    }

    /// For the operator: what lies behind it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::ExchangeRefused(refused) => refused.detail.0.clone(),
            Self::SecretDisabled { detail, .. }
            | Self::SecretNotFound { detail, .. }
            | Self::UpstreamThrottled { detail, .. }
            | Self::UpstreamUnavailable { detail, .. } => detail.0.clone(),
            Self::VaultForbidden(forbidden) => forbidden.detail.0.clone(),
            Self::AuditFailed(failing) => failing.to_string(),
            Self::FilesFailed(error) => error.to_string(),
            Self::PolicyDenied(denied) => account(denied.account()),
            Self::Token { error, .. } => causes(error),
            Self::Bug { .. }
            | Self::CallerDenied { .. }
            | Self::DeadlineExceeded { .. }
            | Self::Overloaded { .. }
            | Self::RequestInvalid { .. }
            | Self::SecretExpired { .. }
            | Self::TokenInvalid { .. } => String::new(),
        }
    }

    /// How long to wait before another try, where one makes sense.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        // Long enough for a hiccup to pass; a service that says otherwise is believed.
        const USUAL: Duration = Duration::from_secs(5);
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::UpstreamThrottled { retry_after, .. } => Some(retry_after.unwrap_or(USUAL)),
            Self::AuditFailed(_)
            | Self::UpstreamUnavailable { .. }
            | Self::DeadlineExceeded { .. } => Some(USUAL),
            Self::Bug { .. }
            | Self::CallerDenied { .. }
            | Self::ExchangeRefused(_)
            | Self::FilesFailed(_)
            | Self::PolicyDenied(_)
            | Self::RequestInvalid { .. }
            | Self::SecretDisabled { .. }
            | Self::SecretExpired { .. }
            | Self::SecretNotFound { .. }
            | Self::TokenInvalid { .. }
            | Self::VaultForbidden(_) => None,
            Self::Token { error, .. } => error.retry_after(),
        }
    }

    /// The field of the request that is wrong, with what is wrong about it.
    #[must_use]
    pub fn violation(&self) -> Option<(&str, String)> {
        match self {
            Self::RequestInvalid { field, problem } | Self::TokenInvalid { field, problem } => {
                Some((field, problem.clone()))
            }
            Self::Token { field, error } => {
                let wrong = error.reason() != Reason::KeysUnavailable;
                wrong.then(|| (field.as_str(), error.to_string()))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Entra => "Microsoft Entra ID",
            Self::KeyVault => "Key Vault",
        })
    }
}

/// For the operator: rule by rule what was not met, as far as anybody would read.
pub(crate) fn account(lines: &[Line]) -> String {
    const MOST: usize = 100;
    let lines = lines.iter().take(MOST);
    let lines = lines.map(|line| format!("rule {:?} {}", line.rule, line.says));
    lines.collect::<Vec<_>>().join("; ")
}

fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
