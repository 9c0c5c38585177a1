//! The files beside the current one: full ones under their numbers, and what logrotate or an
//! operator has renamed.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::fs::OFlags;

use super::{
    file::{self, directory},
    tail::{self, Tail},
};
use crate::{audit::chain::Head, config::audit::stem};

/// The file beside `path` that the chain has come farthest in, under whatever name that begins as
/// ours; `None` where there is none.
pub(crate) fn newest(path: &Path) -> Result<Option<(String, Head)>, file::Error> {
    let directory = directory(path);
    let failed = |source| file::Error::System {
        action: "list",
        path: directory.to_owned(),
        source,
    };
    let mut newest: Option<(String, Head)> = None;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(name) = name.to_str().filter(|name| is_named_like(path, name)) else {
            continue;
        };
        // What cannot be read is none of ours.
        let Ok(Some((_, tail))) = ends(&directory.join(name)) else {
            continue;
        };
        if newest
            .as_ref()
            .is_none_or(|(_, head)| head.seq < tail.head.seq)
        {
            newest = Some((name.to_owned(), tail.head));
        }
    }
    Ok(newest)
}

/// `audit-000000000001.jsonl`, `audit.jsonl.1`, `audit.jsonl-20261121`.
fn is_named_like(path: &Path, name: &str) -> bool {
    stem(path)
        .and_then(|stem| name.strip_prefix(stem))
        .is_some_and(|rest| rest.starts_with('-') || rest.starts_with(".jsonl"))
}

/// The number of a file's header and its last record; `None` where it is none of ours.
pub(super) fn ends(path: &Path) -> io::Result<Option<(u64, Tail)>> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let status = file.metadata()?;
    if !status.is_file() {
        return Ok(None);
    }
    let first = tail::header(&file, status.len())?;
    Ok(first.zip(tail::last(&file, status.len())?))
}
