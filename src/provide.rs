//! The straight line: who asks, what they may have, reading it, handing it over. Every step takes
//! what only the step before can make. Fronts decode a [`Call`] and encode what comes of it; they
//! share this one pipeline.

mod account;
mod call;
mod place;
pub mod presented;

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use tokio::{time::Instant, try_join};

use self::presented::Presented;
pub use self::{
    call::{Call, Content, Lease, Provided, Variable, Wanted},
    place::Place,
};
use crate::{
    audit::{Record, user::User},
    azure::{ClientId, Cloud, TenantId},
    caller::Principal,
    config::Delivery,
    error::{self, Error},
    files::{
        lease::{Holder, Leases, Terms},
        moment::Moment,
    },
    metrics::Step,
    name::VariableName,
    policy::{Asked, Explanation, Granted, Policy},
    secret::IdToken,
    token::{Claims, Identity, Verifier},
    vault::{Fetched, Grant, Said, Vault},
};

/// The pipeline.
#[derive(Debug)]
pub struct Provider<V> {
    /// Whose tokens are accepted.
    pub verifier: Verifier,
    /// Who presented which tokens.
    pub presented: Presented,
    /// What jobs may have; swapped whole when the operator reloads it.
    pub policy: RwLock<Arc<Policy>>,
    /// Which vaults there can be.
    pub cloud: Cloud,
    /// The backend.
    pub vault: V,
    /// Where files are written; `None` where every listener delivers inline.
    pub files: Option<Place>,
    /// Whose files they are, and for how long.
    pub leases: Arc<Leases>,
    /// How records name who started a job.
    pub user: User,
}

impl<V: Vault> Provider<V> {
    /// All of what `call` asks for, or nothing and the first error. What is read is on record before
    /// it is read, and what is given before it is given.
    pub async fn provide(&self, call: &Call, record: &mut Record) -> Result<Provided, Error> {
        account::asked(record, call);
        let jobs = self.identify(call, record).await?;
        let grants = self.authorise(call, &jobs, record)?;
        let place = self.place(call, &jobs)?;
        // Neither needs the other, and both take their time: the disk and the network.
        let exchanging = async {
            let _timer = record.step(Step::Exchange);
            self.vault.exchange(&grants, call.deadline).await
        };
        let (access, intended) = try_join!(exchanging, record.intend(call.deadline))?;
        let fetching = record.step(Step::Fetch);
        let reading = self.vault.fetch(&grants, access, &intended, call.deadline);
        let fetched = reading.await?;
        drop(fetching);
        let provided = self.hand_over(place, &grants, fetched, record)?;
        record.delivered(call.deadline).await?;
        Ok(provided)
    }

    /// What the policy would say to each secret of `call`. Asks neither Entra nor a vault.
    pub async fn explain(&self, call: &Call, record: &Record) -> Result<Vec<Explanation>, Error> {
        account::asked(record, call);
        let jobs = self.identify(call, record).await?;
        let policy = self.policy();
        account::judged(record, &policy, None);
        let mut explanations = Vec::new();
        for job in &jobs {
            self.presented.explains(&job.claims, Instant::now())?;
            explanations.extend(policy.explain(&job.claims, job.asked()));
        }
        account::explained(record, &explanations);
        Ok(explanations)
    }

    /// Deletes the files of a lease now. One that is gone is a success; so is any to a caller over the
    /// network, who never has one.
    pub async fn release(
        &self,
        lease: &str,
        principal: &Principal,
        token: &IdToken,
        deadline: Instant,
        record: &Record,
    ) -> Result<(), Error> {
        let field = || "id_token".to_owned();
        let claims = self
            .verify(token, Some(principal), deadline, field, record)
            .await?;
        let ended = match principal {
            Principal::User(uid) => self.leases.release(lease, &holder(&claims, *uid))?,
            Principal::Remote(_) => false,
        };
        if ended {
            // Otherwise it is only what the job says.
            record.leased(lease);
        }
        tracing::info!(
            ended,
            project_id = claims.project_id,
            job_id = claims.job_id,
            "released"
        );
        Ok(())
    }

