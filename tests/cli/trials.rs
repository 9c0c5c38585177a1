//! `policy test`: an operator's cases, and what becomes of those that do not hold.

use crate::operator::{Operator, RULES, is_harmless};

const CLAIMS: &str = r#"
[claims]
iss = "https://gitlab.example.com"
project_path = "acme/shop"
"#;

const GRANTED: &str = r#"
[[case]]
name = "production reads its password"
claims = { environment = "production" }
secret = "db-password"
expect = "granted"
rule = "shop production"
"#;

#[test]
fn cases_that_hold_are_counted() {
    let operator = Operator::new(RULES);
    let one = operator.file("one.toml", format!("{CLAIMS}{GRANTED}"));
    let two = operator.file("two.toml", format!("{CLAIMS}{GRANTED}"));
    let ran = operator.run(&["policy", "test", &one, &two]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(ran.stdout, "2 passed, 0 failed\n");
}

#[test]
fn a_case_that_fails_is_a_line_with_what_was_said_instead() {
    let operator = Operator::new(RULES);
    let wrong = GRANTED.replace("db-password", "root-password");
    let file = operator.file("cases.toml", format!("{CLAIMS}{GRANTED}{wrong}"));
    let ran = operator.run(&["policy", "test", &file]);
    assert_eq!((ran.status, ran.stderr.as_str()), (1, ""));
    assert_eq!(
        ran.stdout,
        format!(
            "{file}: production reads its password: no rule grants the secret root-password \
             (variable SECRET): rule \"shop production\" is for the secrets \"db-*\", not for \
             root-password; rule by rule: rule \"shop production\" is for the secrets \"db-*\", \
             not for root-password; rule \"somebody else\" wants project_path to be \"rich/bank\", \
             and the token has \"acme/shop\"\n1 passed, 1 failed\n"
        )
    );
}

#[test]
fn hostile_cases_stay_on_their_line() {
    let operator = Operator::new(RULES);
    let case = r#"
[[case]]
name = "a\nb\u001B[2J\u202E"
claims = { project_path = "x/\u001B[31m\n1 passed, 0 failed" }
secret = "db-password"
expect = "granted"
"#;
    let file = operator.file("cases.toml", format!("{CLAIMS}{case}"));
    let ran = operator.run(&["policy", "test", &file]);
    assert_eq!(ran.status, 1);
    assert!(is_harmless(&ran.stdout), "{}", ran.stdout);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[1], "0 passed, 1 failed");
}

#[test]
fn wrong_files_are_reported_all_and_run_nothing() {
    let operator = Operator::new(RULES);
    let good = operator.file("good.toml", format!("{CLAIMS}{GRANTED}"));
    let wrong = operator.file(
        "wrong.toml",
        "[[case]]\nname = \"x\"\nsecret = \"a b\"\nexpect = \"maybe\"\ncolour = 1\n",
    );
    let empty = operator.file("empty.toml", CLAIMS);
    let arguments = ["policy", "test", &good, &wrong, &empty, "/nowhere/cases"];
    let ran = operator.run(&arguments);
    assert_eq!((ran.status, ran.stdout.as_str()), (78, ""));
    for problem in [
        format!("{wrong}: line 3: case[0].secret: is no secret name"),
        format!("{wrong}: line 4: case[0].expect: \"maybe\" is neither"),
        format!("{wrong}: line 5: case[0].colour: is no key of this table"),
        format!("{empty}: has no [[case]]"),
        "/nowhere/cases: cannot be read: No such file or directory".to_owned(),
    ] {
        assert!(ran.stderr.contains(&problem), "{problem}\n{}", ran.stderr);
    }
}

#[test]
fn a_wrong_configuration_and_wrong_arguments_have_their_statuses() {
    let operator = Operator::new("[[rule]]\nname = \"x\"\n");
    let file = operator.file("cases.toml", format!("{CLAIMS}{GRANTED}"));
    let ran = operator.run(&["policy", "test", &file]);
    assert_eq!((ran.status, ran.stdout.as_str()), (78, ""));
    assert!(
        ran.stderr.contains("rule[0].vaults: is missing"),
        "{}",
        ran.stderr
    );
    for arguments in [
        &["policy"][..],
        &["policy", "test"],
        &["policy", "test", "--json", "x"],
        &["policy", "explain", "--token", "x"],
        &["policy", "explain", "--spec", "x"],
        &["policy", "explain", "x"],
        &["policy", "grants", "x"],
        &["policy", "grants", "--csv", "--json"],
        &["policy", "grants", "--secret", "a/b"],
        &["policy", "show"],
        &["policy", "show", "--all"],
    ] {
        let ran = operator.run(arguments);
        assert_eq!((ran.status, ran.stdout.as_str()), (64, ""), "{arguments:?}");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    let ran = operator.run(&["policy", "grants", "--help"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("policy grants [--secret NAME]"));
}
