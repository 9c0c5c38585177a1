//! `audit export`: a period of a trail, for somebody else to check.

use std::path::PathBuf;

use super::{
    DAMAGED,
    verify::{self, status},
};
use crate::{
    audit::{
        export::{self, Exported},
        trail::Period,
        verify::Options,
    },
    command::{Error, Streams, audit::progress::Progress},
    screen::escaped,
};

/// What `audit export` was asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Export {
    /// The files and directories; without any, those of the daemon.
    pub files: Vec<PathBuf>,
    /// With which keys the checkpoints have to be signed.
    pub public_keys: Vec<PathBuf>,
    /// Of which time.
    pub period: Period,
    /// The directory to make.
    pub output: PathBuf,
}

impl Export {
    pub(super) fn run(&self, files: &[PathBuf], streams: &mut Streams<'_>) -> Result<u8, Error> {
        let options = Options {
            public_keys: verify::keys(&self.public_keys)?,
            ..Options::default()
        };
        let exported = self.export(files, &options, streams)?;
        let output = escaped(&self.output.display().to_string());
        let (count, policies) = (exported.files, exported.policies);
        let verdict = if exported.report.intact {
            "the trail is intact"
        } else {
            "the trail is NOT INTACT, see verify.txt"
        };
        streams.print(&format!(
            "{output}: files {count}, policies {policies}; {verdict}\n\
             SHA-256 of MANIFEST, to be told by another way: {}\n",
            exported.manifest
        ))?;
        for hash in &exported.missing {
            let line = format!("the policy {hash} is not beside the trail, and not in the package");
            streams.complain(&line);
        }
        Ok(match exported.missing.as_slice() {
            [] => status(&exported.report),
            _ => DAMAGED,
        })
    }

    fn export(
        &self,
        files: &[PathBuf],
        options: &Options,
        streams: &mut Streams<'_>,
    ) -> Result<Exported, Error> {
        let mut progress = Progress::new(streams.stderr, streams.watched);
        let mut at = |done, total| progress.at(done, total);
        let output = &self.output;
        Ok(export::export(
            files,
            &self.period,
            options,
            output,
            &mut at,
        )?)
    }
}
