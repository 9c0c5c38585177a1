//! What the daemon itself puts on record: that it started, with which configuration; every policy,
//! with its text beside the trail under its hash; the end of every lease.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    audit::{
        Audit, clock,
        event::{Event, LeaseEnd, Policy as Loaded, Start},
    },
    config::Config,
    files::lease::Ended,
    policy::Policy,
};

/// A policy's text could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("the policy's text cannot be kept beside the audit trail: {}: {source}", path.display())]
pub struct Unkept {
    path: PathBuf,
    source: io::Error,
}

/// The start of the daemon.
pub(super) fn started(audit: &Audit, config: &Config) {
    let user = rustix::process::geteuid();
    audit.write(Event::Start(Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: user.as_raw(),
        boot_id: clock::boot_id(),
        clock: clock::state(),
        config: config.effective(),
    }));
}

/// A policy that is about to be in force. Its text is stored first: without it, nobody could say
/// later what the policy was.
pub(super) fn policy(
    audit: &Audit,
    config: &Config,
    policy: &Policy,
    previous: Option<&str>,
) -> Result<(), Unkept> {
    let file = config.audit.file.as_ref();
    if let Some(beside) = file.and_then(|file| file.path.parent()) {
        keep(&beside.join("policies"), policy)?;
    }
    audit.write(Event::Policy(Loaded {
        mode: policy.mode().to_string(),
        policy_hash: policy.hash().to_owned(),
        rules: policy.rules(),
        previous: previous.map(str::to_owned),
    }));
    Ok(())
}

/// The end of a lease.
pub(super) fn lease_ended(audit: &Audit, ended: Ended) {
    let Ended {
        lease,
        request_id,
        holder,
        end,
    } = ended;
    tracing::info!(
        lease,
        request_id,
        uid = holder.uid,
        project_id = holder.project_id,
        job_id = holder.job_id,
        end = end.name(),
        "a lease ended"
    );
    audit.write(Event::Lease(LeaseEnd {
        lease_id: lease,
        request_id,
        end: end.name().to_owned(),
        project_id: holder.project_id,
        job_id: holder.job_id,
    }));
}

/// Stores a policy's text by its hash, unless it is there. It appears whole or not at all.
fn keep(directory: &Path, policy: &Policy) -> Result<(), Unkept> {
    let path = directory.join(format!("{}.txt", policy.hash()));
    let failed = |source| Unkept {
        path: path.clone(),
        source,
    };
    if fs::read_to_string(&path).is_ok_and(|text| text == policy.text()) {
        return Ok(());
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let staged = directory.join(format!(".{}", policy.hash()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o640);
    let mut file = options.open(&staged).map_err(failed)?;
    file.write_all(policy.text().as_bytes()).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&staged, &path).map_err(failed)?;
    let directory = fs::File::open(directory).map_err(failed)?;
    directory.sync_all().map_err(failed)
}
