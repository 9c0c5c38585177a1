//! Inline delivery: the daemon and the job share no files, so the client writes them, with the
//! same code, inside the job's container. Memory first; a disk only where the operator allows it,
//! and then what earlier jobs left there goes first. What is written here has a lease of its own,
//! `file:` and the directory, which can name nothing but such a directory.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::{
    environment::Environment,
    error::Error,
    leftovers::{self, Mark},
};
use crate::{
    files::{Base, Files},
    name::VariableName,
    secret::SecretValue,
};

/// The directories that files may be written to.
#[derive(Debug)]
pub struct Places {
    memory: Vec<PathBuf>,
    /// `$RUNNER_TEMP_PROJECT_DIR`, which belongs to one job at a time, and that job.
    project: Option<PathBuf>,
    job: String,
    /// Whether files say that they end with this process.
    marked: bool,
}

/// Files that the client wrote. Dropping this deletes them.
#[derive(Debug)]
pub struct Local {
    files: Files,
    /// Where they end with this process.
    mark: Option<Mark>,
    /// Ours, in one of the places.
    home: PathBuf,
    /// Whether they are still there in the job's next container.
    pub(super) lasting: bool,
}

/// What our directories are called, before the uid or the job.
const PREFIX: &str = "runner-secrets-";

/// Readable for the job alone.
const MODE: u32 = 0o400;

impl Places {
    /// Where this job's files may go.
    #[must_use]
    pub fn of(environment: &Environment) -> Self {
        let memory = ["/dev/shm", "/run"].map(PathBuf::from);
        let project = environment.path("RUNNER_TEMP_PROJECT_DIR");
        let project = project.filter(|path| path.is_absolute());
        let job = environment.get("CI_JOB_ID").unwrap_or_default();
        Self::new(memory.into(), project.map(Path::to_owned), job)
    }

    /// Places in memory, and one on a disk for this job.
    #[must_use]
    pub fn new(memory: Vec<PathBuf>, project: Option<PathBuf>, job: &str) -> Self {
        let is_number = !job.is_empty() && job.bytes().all(|byte| byte.is_ascii_digit());
        Self {
            memory,
            project,
            job: if is_number { job } else { "0" }.to_owned(),
            marked: false,
        }
    }

    /// Lets files end with this process, however it ends, and not by release only.
    #[must_use]
    pub fn ending_with_us(self) -> Self {
        Self {
            marked: true,
            ..self
        }
    }

    /// Writes the values to the first place that takes them.
    pub fn write<'a>(
        &self,
        values: &[(&'a VariableName, &'a SecretValue)],
        disk_allowed: bool,
    ) -> Result<Local, Error> {
        let mut problems = Vec::new();
        for place in &self.memory {
            match self.in_memory(place, values) {
                Ok(local) => return Ok(local),
                Err(problem) => problems.push(problem),
            }
        }
        match &self.project {
            Some(project) if disk_allowed => match self.on_disk(project, values) {
                Ok(local) => return Ok(local),
                Err(problem) => problems.push(problem),
            },
            Some(_) => problems.push("the operator does not allow a disk".to_owned()),
            None => problems.push("RUNNER_TEMP_PROJECT_DIR is not set".to_owned()),
        }
        Err(Error::Files {
            problem: format!(
                "nowhere to write the secrets' files: {}; the operator of the runner can give \
                 jobs a writable tmpfs at /dev/shm or set `inline_disk = true` in the daemon's \
                 configuration",
                problems.join("; ")
            ),
        })
    }

    /// Deletes what a lease names. What is gone already is a success.
    pub fn remove(&self, directory: &Path) -> Result<(), Error> {
        let refused = || Error::Files {
            problem: format!(
                "{} is no directory that runner-secrets made",
                directory.display()
            ),
        };
        let home = directory.parent().ok_or_else(refused)?;
        let place = home.parent().ok_or_else(refused)?;
        let name = directory.file_name().and_then(|name| name.to_str());
        let known = self.memory.iter().chain(&self.project);
        if !known.into_iter().any(|known| known == place) || !is_home(home) {
            return Err(refused());
        }
        match open_home(home) {
            Err(problem) if home.symlink_metadata().is_ok() => Err(Error::Files { problem }),
            Err(_) => Ok(()),
            Ok(base) => {
                base.remove(name.ok_or_else(refused)?)?;
                leave(home);
                Ok(())
            }
        }
    }

    fn in_memory(
        &self,
        place: &Path,
        values: &[(&VariableName, &SecretValue)],
    ) -> Result<Local, String> {
        let base = Base::open(place).map_err(|error| error.to_string())?;
        match base.is_memory_backed() {
            Ok(true) => {
                let uid = rustix::process::geteuid().as_raw();
                let home = place.join(format!("{PREFIX}{uid}"));
                write(&home, values, self.marked, false)
            }
            Ok(false) => Err(format!("{} is not memory-backed", place.display())),
            Err(error) => Err(error.to_string()),
        }
    }

    fn on_disk(
        &self,
        project: &Path,
        values: &[(&VariableName, &SecretValue)],
    ) -> Result<Local, String> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let made = builder.create(project);
        made.map_err(|error| format!("{}: {error}", project.display()))?;
        let home = project.join(format!("{PREFIX}{}", self.job));
        purge(project, &home);
        write(&home, values, self.marked, true)
    }
}

