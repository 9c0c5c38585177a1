//! Whose end ends a lease: the shell that evaluates what `env` prints, or the client itself while
//! `exec` runs a command. Process ids mean something only where client and daemon see the same
//! ones; from inside a container none is sent, and the lease ends by time or by `release`.

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use rustix::process::{geteuid, getpid, getppid};

/// This process, if the server sees it under the same id.
pub(super) fn this_process(server: Option<i32>) -> Option<i32> {
    sees_us(server?).then(|| getpid().as_raw_nonzero().get())
}

/// The shell that runs the script, if the server sees it under the same id.
///
/// A command substitution may run in a subshell, which ends at once. Such a copy has the command
/// line of the shell that it was made from, so the oldest of a row of such ancestors is taken.
pub(super) fn shell(server: Option<i32>) -> Option<i32> {
    // Deeper nesting of subshells does not occur, and the walk ends in any case.
    const FARTHEST: u32 = 32;
    if !sees_us(server?) {
        return None;
    }
    let mut shell = getppid()?.as_raw_nonzero().get();
    let own_command = read(shell, "cmdline")?;
    for _ in 0..FARTHEST {
        let Some(parent) = parent(shell) else { break };
        let copied = read(parent, "cmdline").is_some_and(|command| command == own_command);
        if !copied || !is_ours(parent) {
            break;
        }
        shell = parent;
    }
    is_ours(shell).then_some(shell)
}

/// Whether the process lives in no other namespace of process ids than ours: then it has one id.
fn sees_us(server: i32) -> bool {
    let ids = |pid| {
        let status = read(pid, "status")?;
        let status = String::from_utf8_lossy(&status).into_owned();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        Some(line.split_whitespace().count())
    };
    ids(server) == Some(1) && ids(getpid().as_raw_nonzero().get()) == Some(1)
}

fn parent(pid: i32) -> Option<i32> {
    let status = read(pid, "status")?;
    let status = String::from_utf8_lossy(&status).into_owned();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok().filter(|pid| *pid > 1)
}

fn is_ours(pid: i32) -> bool {
    let process = fs::metadata(PathBuf::from(format!("/proc/{pid}")));
    process.is_ok_and(|process| process.uid() == geteuid().as_raw())
}

fn read(pid: i32, file: &str) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/{file}")).ok()
}

#[cfg(test)]
mod tests {
    use super::{shell, this_process};

    #[test]
    fn nobody_owns_a_lease_of_a_server_that_cannot_be_seen() {
        assert_eq!(this_process(None), None);
        assert_eq!(shell(None), None);
    }

    #[test]
    fn a_server_beside_us_knows_our_ids() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(this_process(Some(me)), Some(me));
        assert!(shell(Some(me)).is_some());
    }
}
