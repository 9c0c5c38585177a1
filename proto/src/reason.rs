//! Why a request was refused or failed: one closed table. The same name is the `ErrorInfo.reason`
//! on the wire, the audit outcome, the metric label and the row in the documentation.
//! Reasons are added, never renamed.

use std::fmt;

use tonic::Code;

/// The user-visible cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each has its line in `row`")]
pub enum Reason {
    RequestInvalid,
    TokenInvalid,
    TokenExpired,
    CallerDenied,
    PolicyDenied,
    ExchangeRefused,
    VaultForbidden,
    SecretNotFound,
    SecretDisabled,
    SecretExpired,
    UpstreamThrottled,
    UpstreamUnavailable,
    KeysUnavailable,
    DeadlineExceeded,
    Overloaded,
    FilesFailed,
    AuditFailed,
    Bug,
    ProviderUnreachable,
    ConfigInvalid,
}

/// A reason's row in the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Whose row it is.
    pub reason: Reason,
    /// The name on the wire and everywhere else.
    pub name: &'static str,
    /// The gRPC code; `None` for what only a command can report.
    pub code: Option<Code>,
    /// The exit status of a command (BSD sysexits; 75 means that trying again later can help).
    pub exit: u8,
    /// What it means, for a user, in one line.
    pub line: &'static str,
}

impl Reason {
    /// The reason's row.
    #[must_use]
    pub const fn row(self) -> Row {
        TABLE[self as usize]
    }

