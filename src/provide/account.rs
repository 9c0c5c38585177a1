//! What goes on record of each step, in the trail's terms. Only a verified token's claims become a
//! [`Job`]; what any other token says is kept apart, and cut short.

use std::collections::BTreeMap;

use super::{Call, Wanted};
use crate::{
    audit::{
        Record,
        chain::Digest,
        event::{Asked, Job, Secret},
        user::User,
    },
    error,
    policy::{self, Denied, Explanation, Granted, Policy},
    secret::IdToken,
    token::{self, Claims},
};

/// What a call asks for, in the order of its variables.
pub(super) fn asked(record: &Record, call: &Call) {
    let mut secrets: Vec<Secret> = call.wanted.iter().map(secret).collect();
    secrets.sort_by(|one, other| one.variable.cmp(&other.variable));
    record.asks(secrets, call.delivery.to_string());
}

fn secret(wanted: &Wanted) -> Secret {
    let policy::Asked {
        variable,
        name,
        version,
        vault,
        ..
    } = &wanted.asked;
    Secret {
        variable: variable.to_string(),
        vault: vault.as_ref().map(ToString::to_string),
        name: name.to_string(),
        version: version.as_ref().map(ToString::to_string),
        ..Secret::default()
    }
}

/// Where a secret is, and why the job may have it.
pub(super) fn granted(record: &Record, granted: &Granted) {
    let variable = granted.variable.as_str();
    record.granted(variable, granted.vault.as_str(), granted.rule());
}

/// What an explanation said of each secret.
pub(super) fn explained(record: &Record, explanations: &[Explanation]) {
    for explanation in explanations {
        let account = error::account(&explanation.account);
        let (variable, is_granted) = (&explanation.variable, explanation.granted.is_some());
        tracing::info!(%variable, granted = is_granted, account, "explained");
        if let Some(grant) = &explanation.granted {
            granted(record, grant);
        }
    }
}

/// The policy that a request is judged by.
pub(super) fn judged(record: &Record, policy: &Policy, would_deny: Option<&Denied>) {
    record.judged_by(Asked {
        mode: policy.mode().to_string(),
        hash: policy.hash().to_owned(),
        would_deny: would_deny.map(ToString::to_string),
    });
}

/// What a token says that was not accepted, if it can be read at all.
pub(super) fn unverified(record: &Record, token: &IdToken) {
    // Longer than any real claim of these; it is somebody else's text in our trail.
    const LONGEST: usize = 200;
    let Ok(says) = token::peek(token) else { return };
    let cut = |text: &str| text.chars().take(LONGEST).collect::<String>();
    record.claimed(BTreeMap::from([
        ("issuer".to_owned(), cut(&says.issuer)),
        ("subject".to_owned(), cut(&says.subject)),
        ("project_id".to_owned(), cut(&says.project_id)),
        ("job_id".to_owned(), cut(&says.job_id)),
    ]));
}

/// The job of a verified token.
pub(super) fn job(claims: &Claims, form: &User) -> Job {
    Job {
        issuer: claims.issuer.clone(),
        subject: claims.subject.clone(),
        audience: claims.audiences.clone(),
        project_id: claims.project_id.clone(),
        project_path: claims.project_path.clone(),
        namespace_path: claims.namespace_path.clone(),
        git_ref: claims.git_ref.clone(),
        ref_type: claims.ref_type.clone(),
        ref_protected: claims.ref_protected,
        environment: claims.environment.clone(),
        pipeline_id: claims.pipeline_id.clone(),
        pipeline_source: claims.pipeline_source.clone(),
        job_id: claims.job_id.clone(),
        user: form.name(
            &claims.issuer,
            claims.user_login.as_deref(),
            claims.user_id.as_deref(),
        ),
        runner_id: claims.runner_id,
        sha: claims.sha.clone(),
        jti_sha256: claims.jti.as_ref().map(|jti| Digest::of(jti.as_bytes())),
    }
}
