//! The gateway: a reverse proxy between runners and GitLab.
pub mod payload;
