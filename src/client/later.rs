//! `$GITLAB_ENV`: a file of `NAME=value` lines that the runner reads before every later stage, and
//! so the only way for `after_script` to learn what `env` set. Paths go there and the lease, never
//! a value: the file is on a disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

use super::{
    environment::Environment,
    retrieval::{Given, Retrieval},
    shell::LEASE,
};

/// Tells later stages about the files, if they will still be there.
pub(super) fn tell(retrieval: &Retrieval, environment: &Environment) -> io::Result<()> {
    let Some(path) = environment.path("GITLAB_ENV") else {
        return Ok(());
    };
    if !retrieval.outlives_script() {
        return Ok(());
    }
    let lines = lines(retrieval)?;
    if lines.is_empty() {
        return Ok(());
    }
    append(path, &lines)
}

fn lines(retrieval: &Retrieval) -> io::Result<String> {
    let mut lines = String::new();
    for (variable, given) in retrieval.variables() {
        if let Given::Path(path) = given {
            line(&mut lines, variable.as_str(), &path.to_string_lossy())?;
        }
    }
    if let Some(lease) = retrieval.lease() {
        line(&mut lines, LEASE, &lease.to_string())?;
    }
    Ok(lines)
}

/// The runner reads whole lines and unquotes nothing.
fn line(lines: &mut String, name: &str, value: &str) -> io::Result<()> {
    if !is_plain(value) {
        return Err(io::Error::other(format!(
            "the path in {name} has characters that it cannot carry"
        )));
    }
    lines.extend([name, "=", value, "\n"]);
    Ok(())
}

fn is_plain(value: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b':');
    value.bytes().all(plain)
}

fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut whole = String::new();
    if !ends_with_newline(&mut file)? {
        whole.push('\n');
    }
    whole.push_str(lines);
    // In one piece, so that what another process appends cannot land between.
    file.write_all(whole.as_bytes())
}

/// Follows no symbolic link, and does not wait for the reader of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(i32::try_from(flags).unwrap_or_default())
        .open(path)
}

fn ends_with_newline(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::{append, is_plain};

    #[test]
    fn lines_are_appended_each_to_its_own_line() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("env");
        append(&path, "A=/a\n").unwrap();
        append(&path, "B=/b\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "A=/a\nB=/b\n");
        fs::write(&path, "OPEN=line").unwrap();
        append(&path, "A=/a\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "OPEN=line\nA=/a\n");
    }

    #[test]
    fn links_and_pipes_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("target");
        let link = place.path().join("link");
        fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        assert!(append(&link, "A=/a\n").is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "");
        let pipe = place.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        assert!(append(&pipe, "A=/a\n").is_err());
        assert!(append(place.path(), "A=/a\n").is_err());
    }

    #[test]
    fn only_plain_values_stand_unquoted_in_a_line() {
        assert!(is_plain("/run/runner-secrets-leases/0a1b/DB_PASSWORD"));
        assert!(is_plain("file:/dev/shm/runner-secrets-0/0a"));
        for bad in ["/a b", "/a\nB=1", "/a$b", "/a'b", "/ä"] {
            assert!(!is_plain(bad), "{bad:?}");
        }
    }
}