    /// The reason of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(TABLE.iter().find(|row| row.name == name)?.reason)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The exit status of a command that fails for this reason.
    #[must_use]
    pub const fn exit(self) -> u8 {
        self.row().exit
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every reason, in the order of the documentation and of the variants.
pub const TABLE: [Row; 20] = [
    Row {
        reason: Reason::RequestInvalid,
        name: "REQUEST_INVALID",
        code: Some(Code::InvalidArgument),
        exit: 64,
        line: "the request is malformed; the message names the field",
    },
    Row {
        reason: Reason::TokenInvalid,
        name: "TOKEN_INVALID",
        code: Some(Code::Unauthenticated),
        exit: 65,
        line: "the ID token is not one this daemon accepts",
    },
    Row {
        reason: Reason::TokenExpired,
        name: "TOKEN_EXPIRED",
        code: Some(Code::Unauthenticated),
        exit: 65,
        line: "the ID token has expired",
    },
    Row {
        reason: Reason::CallerDenied,
        name: "CALLER_DENIED",
        code: Some(Code::PermissionDenied),
        exit: 77,
        line: "this process may not use the daemon, or not for this lease",
    },
    Row {
        reason: Reason::PolicyDenied,
        name: "POLICY_DENIED",
        code: Some(Code::PermissionDenied),
        exit: 77,
        line: "no rule of the operator's policy grants the secret to this job",
    },
    Row {
        reason: Reason::ExchangeRefused,
        name: "EXCHANGE_REFUSED",
        code: Some(Code::PermissionDenied),
        exit: 77,
        line: "Microsoft Entra ID refused the job's ID token",
    },
    Row {
        reason: Reason::VaultForbidden,
        name: "VAULT_FORBIDDEN",
        code: Some(Code::PermissionDenied),
        exit: 77,
        line: "Key Vault refused the read",
    },
    Row {
        reason: Reason::SecretNotFound,
        name: "SECRET_NOT_FOUND",
        code: Some(Code::NotFound),
        exit: 66,
        line: "the vault, the secret or its version does not exist",
    },
    Row {
        reason: Reason::SecretDisabled,
        name: "SECRET_DISABLED",
        code: Some(Code::FailedPrecondition),
        exit: 66,
        line: "the secret's version is disabled in Key Vault",
    },
    Row {
        reason: Reason::SecretExpired,
        name: "SECRET_EXPIRED",
        code: Some(Code::FailedPrecondition),
        exit: 66,
        line: "the secret has expired or is not yet valid, and the operator refuses such secrets",
    },
    Row {
        reason: Reason::UpstreamThrottled,
        name: "UPSTREAM_THROTTLED",
        code: Some(Code::ResourceExhausted),
        exit: 75,
        line: "Entra or Key Vault is limiting the rate of requests",
    },
    Row {
        reason: Reason::UpstreamUnavailable,
        name: "UPSTREAM_UNAVAILABLE",
        code: Some(Code::Unavailable),
        exit: 75,
        line: "Entra or Key Vault cannot be reached or is failing",
    },
    Row {
        reason: Reason::KeysUnavailable,
        name: "KEYS_UNAVAILABLE",
        code: Some(Code::Unavailable),
        exit: 75,
        line: "the issuer's signing keys cannot be had, so no token can be verified",
    },
    Row {
        reason: Reason::DeadlineExceeded,
        name: "DEADLINE_EXCEEDED",
        code: Some(Code::DeadlineExceeded),
        exit: 75,
        line: "the time for the request ran out",
    },
    Row {
        reason: Reason::Overloaded,
        name: "OVERLOADED",
        code: Some(Code::ResourceExhausted),
        exit: 75,
        line: "the daemon has as much to do as it accepts",
    },
    Row {
        reason: Reason::FilesFailed,
        name: "FILES_FAILED",
        code: Some(Code::Internal),
        exit: 70,
        line: "the secrets' files could not be written",
    },
    Row {
        reason: Reason::AuditFailed,
        name: "AUDIT_FAILED",
        code: Some(Code::Unavailable),
        exit: 75,
        line: "the audit record could not be made durable, so nothing was released",
    },
    Row {
        reason: Reason::Bug,
        name: "BUG",
        code: Some(Code::Internal),
        exit: 70,
        line: "a defect in runner-secrets; please report it with the request id",
    },
    Row {
        reason: Reason::ProviderUnreachable,
        name: "PROVIDER_UNREACHABLE",
        code: None,
        exit: 69,
        line: "the daemon cannot be reached at its socket",
    },
    Row {
        reason: Reason::ConfigInvalid,
        name: "CONFIG_INVALID",
        code: None,
        exit: 78,
        line: "the configuration has mistakes; each is listed with its key",
    },
];

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::{Reason, TABLE};

    /// Pipelines match these names and numbers (`retry: exit_codes`), dashboards the names.
    const PINNED: &str = "\
REQUEST_INVALID InvalidArgument 64
TOKEN_INVALID Unauthenticated 65
TOKEN_EXPIRED Unauthenticated 65
CALLER_DENIED PermissionDenied 77
POLICY_DENIED PermissionDenied 77
EXCHANGE_REFUSED PermissionDenied 77
VAULT_FORBIDDEN PermissionDenied 77
SECRET_NOT_FOUND NotFound 66
SECRET_DISABLED FailedPrecondition 66
SECRET_EXPIRED FailedPrecondition 66
UPSTREAM_THROTTLED ResourceExhausted 75
UPSTREAM_UNAVAILABLE Unavailable 75
KEYS_UNAVAILABLE Unavailable 75
DEADLINE_EXCEEDED DeadlineExceeded 75
OVERLOADED ResourceExhausted 75
FILES_FAILED Internal 70
AUDIT_FAILED Unavailable 75
BUG Internal 70
PROVIDER_UNREACHABLE - 69
CONFIG_INVALID - 78
";

    #[test]
    fn table_is_pinned() {
        let mut table = String::new();
        for row in TABLE {
            let code = row.code.map_or("-".to_owned(), |code| format!("{code:?}"));
            let _ = writeln!(table, "{} {code} {}", row.name, row.exit);
        }
        assert_eq!(table, PINNED);
    }

    #[test]
    fn every_name_leads_back_to_its_reason() {
        for row in TABLE {
            assert_eq!(Reason::named(row.name), Some(row.reason));
            assert_eq!(row.reason.name(), row.name);
        }
        assert_eq!(Reason::named("NO_SUCH_REASON"), None);
    }
}
