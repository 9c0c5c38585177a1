//! The script in docs/audit.md that verifies a trail without the program.

use std::{
    env,
    process::{Command, Output},
};

use super::trail::{Auditor, File, three};

const PAGE: &str = include_str!("../../../docs/audit.md");

/// Whether there is a Python. Where it has to be, a missing one is a failure.
fn has_python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    assert!(found || env::var_os("CI").is_none(), "python3 is missing");
    found
}

/// Runs the script as the page has it.
fn script(files: &[File]) -> Output {
    let (_, script) = PAGE.split_once("```python\n").unwrap();
    let (script, _) = script.split_once("```").unwrap();
    let auditor = Auditor::with(files);
    let paths = files.iter().map(|file| auditor.path(&file.name));
    let mut python = Command::new("python3");
    python.arg("-c").arg(script).args(paths).output().unwrap()
}

#[test]
fn the_script_says_intact_and_the_head() {
    if !has_python() {
        println!("skipped: there is no python3 here");
        return;
    }
    let (chain, files) = three();
    let output = script(&files);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, format!("intact, head {}\n", chain.head()));
    assert!(output.status.success());
}

#[test]
fn the_script_finds_what_was_altered_or_is_missing() {
    if !has_python() {
        println!("skipped: there is no python3 here");
        return;
    }
    let (_, files) = three();
    let mut altered = files.clone();
    altered[1].lines[2] = altered[1].lines[2].replace("count", "cnout");
    let mut missing = files;
    missing[1].lines.remove(2);
    for (files, says) in [
        (altered, "audit-000000000007.jsonl:3: altered\n"),
        (
            missing,
            "audit-000000000007.jsonl:3: does not follow record 8\n",
        ),
    ] {
        let output = script(&files);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with(says), "{said}");
        assert_eq!(output.status.code(), Some(1));
    }
}

/// The example of the page is what the program prints.
#[test]
fn the_page_shows_what_the_program_prints() {
    let (_, mut files) = three();
    let mut file = files.remove(0);
    file.name = "audit.jsonl".to_owned();
    file.lines[2] = file.lines[2].replace("count", "cnout");
    let found = Auditor::with(&[file]).damages(&[]);
    let mut lines = PAGE.lines();
    let line = lines.find(|line| line.starts_with("audit.jsonl:3: record 9 was"));
    assert_eq!(found[0], line.unwrap().replace("record 9", "record 3"));
}
