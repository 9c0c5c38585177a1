//! The arguments of the `audit` commands.

use std::fs;

use serde_json::Value;

use super::trail::{Auditor, three};
use crate::operator::{Operator, run};

/// Arguments, and what is said of them.
const WRONG: [(&[&str], &str); 11] = [
    (&["audit", "bogus"], "there is no command \"audit bogus\""),
    (
        &["audit", "verify", "f", "--bogus"],
        "invalid option '--bogus'",
    ),
    (
        &["audit", "verify", "f", "--head", "5"],
        "SEQ:HASH was expected, not \"5\"",
    ),
    (
        &["audit", "verify", "f", "--head", "5:xyz"],
        "SEQ:HASH was expected",
    ),
    (
        &["audit", "query", "f", "--csv", "--json"],
        "exclude each other",
    ),
    (
        &["audit", "query", "f", "--since", "yesterday"],
        "--since: 2026-11-21, 2026-11-21T08:00:00Z or 24h was expected, not \"yesterday\"",
    ),
    (
        &["audit", "query", "f", "--reason", "DELIVERD"],
        "--reason: \"DELIVERD\" is none; there are DELIVERED, ABANDONED, INTENT, REQUEST_INVALID",
    ),
    (
        &["audit", "query", "f", "--secret", ""],
        "--secret: \"\" is empty",
    ),
    (
        &["audit", "query", "f", "--head", "5"],
        "invalid option '--head'",
    ),
    (
        &["audit", "export", "f"],
        "audit export needs --output DIRECTORY",
    ),
    (&["audit", "export", "f", "--csv"], "invalid option '--csv'"),
];

#[test]
fn wrong_arguments_end_with_64() {
    for (arguments, says) in WRONG {
        let ran = run("/nonexistent".as_ref(), arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    }
}

#[test]
fn programs_get_the_report_as_json() {
    let (chain, mut files) = three();
    files[1].lines.remove(2);
    let ran = Auditor::with(&files).run(&["verify", "--json"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["intact"], false);
    assert_eq!(report["records"], 17);
    assert_eq!(report["first"], 1);
    assert_eq!(report["head"]["hash"], chain.prev.as_str());
    let damages = report["damages"].as_array().unwrap();
    assert_eq!(damages.len(), 1);
    assert_eq!(damages[0]["kind"], "missing");
    assert_eq!(damages[0]["line"], 3);
    assert_eq!(
        damages[0]["message"],
        "record 9 is missing before this line"
    );
}

#[test]
fn without_files_the_trail_is_the_one_of_the_configuration() {
    let operator = Operator::new("");
    let (_, files) = three();
    // Where the configuration says that it is.
    operator.file("audit.jsonl", files[0].lines.join("\n") + "\n");
    let config = fs::read_to_string(operator.path("config.toml")).unwrap();
    for command in ["verify", "query"] {
        let ran = operator.run(&["audit", command]);
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    }
    let path = format!("path = \"{}\"", operator.path("audit.jsonl"));
    let none = "file = false\nsyslog = \"tcp://127.0.0.1:1\"\ndurable = \"syslog\"";
    let none = config.replace(&path, none);
    operator.file("config.toml", none);
    let ran = operator.run(&["audit", "verify"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (64, ""));
    assert!(ran.stderr.contains("audit.file is false"), "{}", ran.stderr);
    operator.file("config.toml", "bogus = 1\n");
    assert_eq!(operator.run(&["audit", "verify"]).status, 78);
}