    /// The policy that is in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts another policy in force, for all requests that have not asked yet.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
    }

    /// Who asks: the claims of each distinct token, all of one job, with what it is used for.
    async fn identify<'a>(&self, call: &'a Call, record: &Record) -> Result<Vec<Job<'a>>, Error> {
        let mut jobs: Vec<Job<'a>> = Vec::new();
        for wanted in &call.wanted {
            let known = jobs
                .iter_mut()
                .find(|job| Arc::ptr_eq(job.token, &wanted.token));
            if let Some(job) = known {
                job.wanted.push(wanted);
                continue;
            }
            let field = || format!("the ID token for {}", wanted.asked.variable);
            let claims = self
                .verify(
                    &wanted.token,
                    call.principal.as_ref(),
                    call.deadline,
                    field,
                    record,
                )
                .await?;
            if call
                .job_id
                .as_ref()
                .is_some_and(|job| *job != claims.job_id)
            {
                return Err(Error::TokenInvalid {
                    field: field(),
                    problem: "is of another job than the one that GitLab handed out".to_owned(),
                });
            }
            if jobs
                .first()
                .is_some_and(|first| !first.claims.same_job(&claims))
            {
                return Err(Error::TokenInvalid {
                    field: field(),
                    problem: "is of another job than the request's other tokens".to_owned(),
                });
            }
            jobs.push(Job {
                token: &wanted.token,
                identity: Arc::new(Identity::of(&claims)),
                claims,
                wanted: vec![wanted],
            });
        }
        Ok(jobs)
    }

    /// The claims of a token that this caller may present.
    async fn verify(
        &self,
        token: &IdToken,
        principal: Option<&Principal>,
        deadline: Instant,
        field: impl Fn() -> String,
        record: &Record,
    ) -> Result<Claims, Error> {
        let now = SystemTime::now();
        let timer = record.step(Step::Verify);
        let verifying = tokio::time::timeout_at(deadline, self.verifier.verify(token, now));
        let waiting = "waiting for the issuer's signing keys";
        let verified = verifying.await;
        drop(timer);
        if !matches!(verified, Ok(Ok(_))) {
            account::unverified(record, token);
        }
        let claims = verified
            .map_err(|_| Error::DeadlineExceeded { waiting })?
            .map_err(|error| Error::Token {
                field: field(),
                error,
            })?;
        record.identified(account::job(&claims, &self.user));
        record.presented(self.presented.by(principal, &claims, now)?);
        Ok(claims)
    }

    /// What they may have, as which client.
    fn authorise(
        &self,
        call: &Call,
        jobs: &[Job<'_>],
        record: &Record,
    ) -> Result<Vec<Grant>, Error> {
        let _timer = record.step(Step::Authorise);
        let policy = self.policy();
        account::judged(record, &policy, None);
        let mut grants = Vec::with_capacity(call.wanted.len());
        for job in jobs {
            let granted = policy
                .authorise(&job.claims, job.asked())
                .map_err(Error::PolicyDenied)?;
            if let Some(denied) = granted.would_deny() {
                let detail = error::account(denied.account());
                tracing::warn!(%denied, detail, "policy.mode = \"audit\": granted what would be denied");
                account::judged(record, &policy, Some(denied));
            }
            for (wanted, granted) in job.wanted.iter().zip(granted.secrets) {
                account::granted(record, &granted);
                grants.push(self.grant(job, wanted, granted)?);
            }
        }
        Ok(grants)
    }

    /// What policy granted, in the terms of the backend; what nobody named is missing.
    fn grant(&self, job: &Job<'_>, wanted: &Wanted, granted: Granted) -> Result<Grant, Error> {
        let variable = &granted.variable;
        let field = |part| format!("secrets.{variable}.azure_key_vault.server.{part}");
        let missing = |part, name: &str| Error::RequestInvalid {
            field: field(part),
            problem: format!(
                "is missing, and neither a rule nor a default fills it in; set it, or {name}"
            ),
        };
        let tenant = granted.tenant_id.as_deref().and_then(TenantId::parse);
        let client = granted.client_id.as_deref().and_then(ClientId::parse);
        let vault = self
            .cloud
            .vault(&granted.vault)
            .map_err(|error| Error::RequestInvalid {
                field: field("url"),
                problem: error.to_string(),
            })?;
        let rule = granted.rule().unwrap_or("none: policy.mode is \"audit\"");
        tracing::info!(%variable, rule, "granted");
        Ok(Grant {
            tenant: tenant.ok_or_else(|| missing("tenant_id", "AZURE_TENANT_ID"))?,
            client: client.ok_or_else(|| missing("client_id", "AZURE_CLIENT_ID"))?,
            vault,
            file: wanted.file,
            token: wanted.token.clone(),
            token_expires: job.claims.expires_at,
            identity: job.identity.clone(),
            said: Said {
                tenant: wanted.asked.tenant_id.is_some(),
                client: wanted.asked.client_id.is_some(),
                vault: wanted.asked.vault.is_some(),
            },
            granted,
        })
    }

    /// Where the files will be and how long they will live; `None` where there will be none.
    fn place(&self, call: &Call, jobs: &[Job<'_>]) -> Result<Option<(&Place, Terms)>, Error> {
        let to_write = call.wanted.iter().any(|wanted| wanted.file);
        if call.delivery != Delivery::Files || !to_write {
            return Ok(None);
        }
        let what = "files are to be delivered and there is no place for them";
        let place = self.files.as_ref().ok_or(Error::Bug { what })?;
        let what = "files are to be delivered to nobody";
        let uid = call.uid.ok_or(Error::Bug { what })?;
        let soonest = jobs.iter().min_by_key(|job| job.claims.expires_at);
        let claims = &soonest
            .ok_or(Error::Bug {
                what: "a request for nothing",
            })?
            .claims;
        let token_left = claims.expires_at.duration_since(SystemTime::now());
        let left = token_left.unwrap_or_default().min(place.max_ttl);
        let terms = Terms {
            request_id: call.request_id.clone(),
            holder: holder(claims, uid),
            until: Moment::in_future(left),
            owner: place.owner(call, uid)?,
        };
        Ok(Some((place, terms)))
    }

    fn hand_over(
        &self,
        place: Option<(&Place, Terms)>,
        grants: &[Grant],
        fetched: Vec<Fetched>,
        record: &Record,
    ) -> Result<Provided, Error> {
        let mut variables = BTreeMap::new();
        for (grant, fetched) in grants.iter().zip(fetched) {
            if fetched.expires_soon {
                record.expires_soon();
                let variable = &grant.granted.variable;
                tracing::warn!(%variable, "the secret has expired, or will within 30 days");
            }
            let variable = Variable {
                file: grant.file,
                content: Content::Value(fetched.value),
                version: fetched.version,
                warnings: fetched.warnings,
            };
            variables.insert(grant.granted.variable.clone(), variable);
        }
        let lease = match place {
            Some((place, terms)) => {
                let _timer = record.step(Step::Materialise);
                Some(self.materialise(place, terms, &mut variables)?)
            }
            None => None,
        };
        if let Some(lease) = &lease {
            record.leased(lease.granted.id());
        }
        Ok(Provided { lease, variables })
    }

    /// Writes the file variables' values and puts the paths in their place.
    fn materialise(
        &self,
        place: &Place,
        terms: Terms,
        variables: &mut BTreeMap<VariableName, Variable>,
    ) -> Result<Lease, Error> {
        let values = variables
            .iter()
            .filter_map(|(name, variable)| match &variable.content {
                Content::Value(value) if variable.file => Some((name, value.as_ref())),
                _ => None,
            });
        let granted = self
            .leases
            .grant(&place.reachable()?, place.mode, values, terms)?;
        for (name, variable) in variables.iter_mut().filter(|(_, variable)| variable.file) {
            variable.content = Content::Path(granted.path(name));
        }
        let until = SystemTime::now() + granted.left();
        Ok(Lease { granted, until })
    }
}

/// A token of a call, what it says, and what it is used for.
struct Job<'a> {
    token: &'a Arc<IdToken>,
    identity: Arc<Identity>,
    claims: Claims,
    wanted: Vec<&'a Wanted>,
}

impl Job<'_> {
    fn asked(&self) -> impl Iterator<Item = &Asked> {
        self.wanted.iter().map(|wanted| &wanted.asked)
    }
}

fn holder(claims: &Claims, uid: u32) -> Holder {
    Holder {
        uid,
        issuer: claims.issuer.clone(),
        project_id: claims.project_id.clone(),
        job_id: claims.job_id.clone(),
    }
}
