//! What a process has used.

use std::{fs, time::Duration};

/// Processor time of a process and all its threads, those that ended included.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name in parentheses can have anything in it.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split(' ').collect();
    let ticks: u64 = fields[12].parse::<u64>().unwrap() + fields[13].parse::<u64>().unwrap();
    // USER_HZ is 100 on every architecture that Linux has left.
    Duration::from_millis(ticks * 10)
}

/// What it holds in memory now, in KiB, and the most that it ever held.
pub(crate) fn memory(pid: u32) -> (u64, u64) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().split_whitespace().next();
        number.unwrap().parse().unwrap()
    };
    (field("VmRSS:"), field("VmHWM:"))
}
