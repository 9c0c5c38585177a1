//! The directory that a package is: every file is new, readable for its owner, on disk when it is
//! said to be there, and in the list of hashes.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest;

use super::Error;
use crate::audit::{
    chain::Digest,
    trail::{self, Lines, Unreadable},
};

/// A new directory. It goes again unless it is sealed.
pub(super) struct Package {
    path: PathBuf,
    /// Each file's SHA-256.
    hashes: BTreeMap<String, Digest>,
    sealed: bool,
}

/// A file of it that is being written.
pub(super) struct Writer {
    name: String,
    path: PathBuf,
    file: File,
    hash: digest::Context,
}

impl Package {
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        make(path)?;
        Ok(Self {
            path: path.into(),
            hashes: BTreeMap::new(),
            sealed: false,
        })
    }

    pub(super) fn folder(&self, name: &str) -> Result<(), Error> {
        make(&self.path.join(name))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The lines of a file that is finished.
    pub(super) fn lines(&self, name: &str) -> Result<Lines<File>, Unreadable> {
        trail::open(&self.path.join(name)).map(Lines::of)
    }

    pub(super) fn create(&self, name: &str) -> Result<Writer, Error> {
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(|error| failed(&path, error))?;
        Ok(Writer {
            name: name.to_owned(),
            path,
            file,
            hash: digest::Context::new(&digest::SHA256),
        })
    }

    pub(super) fn finish(&mut self, writer: Writer) -> Result<(), Error> {
        let Writer {
            name,
            path,
            file,
            hash,
        } = writer;
        file.sync_all().map_err(|error| failed(&path, error))?;
        self.hashes.insert(name, Digest::finish(hash));
        Ok(())
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) -> Result<(), Error> {
        let mut writer = self.create(name)?;
        writer.put(content)?;
        self.finish(writer)
    }

    /// Writes the list of hashes, in the form of `sha256sum`, and gives its own.
    pub(super) fn seal(mut self) -> Result<Digest, Error> {
        let line = |(name, hash): (&String, &Digest)| format!("{hash}  {name}\n");
        let manifest: String = self.hashes.iter().map(line).collect();
        self.file("MANIFEST", manifest.as_bytes())?;
        self.sealed = true;
        Ok(Digest::of(manifest.as_bytes()))
    }
}

impl Writer {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.hash.update(bytes);
        let written = self.file.write_all(bytes);
        written.map_err(|error| failed(&self.path, error))
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        if !self.sealed {
            // The error that led here is the one to report.
            drop(fs::remove_dir_all(&self.path));
        }
    }
}

fn make(path: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().mode(0o700).create(path);
    made.map_err(|error| failed(path, error))
}

fn failed(path: &Path, error: io::Error) -> Error {
    let path = path.into();
    Error::Output { path, error }
}