impl Local {
    /// The file of a variable.
    #[must_use]
    pub fn path(&self, variable: &VariableName) -> PathBuf {
        self.files.path(variable)
    }

    /// The directory that holds them.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.files.directory()
    }

    /// Leaves the files where they are.
    pub fn keep(self) {
        drop(self.files.keep());
    }

    /// Deletes the files, and says so if that fails.
    pub fn remove(self) -> Result<(), Error> {
        let removed = open_home(&self.home).map(|base| base.remove(&self.files.keep()));
        drop(self.mark);
        leave(&self.home);
        match removed {
            Ok(removed) => Ok(removed?),
            Err(problem) => Err(Error::Files { problem }),
        }
    }
}

fn write(
    home: &Path,
    values: &[(&VariableName, &SecretValue)],
    marked: bool,
    lasting: bool,
) -> Result<Local, String> {
    match DirBuilder::new().mode(0o700).create(home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(format!("{}: {error}", home.display()));
        }
        _ => {}
    }
    let base = open_home(home)?;
    leftovers::purge(home, &base);
    match written(home, &base, values, marked) {
        Ok((files, mark)) => Ok(Local {
            files,
            mark,
            home: home.to_owned(),
            lasting,
        }),
        Err(problem) => {
            leave(home);
            Err(problem)
        }
    }
}

/// The mark comes before the values: there is no time at which nobody knows whose they are.
fn written(
    home: &Path,
    base: &Base,
    values: &[(&VariableName, &SecretValue)],
    marked: bool,
) -> Result<(Files, Option<Mark>), String> {
    let staged = base.stage().map_err(|error| error.to_string())?;
    let mark = marked.then(|| Mark::set(home, staged.name()));
    let mark = mark.transpose();
    let mark = mark.map_err(|error| format!("{}: {error}", home.display()))?;
    let files = base.fill(staged, MODE, None, values.iter().copied());
    Ok((files.map_err(|error| error.to_string())?, mark))
}

/// Opens a directory of ours: anybody may create one of that name in `/dev/shm`, so it must belong
/// to us and be closed to others.
fn open_home(home: &Path) -> Result<Base, String> {
    let base = Base::open(home).map_err(|error| error.to_string())?;
    match base.is_ours_alone() {
        Ok(true) => Ok(base),
        Ok(false) => Err(format!("{} belongs to others", home.display())),
        Err(error) => Err(error.to_string()),
    }
}

/// Whether this is what our directories are called.
fn is_home(home: &Path) -> bool {
    let name = home.file_name().and_then(|name| name.to_str());
    let suffix = name.and_then(|name| name.strip_prefix(PREFIX));
    suffix.is_some_and(|suffix| {
        !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Deletes what earlier jobs left on the disk; what cannot be deleted stays in nobody's way.
fn purge(project: &Path, own: &Path) {
    let Ok(entries) = project.read_dir() else {
        return;
    };
    for home in entries.flatten().map(|entry| entry.path()) {
        if home == own || !is_home(&home) {
            continue;
        }
        let (Ok(base), Ok(left)) = (open_home(&home), home.read_dir()) else {
            continue;
        };
        for name in left.flatten().map(|entry| entry.file_name()) {
            drop(name.to_str().map(|name| base.remove(name)));
        }
        leftovers::forget(&home);
        leave(&home);
    }
}

/// Removes our directory if nothing is left in it.
fn leave(home: &Path) {
    drop(std::fs::remove_dir(home));
}

#[cfg(test)]
mod tests;
