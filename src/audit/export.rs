//! A period of a trail as a package: whole files, byte for byte, so that they verify by
//! themselves wherever they are taken; the policies that they refer to; their checkpoints; the
//! report of a verification; and a list with the SHA-256 of everything. It is a directory, because
//! that is what `sha256sum` and this program read as it is; whoever wants one file packs it.
//! Nothing that is there is written over, and nothing unfinished is left behind.

use std::{
    collections::BTreeSet,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::{
    chain::{Digest, Line},
    trail::{self, Period, Source, Unreadable},
    verify::{self, Options, Report},
};
use gather::Gathered;
use package::Package;

mod gather;
mod package;

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum Error {
    #[error("{}: {why}", path.display())]
    Source { path: PathBuf, why: Unreadable },
    #[error("two files have the name {name:?}; export one trail at a time")]
    Twice { name: String },
    #[error("{name:?} cannot stand in a list of files")]
    Name { name: String },
    #[error("the files have no record of this period")]
    Nothing,
    #[error("{}: {error}", path.display())]
    Output { path: PathBuf, error: io::Error },
    #[error("the report has no form: {0}")]
    Form(#[from] serde_json::Error),
}

/// A package that was made.
#[derive(Debug)]
pub struct Exported {
    /// What verifying its files came to.
    pub report: Report,
    /// How many files of records it has.
    pub files: usize,
    /// How many policies.
    pub policies: usize,
    /// The policies that it refers to and does not have.
    pub missing: Vec<String>,
    /// The SHA-256 of its MANIFEST, which stands for everything in it.
    pub manifest: Digest,
}

/// Makes a package of the files in `paths` that have records of the period, as the new directory
/// `output`.
pub fn export(
    paths: &[PathBuf],
    period: &Period,
    options: &Options,
    output: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Exported, Error> {
    let sources = sources(paths, period)?;
    let mut package = Package::new(output)?;
    package.folder("trail")?;
    package.folder("policies")?;
    for source in &sources {
        copy(source, &mut package)?;
    }
    let Gathered { policies, missing } = gather::gather(&sources, &mut package)?;
    let copies = sources.iter().map(|source| output.join(inside(source)));
    let copies: Vec<PathBuf> = copies.collect();
    let report = verify::verify(&copies, options, progress);
    let mut json = serde_json::to_vec(&report)?;
    json.push(b'\n');
    package.file("verify.json", &json)?;
    package.file("verify.txt", report.text().as_bytes())?;
    package.file("README", README.as_bytes())?;
    Ok(Exported {
        report,
        files: sources.len(),
        policies,
        missing,
        manifest: package.seal()?,
    })
}

const README: &str = include_str!("export/README");

/// The files that have records of the period. One that cannot be read would be a gap that nobody
/// sees.
fn sources(paths: &[PathBuf], period: &Period) -> Result<Vec<Source>, Error> {
    let found = trail::find(paths);
    if let Some((path, why)) = found.unreadable.into_iter().next() {
        return Err(Error::Source { path, why });
    }
    let mut sources = Vec::new();
    let mut names = BTreeSet::new();
    for source in found.sources {
        let has = reaches(&source, period).map_err(|why| Error::Source {
            path: source.path.clone(),
            why,
        })?;
        if !has {
            continue;
        }
        let name = file_name(&source);
        // `sha256sum` has a form of its own for the rest.
        if name.contains(['\\', '\u{fffd}']) || name.chars().any(char::is_control) {
            return Err(Error::Name { name });
        }
        if !names.insert(name.clone()) {
            return Err(Error::Twice { name });
        }
        sources.push(source);
    }
    if sources.is_empty() {
        return Err(Error::Nothing);
    }
    Ok(sources)
}

/// Whether the file has records of the period, or records before and after it.
fn reaches(source: &Source, period: &Period) -> Result<bool, Unreadable> {
    let mut lines = source.lines()?;
    let mut text = Vec::new();
    let mut times: Option<(String, String)> = None;
    while lines.next(&mut text)?.is_some() {
        let Ok(line) = Line::parse(&text) else {
            continue;
        };
        match &mut times {
            None => times = Some((line.time.to_owned(), line.time.to_owned())),
            Some((first, _)) if line.time < first.as_str() => line.time.clone_into(first),
            Some((_, last)) if line.time > last.as_str() => line.time.clone_into(last),
            Some(_) => {}
        }
    }
    Ok(times.is_some_and(|(first, last)| period.reaches(&first, &last)))
}

fn file_name(source: &Source) -> String {
    let name = source.path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Where it is in the package.
fn inside(source: &Source) -> String {
    format!("trail/{}", file_name(source))
}

/// As much of the file as there was when it was found: the daemon may be writing to it.
fn copy(source: &Source, package: &mut Package) -> Result<(), Error> {
    let failed = |why| Error::Source {
        path: source.path.clone(),
        why,
    };
    let mut from = trail::open(&source.path).map_err(failed)?.take(source.size);
    let mut writer = package.create(&inside(source))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = from.read(&mut chunk).map_err(|why| failed(why.into()))?;
        match chunk.get(..count) {
            None | Some([]) => break,
            Some(bytes) => writer.put(bytes)?,
        }
    }
    package.finish(writer)
}

// As much as reading takes at a time.
const CHUNK: usize = 256 * 1024;
