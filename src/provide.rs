//! The straight line: who asks, what they may have, reading it, handing it over. Every step takes
//! what only the step before can make. Fronts decode a [`Call`] and encode what comes of it; they
//! share this one pipeline.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use crate::{
    config::{Defaults, Delivery},
    error::Error,
    files::{
        Base,
        lease::{Holder, Leases, Terms},
        owner::{self, Owner},
    },
    name::VariableName,
    secret::{IdToken, SecretValue},
    token::{self, Unverified},
    vault::{Fetched, Grant, Vault, Wanted},
};

/// A request, checked for shape.
#[derive(Debug)]
pub struct Call {
    /// The user of the calling process.
    pub uid: u32,
    /// The calling process, where the system tells it.
    pub pid: Option<i32>,
    /// The process whose end ends the lease, where the caller names one.
    pub owner_pid: Option<i32>,
    /// What is asked for; never empty.
    pub wanted: Vec<Wanted>,
    /// How the job gets it.
    pub delivery: Delivery,
    /// When the answer has to be there.
    pub deadline: Instant,
}

/// What a job gets.
#[derive(Debug)]
pub struct Provided {
    /// The lease on its files, where there are any.
    pub lease: Option<Lease>,
    /// Its variables.
    pub variables: BTreeMap<VariableName, Variable>,
}

/// A lease, as its job sees it.
#[derive(Debug)]
pub struct Lease {
    /// What to release it by.
    pub id: String,
    /// When it ends at the latest.
    pub until: SystemTime,
}

/// One variable.
#[derive(Debug)]
pub struct Variable {
    /// Whether the job gets a file.
    pub file: bool,
    /// The file or the value.
    pub content: Content,
    /// The version that was read.
    pub version: String,
    /// For the job's log.
    pub warnings: Vec<String>,
}

/// The file or the value.
#[derive(Debug)]
pub enum Content {
    /// The daemon wrote a file.
    Path(PathBuf),
    /// The secret itself.
    Value(Arc<SecretValue>),
}

/// The pipeline.
#[derive(Debug)]
pub struct Provider<V> {
    /// The backend.
    pub vault: V,
    /// For jobs that name no vault, tenant or client.
    pub defaults: Defaults,
    /// Where files are written; `None` where every listener delivers inline.
    pub files: Option<Place>,
    /// Whose files they are, and for how long.
    pub leases: Arc<Leases>,
}

/// Where files are written.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub base: Base,
    /// The mode of the files.
    pub mode: u32,
    /// The longest that they stay.
    pub max_ttl: Duration,
    /// How long they stay after the process that owns them.
    pub owner_grace: Duration,
}

impl Place {
    /// The process that the lease ends with, and how long after that: at once where it is the
    /// client itself, which cannot come back for the files.
    fn owner(&self, call: &Call) -> Result<Option<(Owner, Duration)>, Error> {
        let (Some(owner_pid), Some(pid)) = (call.owner_pid, call.pid) else {
            return Ok(None);
        };
        let grace = if owner_pid == pid {
            Duration::ZERO
        } else {
            self.owner_grace
        };
        match Owner::of(owner_pid, pid, call.uid) {
            Ok(owner) => Ok(Some((owner, grace))),
            Err(owner::Error::Unknown(error)) => {
                tracing::warn!(owner_pid, %error, "the lease ends by time only");
                Ok(None)
            }
            Err(error) => Err(Error::RequestInvalid {
                field: "owner_pid".to_owned(),
                problem: error.to_string(),
            }),
        }
    }
}

impl<V: Vault> Provider<V> {
    /// All of what `call` asks for, or nothing and the first error.
    pub async fn provide(&self, call: &Call) -> Result<Provided, Error> {
        let job = identify(&call.wanted)?;
        let grants = self.grant(&call.wanted, &job)?;
        let place = self.place(call, &job)?;
        let fetched = self.vault.fetch(&grants, call.deadline).await?;
        self.hand_over(place, &grants, fetched)
    }

    /// Deletes the files of a lease now. One that is gone is a success.
    pub fn release(&self, lease: &str, uid: u32, token: &IdToken) -> Result<(), Error> {
        let job = read(token, || "id_token".to_owned())?;
        let ended = self.leases.release(lease, &job.holder(uid))?;
        tracing::info!(ended, job_id = job.job_id, "released");
        Ok(())
    }

