//! What a verified token says of its job, as typed values. GitLab sends ids and booleans as
//! strings: here they become what they are, and anything that cannot is refused. Claims that have
//! no field are kept too, because a rule may name any claim; a person's mail address and external
//! identities are not, so that nothing further on can print them.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    Error,
    json::{self, Json, Object},
};

// 9999-12-31T23:59:59Z: later dates cannot be written down, and no token means them.
const LATEST: i64 = 253_402_300_799;

/// The claims of a token. Only [`Verifier`](super::Verifier) makes them of a job's token.
///
/// Where GitLab leaves a claim out (no environment, an older version), so is the field.
#[derive(Debug)]
#[expect(
    missing_docs,
    reason = "GitLab documents its claims; the others have a line"
)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`, in the token's order.
    pub audiences: Vec<String>,
    /// `exp`.
    pub expires_at: SystemTime,
    /// `nbf`.
    pub not_before: Option<SystemTime>,
    /// `iat`.
    pub issued_at: Option<SystemTime>,
    pub jti: Option<String>,
    pub project_id: String,
    pub project_path: Option<String>,
    pub namespace_id: Option<String>,
    pub namespace_path: Option<String>,
    /// `ref`.
    pub git_ref: Option<String>,
    pub ref_path: Option<String>,
    pub ref_type: Option<String>,
    pub ref_protected: Option<bool>,
    pub environment: Option<String>,
    pub environment_protected: Option<bool>,
    pub deployment_tier: Option<String>,
    pub pipeline_id: Option<String>,
    pub pipeline_source: Option<String>,
    pub job_id: String,
    /// The project that the job runs in; for a fork's merge request that is not `project_id`.
    pub job_project_id: Option<String>,
    pub job_project_path: Option<String>,
    pub user_id: Option<String>,
    pub user_login: Option<String>,
    pub user_access_level: Option<String>,
    pub runner_id: Option<u64>,
    pub runner_environment: Option<String>,
    pub sha: Option<String>,
    pub ci_config_ref_uri: Option<String>,
    forms: Forms,
}

/// What a federated credential is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// `aud`.
    pub audiences: Vec<String>,
}

impl Identity {
    /// Who these claims say that the job is.
    #[must_use]
    pub fn of(claims: &Claims) -> Self {
        Self {
            issuer: claims.issuer.clone(),
            subject: claims.subject.clone(),
            audiences: claims.audiences.clone(),
        }
    }

    /// The audience, if there is exactly one: Entra takes no other token.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        match self.audiences.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// For each claim the strings that a rule's patterns are compared with: one for a scalar, one for
/// each scalar of a list. What has no such string (null, an object, a fraction) is not there.
type Forms = BTreeMap<String, Vec<String>>;

/// Never kept: personal, and of no use in a rule that `user_id` or `user_login` would not have.
pub(crate) const NEVER_KEPT: [&str; 2] = ["user_email", "user_identities"];

impl Claims {
    /// The strings that patterns on the claim `name` are compared with; `None` when the token does
    /// not have it.
    #[must_use]
    pub fn bound(&self, name: &str) -> Option<&[String]> {
        self.forms.get(name).map(Vec::as_slice)
    }

    /// Whether both are of one job: the same issuer, project and job id.
    #[must_use]
    pub fn same_job(&self, other: &Self) -> bool {
        self.issuer == other.issuer
            && self.project_id == other.project_id
            && self.job_id == other.job_id
    }

    /// Claims that no token made: for commands that try a policy out, never for a job.
    pub fn assume(json: &str) -> Result<Self, Error> {
        let payload = json::object(json.as_bytes());
        Self::read(&payload.map_err(|problem| Error::text("payload", problem))?)
    }

    pub(super) fn read(payload: &Object) -> Result<Self, Error> {
        let own = Reader(payload);
        Ok(Self {
            issuer: own.required("iss", Reader::text)?,
            subject: own.required("sub", Reader::text)?,
            audiences: own.required("aud", Reader::audiences)?,
            expires_at: own.required("exp", Reader::date)?,
            not_before: own.date("nbf")?,
            issued_at: own.date("iat")?,
            jti: own.text("jti")?,
            project_id: own.required("project_id", Reader::id)?,
            project_path: own.text("project_path")?,
            namespace_id: own.id("namespace_id")?,
            namespace_path: own.text("namespace_path")?,
            git_ref: own.text("ref")?,
            ref_path: own.text("ref_path")?,
            ref_type: own.text("ref_type")?,
            ref_protected: own.boolean("ref_protected")?,
            environment: own.text("environment")?,
            environment_protected: own.boolean("environment_protected")?,
            deployment_tier: own.text("deployment_tier")?,
            pipeline_id: own.id("pipeline_id")?,
            pipeline_source: own.text("pipeline_source")?,
            job_id: own.required("job_id", Reader::id)?,
            job_project_id: own.id("job_project_id")?,
            job_project_path: own.text("job_project_path")?,
            user_id: own.id("user_id")?,
            user_login: own.text("user_login")?,
            user_access_level: own.text("user_access_level")?,
            runner_id: own.number("runner_id")?,
            runner_environment: own.text("runner_environment")?,
            sha: own.text("sha")?,
            ci_config_ref_uri: own.text("ci_config_ref_uri")?,
            forms: forms(payload),
        })
    }
}

fn forms(payload: &Object) -> Forms {
    let scalar = |value: &Json| match value {
        Json::Bool(yes) => Some(yes.to_string()),
        Json::Integer(number) => Some(number.to_string()),
        Json::Text(text) => Some(text.clone()),
        Json::Null | Json::Fraction | Json::List(_) | Json::Object(_) => None,
    };
    let mut forms = Forms::new();
    for (name, value) in payload {
        if NEVER_KEPT.contains(&name.as_str()) {
            continue;
        }
        let strings: Vec<String> = match value {
            Json::List(elements) => elements.iter().filter_map(scalar).collect(),
            value => scalar(value).into_iter().collect(),
        };
        if !strings.is_empty() {
            forms.insert(name.clone(), strings);
        }
    }
    forms
}

/// Reads claims as what they have to be. Null is the same as absent, as in `ci_config_ref_uri`.
#[derive(Clone, Copy)]
struct Reader<'a>(&'a Object);

impl<'a> Reader<'a> {
    fn value(self, claim: &str) -> Option<&'a Json> {
        self.0.get(claim).filter(|value| **value != Json::Null)
    }

    fn required<T>(
        self,
        claim: &'static str,
        read: impl FnOnce(Self, &'static str) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        read(self, claim)?.ok_or(Error::Missing { claim })
    }

    fn read<T>(
        self,
        claim: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'a Json) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.value(claim) else {
            return Ok(None);
        };
        let read = read(value).ok_or(Error::Mistyped { claim, expected })?;
        Ok(Some(read))
    }

    fn text(self, claim: &'static str) -> Result<Option<String>, Error> {
        self.read(claim, "string", |value| value.text().map(str::to_owned))
    }

    /// An id, which GitLab sends as a string and other issuers as a number.
    fn id(self, claim: &'static str) -> Result<Option<String>, Error> {
        self.read(claim, "id", |value| match value {
            Json::Text(text) if !text.is_empty() => Some(text.clone()),
            Json::Integer(number) => Some(number.to_string()),
            _ => None,
        })
    }

    fn number(self, claim: &'static str) -> Result<Option<u64>, Error> {
        self.read(claim, "whole number", |value| match value {
            Json::Integer(number) => u64::try_from(*number).ok(),
            Json::Text(text) => text.parse().ok(),
            _ => None,
        })
    }

    /// Null is refused here: whoever sends it may mean either, and a rule must not guess.
    fn boolean(self, claim: &'static str) -> Result<Option<bool>, Error> {
        let Some(value) = self.0.get(claim) else {
            return Ok(None);
        };
        match value {
            Json::Bool(yes) => Ok(Some(*yes)),
            value => match value.text() {
                Some("true") => Ok(Some(true)),
                Some("false") => Ok(Some(false)),
                _ => Err(Error::Mistyped {
                    claim,
                    expected: "\"true\" or \"false\"",
                }),
            },
        }
    }

    /// Seconds since 1970. RFC 7519 allows fractions; GitLab sends none, and rounding one would
    /// have to be explained.
    fn date(self, claim: &'static str) -> Result<Option<SystemTime>, Error> {
        self.read(claim, "date in whole seconds since 1970", |value| {
            let Json::Integer(seconds @ 0..=LATEST) = value else {
                return None;
            };
            let seconds = Duration::from_secs(u64::try_from(*seconds).ok()?);
            UNIX_EPOCH.checked_add(seconds)
        })
    }

    fn audiences(self, claim: &'static str) -> Result<Option<Vec<String>>, Error> {
        self.read(claim, "string or list of strings", |value| match value {
            Json::Text(text) => Some(vec![text.clone()]),
            Json::List(list) => list
                .iter()
                .map(|element| element.text().map(str::to_owned))
                .collect(),
            _ => None,
        })
    }
}
