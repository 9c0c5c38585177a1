//! What was told, made the same from run to run, and held against a file.

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

use crate::{
    job::{Job, stderr},
    stage::Stage,
};

/// The row that nothing from outside leads to, as far as anybody knows.
pub(super) const NO_WAY: &str = "bug";

/// What a job's log and the operator's have of one failure.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) job: String,
    pub(super) operator: String,
}

impl Told {
    pub(super) async fn by(stage: &mut Stage, job: &Job) -> Self {
        Self::of(stage, job, &["env"]).await
    }

    pub(super) async fn of(stage: &mut Stage, job: &Job, arguments: &[&str]) -> Self {
        let output = job.run(arguments).await;
        assert!(!output.status.success());
        let said = stderr(&output);
        let id = said.split_once(", request ");
        let id = id.map(|(_, rest)| rest.split(')').next().unwrap().to_owned());
        let operator = match &id {
            Some(id) => operator(stage, id).await,
            None => String::new(),
        };
        let id = id.unwrap_or_else(|| "no id".to_owned());
        let told = Self {
            job: said,
            operator,
        };
        let place = stage.place.path("");
        let place = place.to_str().unwrap().trim_end_matches('/').to_owned();
        told.without(&id, "REQUEST")
            .without(&place, "PLACE")
            .without(&stage.emulator.ready().issuer_url, "https://ISSUER")
            .aged()
    }

    /// With a word in the place of what differs from run to run.
    pub(super) fn without(self, text: &str, word: &str) -> Self {
        Self {
            job: self.job.replace(text, word),
            operator: self.operator.replace(text, word),
        }
    }

    /// Without how long ago something was, and without hashes that have a port in them.
    fn aged(self) -> Self {
        let change = |text: String| {
            let lines = text
                .lines()
                .map(|line| hashless(&masked(line, "Z, ", " ago", "AGES")));
            let lines = lines.map(|line| masked(&line, "Z, ", " from now", "AGES"));
            let lines = lines.map(|line| masked(&line, "match the key ", " of http", "KEY"));
            let lines = lines.map(|line| masked(&line, "; try again in ", " s (", "SOME"));
            lines.map(|line| line + "\n").collect()
        };
        Self {
            job: change(self.job),
            operator: change(self.operator),
        }
    }
}

/// What stands between two texts, as a word.
fn masked(line: &str, from: &str, to: &str, word: &str) -> String {
    match line.split_once(from) {
        Some((before, rest)) => match rest.split_once(to) {
            Some((_, after)) => format!("{before}{from}{word}{to}{after}"),
            None => line.to_owned(),
        },
        None => line.to_owned(),
    }
}

/// The name of a federated credential ends in a hash.
fn hashless(line: &str) -> String {
    let Some((before, rest)) = line.split_once("\"name\":\"") else {
        return line.to_owned();
    };
    let (name, after) = rest.split_once('"').unwrap();
    let (readable, hash) = name.rsplit_once('-').unwrap();
    assert_eq!(hash.len(), 8, "{name}");
    format!("{before}\"name\":\"{readable}-HASH\"{after}")
}

/// The line of the daemon's log on a request's end, without what the services said: that has ids
/// of its own.
async fn operator(stage: &mut Stage, id: &str) -> String {
    let ended = "\"message\":\"refused\"";
    stage.daemon.logs(id).await;
    let mine = |log: &str| {
        let mut lines = log.lines();
        let found = lines.find(|line| line.contains(id) && line.contains(ended));
        found.map(str::to_owned)
    };
    crate::daemon::until("the request's last line", || {
        mine(&stage.daemon.log()).is_some()
    })
    .await;
    let line: Value = serde_json::from_str(&mine(&stage.daemon.log()).unwrap()).unwrap();
    let fields = ["reason", "error", "refused_by", "fix", "command", "row"].map(|name| {
        let value = line[name].as_str();
        value.map_or_else(String::new, |value| format!("{name}: {value}\n"))
    });
    fields.concat()
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/blackbox/golden")
}

/// Holds what was told against the file of that name.
pub(super) fn golden(name: &str, told: &Told) {
    let path = directory().join(format!("{name}.txt"));
    let Told { job, operator } = told;
    let found = format!("The job's log:\n\n{job}\nThe operator's log:\n\n{operator}");
    // Longer is not read; a command has a line of its own and may be long.
    assert!(
        job.lines().count() <= 12,
        "{name}: a job log is not a manual:\n{job}"
    );
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "overwrite") {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}\n{found}", path.display()));
    assert_eq!(found, expected, "{}", path.display());
}

/// All files.
pub(super) fn all() -> Vec<String> {
    let entries = fs::read_dir(directory()).unwrap();
    let texts = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    texts.collect()
}

/// Every row that a file links to.
pub(super) fn links() -> BTreeSet<String> {
    let mut links = BTreeSet::new();
    for text in all() {
        let found = text.split("docs/troubleshooting.md#").skip(1);
        links.extend(found.map(|rest| rest.lines().next().unwrap().to_owned()));
    }
    links
}