    /// Fills in what the job left to the operator. (No policy is asked yet.)
    fn grant(&self, wanted: &[Wanted], job: &Unverified) -> Result<Vec<Grant>, Error> {
        let grant = |wanted: &Wanted| {
            let server =
                |part| format!("secrets.{}.azure_key_vault.server.{part}", wanted.variable);
            let missing = |part, variable: &str| Error::RequestInvalid {
                field: server(part),
                problem: format!(
                    "is missing, and the operator has set no default; set it, or {variable}"
                ),
            };
            let (tenant, client, vault) = (&wanted.tenant, &wanted.client, &wanted.vault);
            Ok(Grant {
                variable: wanted.variable.clone(),
                file: wanted.file,
                token: wanted.token.clone(),
                token_expires: job.expires_at,
                tenant: tenant
                    .clone()
                    .or_else(|| self.defaults.tenant.clone())
                    .ok_or_else(|| missing("tenant_id", "AZURE_TENANT_ID"))?,
                client: client
                    .clone()
                    .or_else(|| self.defaults.client.clone())
                    .ok_or_else(|| missing("client_id", "AZURE_CLIENT_ID"))?,
                vault: vault
                    .clone()
                    .or_else(|| self.defaults.vault.clone())
                    .ok_or_else(|| missing("url", "AZURE_KEY_VAULT_SERVER_URL"))?,
                name: wanted.name.clone(),
                version: wanted.version.clone(),
            })
        };
        wanted.iter().map(grant).collect()
    }

    /// Where the files will be and how long they will live; `None` where there will be none.
    fn place(&self, call: &Call, job: &Unverified) -> Result<Option<(&Place, Terms)>, Error> {
        let to_write = call.wanted.iter().any(|wanted| wanted.file);
        if call.delivery != Delivery::Files || !to_write {
            return Ok(None);
        }
        let what = "files are to be delivered and there is no place for them";
        let place = self.files.as_ref().ok_or(Error::Bug { what })?;
        let token_left = job.expires_at.duration_since(SystemTime::now());
        let left = token_left.unwrap_or_default().min(place.max_ttl);
        let terms = Terms {
            holder: job.holder(call.uid),
            until: Instant::now() + left,
            owner: place.owner(call)?,
        };
        Ok(Some((place, terms)))
    }

    fn hand_over(
        &self,
        place: Option<(&Place, Terms)>,
        grants: &[Grant],
        fetched: Vec<Fetched>,
    ) -> Result<Provided, Error> {
        let mut variables = BTreeMap::new();
        for (grant, fetched) in grants.iter().zip(fetched) {
            let variable = Variable {
                file: grant.file,
                content: Content::Value(fetched.value),
                version: fetched.version,
                warnings: fetched.warnings,
            };
            variables.insert(grant.variable.clone(), variable);
        }
        let lease = match place {
            Some((place, terms)) => Some(self.materialise(place, terms, &mut variables)?),
            None => None,
        };
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
        let files = place
            .base
            .materialise(place.mode, values)
            .map_err(Error::FilesFailed)?;
        for (name, variable) in variables.iter_mut().filter(|(_, variable)| variable.file) {
            variable.content = Content::Path(files.path(name));
        }
        let left = terms.until.saturating_duration_since(Instant::now());
        let id = self
            .leases
            .grant(files, terms)
            .map_err(Error::FilesFailed)?;
        Ok(Lease {
            id,
            until: SystemTime::now() + left,
        })
    }
}

/// The job that asks: all tokens of a request are of one.
fn identify(wanted: &[Wanted]) -> Result<Unverified, Error> {
    let mut job: Option<Unverified> = None;
    for wanted in wanted {
        let field = || format!("the ID token for {}", wanted.variable);
        let next = read(&wanted.token, field)?;
        match &mut job {
            Some(job)
                if (&job.issuer, &job.project_id, &job.job_id)
                    != (&next.issuer, &next.project_id, &next.job_id) =>
            {
                return Err(Error::TokenInvalid {
                    field: field(),
                    problem: "is of another job than the request's other tokens".to_owned(),
                });
            }
            Some(job) => job.expires_at = job.expires_at.min(next.expires_at),
            None => job = Some(next),
        }
    }
    job.ok_or(Error::Bug {
        what: "a request for nothing",
    })
}

fn read(token: &IdToken, field: impl Fn() -> String) -> Result<Unverified, Error> {
    let job = token::peek(token).map_err(|error| Error::TokenInvalid {
        field: field(),
        problem: error.to_string(),
    })?;
    if job.expires_at <= SystemTime::now() {
        return Err(Error::TokenExpired { field: field() });
    }
    Ok(job)
}

impl Unverified {
    fn holder(&self, uid: u32) -> Holder {
        Holder {
            uid,
            issuer: self.issuer.clone(),
            project_id: self.project_id.clone(),
            job_id: self.job_id.clone(),
        }
    }
}
