//! The wire contract of runner-secrets: messages and service generated from
//! `proto/runner_secrets/v1/secrets_provider.proto`, and the table of reasons that daemon, client,
//! metrics, audit trail and documentation share. Decides nothing and depends on nothing of ours.

pub mod reason;

pub use reason::Reason;

/// The generated messages, client and server.
pub mod v1 {
    #![expect(
        clippy::pedantic,
        missing_docs,
        reason = "generated code; the contract documents it"
    )]
    #![expect(
        clippy::allow_attributes_without_reason,
        clippy::allow_attributes,
        reason = "generated code"
    )]
    include!("generated/runner_secrets.v1.rs");
}

mod redacted;

/// The contract as a serialised `google.protobuf.FileDescriptorSet`, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/runner_secrets.v1.bin");

/// The `domain` of every `google.rpc.ErrorInfo`.
pub const ERROR_DOMAIN: &str = "runner-secrets";

/// What the `metadata` of every `google.rpc.ErrorInfo` holds.
pub mod metadata {
    /// The daemon's request id.
    pub const REQUEST_ID: &str = "request_id";
    /// Who refused or failed.
    pub const REFUSED_BY: &str = "refused_by";
    /// What to change, as a sentence.
    pub const FIX: &str = "fix";
    /// A command for a POSIX shell that does it, where there is one.
    pub const COMMAND: &str = "command";
}

/// Where the rows are that errors link to, in the repository.
pub const DOCUMENTATION: &str = "docs/troubleshooting.md";

/// The response header that carries the daemon's request id.
pub const REQUEST_ID_HEADER: &str = "runner-secrets-request-id";

/// The response header that carries the daemon's version.
pub const VERSION_HEADER: &str = "runner-secrets-version";
