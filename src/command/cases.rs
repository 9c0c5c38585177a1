//! `policy test`: what the operator expects of the policy, case by case, before a change to it goes
//! live. Files that cannot be read as cases stop it: a test that does not run must not look like
//! one that passes.

use std::{fs, path::PathBuf};

use super::{Error, Streams, policy_of};
use crate::{
    config::Config,
    policy::cases::{self, Case},
    screen::escaped,
};

/// Runs the cases of all files; 1 if one fails.
pub(super) fn test(
    config: &Config,
    files: &[PathBuf],
    streams: &mut Streams<'_>,
) -> Result<u8, Error> {
    let cases = read(files)?;
    let policy = policy_of(config);
    let mut failures = 0;
    for (file, case) in &cases {
        if let Err(said) = case.check(&policy) {
            failures += 1;
            let line = format!("{file}: {}: {said}", case.name);
            streams.print(&format!("{}\n", escaped(&line)))?;
        }
    }
    let passed = cases.len() - failures;
    streams.print(&format!("{passed} passed, {failures} failed\n"))?;
    Ok(u8::from(failures > 0))
}

/// The cases of all files, each with its file, or every mistake in any of them.
fn read(files: &[PathBuf]) -> Result<Vec<(String, Case)>, Error> {
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for file in files {
        let file_name = file.display().to_string();
        let read = fs::read_to_string(file)
            .map_err(|error| vec![format!("cannot be read: {error}")])
            .and_then(|text| cases::read(&text).map_err(|problems| lines(&problems)));
        match read {
            Ok(cases) if cases.is_empty() => wrong.push(format!("{file_name}: has no [[case]]")),
            Ok(cases) => all.extend(cases.into_iter().map(|case| (file_name.clone(), case))),
            Err(problems) => {
                let place = |problem| format!("{file_name}: {problem}");
                wrong.extend(problems.into_iter().map(place));
            }
        }
    }
    if wrong.is_empty() {
        Ok(all)
    } else {
        Err(Error::Cases(wrong))
    }
}

fn lines(problems: &[crate::config::Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
