//! The samples in deploy/config are what they say: configurations without a mistake, complete, and
//! cases that hold.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::operator::{Operator, run};

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config");
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn samples_have_no_mistakes_and_their_cases_hold() {
    let (cases, configs): (Vec<_>, Vec<_>) = samples()
        .into_iter()
        .partition(|path| name(path).ends_with("-cases.toml"));
    assert!(!configs.is_empty() && !cases.is_empty());
    for config in &configs {
        let ran = run(config, &["check-config"]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{config:?}");
    }
    let config = configs.iter().find(|path| name(path) == "config.toml");
    for case in &cases {
        let ran = run(config.unwrap(), &["policy", "test", case.to_str().unwrap()]);
        assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
        assert!(
            ran.stdout.ends_with(" passed, 0 failed\n"),
            "{}",
            ran.stdout
        );
        assert!(!ran.stdout.starts_with("0 "), "{}", ran.stdout);
    }
}

/// What can be there several times.
const LISTS: [&str; 4] = ["gateway", "issuer", "listen", "rule"];

/// Every key that the program knows is in the sample, with a value or commented out.
#[test]
fn the_full_sample_has_every_key() {
    let sample = samples();
    let sample = sample.iter().find(|path| name(path) == "config.toml");
    let sample = fs::read_to_string(sample.unwrap()).unwrap();
    // A key that no table has makes the program list those that the table has.
    let rule = "none = 1\n[[rule]]\nname = 'x'\nbound_claims = { sub = 'x' }\nvaults = []\n";
    let tables = LISTS.map(|table| format!("[[{table}]]\nnone = 1\n"));
    let operator = Operator::new("");
    for table in tables {
        operator.file("config.toml", &table);
        expect_keys(&operator, &sample);
    }
    operator.file("config.toml", rule);
    let ran = operator.run(&["check-config"]);
    let roots = ran.stderr.split("it has: ").nth(1).unwrap();
    for root in roots.lines().next().unwrap().split(", ") {
        if !LISTS.contains(&root) {
            operator.file("config.toml", format!("[{root}]\nnone = 1\n"));
            expect_keys(&operator, &sample);
        }
    }
}

fn expect_keys(operator: &Operator, sample: &str) {
    let ran = operator.run(&["check-config"]);
    assert_eq!(ran.status, 78, "{}", ran.stdout);
    let (_, known) = ran
        .stderr
        .split_once("none: is no key of this table; it has: ")
        .unwrap();
    let known = known.lines().next().unwrap();
    for key in known.split(", ") {
        let has = |line: &str| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.split(" = ").next() == Some(key)
        };
        assert!(sample.lines().any(has), "{key} is not in the sample");
    }
}
