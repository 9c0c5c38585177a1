//! The memory of a process that has held secrets: the kernel writes no core file of it, and no other
//! process of its user can look into it or attach to it. (Root can, and what a debugger of root's or
//! a hibernating machine writes is not prevented.)

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Closes the memory of this process. Programs that it starts are as they would be otherwise.
pub fn forbid() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The same, for good: also nothing that it starts leaves a core file.
pub fn forbid_to_all() -> io::Result<()> {
    forbid()?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    Ok(setrlimit(Resource::Core, none)?)
}
