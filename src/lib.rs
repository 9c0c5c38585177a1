//! runner-secrets.
