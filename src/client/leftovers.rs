//! Files that end with the client that wrote them, under `exec`: should it be killed, nobody is left
//! to delete them but the next client. So a mark lies beside their directory which says whose they
//! are, and whoever writes next deletes what belongs to a process that has ended. A process is
//! known by its number and start time; those of another container's numbers cannot be judged and
//! are left.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{files::Base, process::Process};

/// The mark of one directory. Dropping this removes it.
#[derive(Debug)]
pub(super) struct Mark(PathBuf);

/// Beside the directory that is called what precedes it.
const SUFFIX: &str = "owner";

impl Mark {
    /// Marks the directory `name` in `home` as this process's.
    pub(super) fn set(home: &Path, name: &str) -> io::Result<Self> {
        let pid = i32::try_from(std::process::id()).map_err(io::Error::other)?;
        let text = identity(pid)?;
        let text = text.ok_or_else(|| io::Error::other("this process cannot be told"))?;
        let path = home.join(name).with_extension(SUFFIX);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mark = Self(path);
        file.write_all(text.as_bytes())?;
        Ok(mark)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.0));
    }
}

/// Deletes what clients left in `home` that have ended; what cannot be deleted is in nobody's way.
pub(super) fn purge(home: &Path, base: &Base) {
    for path in marks(home).filter(|mark| has_ended(mark)) {
        let name = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        if base.remove(name).is_ok() && base.remove(&format!(".{name}")).is_ok() {
            drop(Mark(path));
        }
    }
}

/// Removes the marks in `home`, whose directories are gone.
pub(super) fn forget(home: &Path) {
    marks(home).map(Mark).for_each(drop);
}

fn marks(home: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = home.read_dir().into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.extension() == Some(OsStr::new(SUFFIX)))
}

/// Whether the process in a mark is known to have ended.
fn has_ended(mark: &Path) -> bool {
    let Ok(text) = fs::read_to_string(mark) else {
        return false;
    };
    let mut words = text.split(' ');
    let numbers = words.next().map(str::to_owned);
    let pid = words.next().and_then(|pid| pid.parse().ok());
    match (pid, numbers) {
        (Some(pid), Some(numbers)) if namespace().is_ok_and(|ours| ours == numbers) => {
            identity(pid).is_ok_and(|now| now.is_none_or(|now| now != text))
        }
        _ => false,
    }
}

/// What tells a process from all others on this machine; `None` where it has ended.
fn identity(pid: i32) -> io::Result<Option<String>> {
    let Some(process) = Process::open(pid)? else {
        return Ok(None);
    };
    let (namespace, started) = (namespace()?, process.started()?);
    Ok(started.map(|started| format!("{namespace} {pid} {started}")))
}

/// In which our processes have their numbers.
fn namespace() -> io::Result<String> {
    let link = fs::read_link("/proc/self/ns/pid")?;
    Ok(link.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, process::Command};

    use super::{Mark, identity, purge};
    use crate::files::Base;

    /// A directory of files with a mark, which `change` may alter.
    fn marked(change: impl FnOnce(&Path)) -> usize {
        let home = tempfile::tempdir().unwrap();
        let base = Base::open(home.path()).unwrap();
        let files = base.materialise(0o400, None, std::iter::empty()).unwrap();
        let name = files.keep();
        let mark = Mark::set(home.path(), &name).unwrap();
        // As it is left by a process that is killed.
        let (path, text) = (mark.0.clone(), fs::read(&mark.0).unwrap());
        drop(mark);
        assert!(!path.exists());
        fs::write(&path, text).unwrap();
        change(&path);
        purge(home.path(), &base);
        fs::read_dir(home.path()).unwrap().count()
    }

    /// A process that has ended, as a mark has it.
    fn ended() -> String {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let text = identity(pid).unwrap().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        text
    }

    #[test]
    fn what_is_left_goes_when_its_process_has_ended_and_not_before() {
        assert_eq!(marked(|_| {}), 2, "this process still runs");
        assert_eq!(marked(|mark| fs::write(mark, ended()).unwrap()), 0);
        // Another process that has the number now.
        let reused = |mark: &Path| {
            let text = fs::read_to_string(mark).unwrap();
            fs::write(mark, text + "1").unwrap();
        };
        assert_eq!(marked(reused), 0);
    }

    #[test]
    fn what_cannot_be_judged_is_left() {
        for text in ["", "x", "pid:[1]", "pid:[1] 99999999 7", "pid:[1] x 7"] {
            assert_eq!(marked(|mark| fs::write(mark, text).unwrap()), 2, "{text}");
        }
        let elsewhere = ended().replacen("pid:[", "pid:[1", 1);
        assert_eq!(marked(|mark| fs::write(mark, elsewhere).unwrap()), 2);
    }
}
