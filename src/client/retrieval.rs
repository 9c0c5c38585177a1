//! From a spec to what a job can use: ask, check, write the files where that is the client's part,
//! and hold all of it until it is handed over or given back. Dropping a retrieval deletes what the
//! client wrote; what the daemon wrote ends with its lease.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use super::{
    answer::Content,
    connection::Client,
    environment::Environment,
    error::Error,
    local::{Local, Places},
    spec::Spec,
};
use crate::{
    name::VariableName,
    secret::{IdToken, SecretValue},
};

/// Secrets that were retrieved and can be given back.
#[derive(Debug)]
pub struct Retrieval {
    client: Client,
    token: Option<Arc<IdToken>>,
    variables: BTreeMap<VariableName, Given>,
    lease: Option<String>,
    local: Option<Local>,
    request_id: String,
    warnings: Vec<String>,
}

/// What a variable is set to.
#[derive(Debug)]
pub enum Given {
    /// The path of a file that holds the secret.
    Path(PathBuf),
    /// The secret itself.
    Value(SecretValue),
}

/// What `release` takes: the daemon's lease, or a directory that the client wrote.
#[derive(Debug, PartialEq, Eq)]
pub enum Lease {
    /// The daemon deletes the files.
    Daemon(String),
    /// The client does.
    Local(PathBuf),
}

impl Retrieval {
    /// Retrieves all secrets of a spec. On an error nothing is left behind.
    pub async fn of(
        spec: &Spec,
        mut client: Client,
        owner: Option<i32>,
        places: &Places,
    ) -> Result<Self, Error> {
        let answer = client.resolve(spec, owner).await?;
        let mut retrieval = Self {
            client,
            token: spec.id_token(),
            variables: BTreeMap::new(),
            lease: answer.lease,
            local: None,
            request_id: answer.request_id,
            warnings: answer.warnings,
        };
        match retrieval.take(answer.variables, places, answer.disk_allowed) {
            Ok(()) => Ok(retrieval),
            Err(error) => {
                drop(retrieval.release().await);
                Err(error)
            }
        }
    }

    /// The variables and what they are set to.
    pub fn variables(&self) -> impl Iterator<Item = (&VariableName, &Given)> {
        self.variables.iter()
    }

    /// What gives all of this back; `None` when there is nothing to give back.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        match (&self.local, &self.lease) {
            (Some(local), _) => Some(Lease::Local(local.directory())),
            (None, lease) => lease.clone().map(Lease::Daemon),
        }
    }

    /// Whether the files are still there when the script has ended: those in a container's own
    /// memory are not.
    #[must_use]
    pub fn outlives_script(&self) -> bool {
        self.local.as_ref().is_none_or(|local| local.lasting)
    }

    /// The daemon's name for the request, if it gave one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// What the job's log should say about the secrets.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Leaves the files to the job; they end with the lease.
    pub fn keep(mut self) {
        if let Some(local) = self.local.take() {
            local.keep();
        }
    }

    /// Deletes the files now.
    pub async fn release(mut self) -> Result<(), Error> {
        let removed = self.local.take().map_or(Ok(()), Local::remove);
        if let (Some(lease), Some(token)) = (&self.lease, &self.token) {
            self.client.release(lease, token).await?;
        }
        removed
    }

    fn take(
        &mut self,
        contents: BTreeMap<VariableName, Content>,
        places: &Places,
        disk_allowed: bool,
    ) -> Result<(), Error> {
        let mut to_write = Vec::new();
        for (variable, content) in contents {
            let given = match content {
                Content::Path(path) => Given::Path(path.into()),
                Content::Value(value) => Given::Value(value),
                Content::File(value) => {
                    to_write.push((variable, value));
                    continue;
                }
            };
            self.variables.insert(variable, given);
        }
        if to_write.is_empty() {
            return Ok(());
        }
        let values: Vec<_> = to_write.iter().map(|(name, value)| (name, value)).collect();
        let local = places.write(&values, disk_allowed)?;
        for (variable, _) in to_write {
            let path = local.path(&variable);
            self.variables.insert(variable, Given::Path(path));
        }
        self.local = Some(local);
        Ok(())
    }
}

impl Lease {
    const LOCAL: &str = "file:";

    /// The lease that `RUNNER_SECRETS_LEASE` holds.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix(Self::LOCAL) {
            Some(directory) => Self::Local(directory.into()),
            None => Self::Daemon(text.to_owned()),
        }
    }

    /// Gives back what an earlier command retrieved.
    pub async fn release(
        &self,
        environment: &Environment,
        client: impl AsyncFnOnce() -> Result<Client, Error>,
        token: impl FnOnce() -> Result<Arc<IdToken>, Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Local(directory) => Places::of(environment).remove(directory),
            Self::Daemon(lease) => {
                let token = token()?;
                client().await?.release(lease, &token).await
            }
        }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Daemon(lease) => f.write_str(lease),
            Self::Local(directory) => write!(f, "{}{}", Self::LOCAL, directory.display()),
        }
    }
}

#[cfg(test)]
mod tests;
