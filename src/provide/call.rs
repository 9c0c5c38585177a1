//! What goes into the pipeline and what comes out of it, in no front's terms.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::SystemTime};

use tokio::time::Instant;

use crate::{
    caller::Principal,
    config::Delivery,
    files::lease::Granted,
    name::VariableName,
    policy::Asked,
    process::Process,
    secret::{IdToken, SecretValue},
};

/// A request, checked for shape.
#[derive(Debug)]
pub struct Call {
    /// The daemon's name for the request.
    pub request_id: String,
    /// The user of the calling process; `None` where no process of this host calls.
    pub uid: Option<u32>,
    /// Who presents the tokens; `None` where the job came from GitLab itself.
    pub principal: Option<Principal>,
    /// The calling process, where the system tells it.
    pub pid: Option<i32>,
    /// The same, held by a descriptor.
    pub process: Option<Arc<Process>>,
    /// The job that the tokens must be of, where the front knows it from GitLab itself.
    pub job_id: Option<String>,
    /// The process whose end ends the lease, where the caller names one.
    pub owner_pid: Option<i32>,
    /// What is asked for; never empty.
    pub wanted: Vec<Wanted>,
    /// How the job gets it.
    pub delivery: Delivery,
    /// When the answer has to be there.
    pub deadline: Instant,
}

/// One variable of a call.
#[derive(Debug)]
pub struct Wanted {
    /// What is asked for.
    pub asked: Asked,
    /// Whether the job gets a file or the value.
    pub file: bool,
    /// The ID token to read it with.
    pub token: Arc<IdToken>,
}

/// What a job gets.
#[derive(Debug)]
pub struct Provided {
    /// The lease on its files, where there are any.
    pub lease: Option<Lease>,
    /// Its variables.
    pub variables: BTreeMap<VariableName, Variable>,
}

/// A lease that its job does not know yet.
#[derive(Debug)]
pub struct Lease {
    /// What ends it, files and all, unless the front keeps it.
    pub granted: Granted,
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
