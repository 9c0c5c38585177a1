//! `Debug` for the messages that carry tokens or secret values: which fields are there, never what
//! is in them. Without these, a `?request` in a log line would print a job's token.

use std::fmt;

use crate::v1::{ReleaseRequest, ResolveRequest, Secret, Variable, secret, variable};

const REDACTED: &str = "[redacted]";

impl fmt::Debug for ResolveRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveRequest")
            .field("id_token", &REDACTED)
            .field("secrets", &self.secrets)
            .field("owner_pid", &self.owner_pid)
            .finish()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("id_token", &REDACTED)
            .field("file", &self.file)
            .field("source", &self.source)
            .finish()
    }
}

impl fmt::Debug for secret::Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AzureKeyVault(wanted) => f.debug_tuple("AzureKeyVault").field(wanted).finish(),
        }
    }
}

impl fmt::Debug for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Variable")
            .field("file", &self.file)
            .field("content", &self.content)
            .field("version", &self.version)
            .field("warnings", &self.warnings)
            .finish()
    }
}

impl fmt::Debug for variable::Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.debug_tuple("Path").field(path).finish(),
            Self::Value(_) => f.debug_tuple("Value").field(&REDACTED).finish(),
        }
    }
}

impl fmt::Debug for ReleaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseRequest")
            .field("lease_id", &self.lease_id)
            .field("id_token", &REDACTED)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::v1::{ReleaseRequest, ResolveRequest, Secret, Variable, variable::Content};

    #[test]
    fn no_token_or_value_is_printed() {
        let canary = "canary-4711";
        let secret = Secret {
            id_token: canary.into(),
            ..Secret::default()
        };
        let request = ResolveRequest {
            id_token: canary.into(),
            secrets: [("A".to_owned(), secret)].into(),
            owner_pid: 0,
        };
        let variable = Variable {
            content: Some(Content::Value(canary.into())),
            ..Variable::default()
        };
        let release = ReleaseRequest {
            id_token: canary.into(),
            ..ReleaseRequest::default()
        };
        let printed = format!("{request:?} {variable:?} {release:?}");
        assert!(!printed.contains(canary), "{printed}");
        assert!(!printed.contains("99, 97, 110"), "{printed}");
    }
}
