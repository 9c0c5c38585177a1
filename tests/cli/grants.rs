//! `policy grants`: who could read what, as a table, for spreadsheets and for programs.

use serde_json::{Value, json};

use crate::operator::{Operator, RULES, is_harmless};

/// Names and patterns that mean something to spreadsheets, terminals and parsers.
const HOSTILE: &str = r#"
[[rule]]
name = "=cmd|' /C calc'!A0"
vaults = ["https://acme.vault.azure.net"]
secrets = ["-x"]
[rule.bound_claims]
project_path = "acme/shop"
ref = ["a \"b\",c", "\u202Eevil"]
"\u001B[31m\u009B2J\n" = "x"

[[rule]]
name = "@SUM(A1:A9), \"quoted\""
bound_claims = { project_path = "acme/shop", environment = "+1" }
vaults = ["https://acme.vault.azure.net"]
secrets = ["x"]
"#;

#[test]
fn a_table_has_a_line_for_each_way() {
    let ran = Operator::new(RULES).run(&["policy", "grants"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "VAULT                              SECRET  RULE             AS                                    IF  JOBS\n\
         https://acme-prod.vault.azure.net  db-*    shop production  22222222-2222-2222-2222-222222222222  -   project_path = \"acme/shop\", environment = \"production\"\n\
         https://gold.vault.azure.net       *       somebody else    any client                            -   project_path = \"rich/bank\"\n"
    );
}

#[test]
fn one_secret_has_only_its_ways() {
    let operator = Operator::new(RULES);
    let ran = operator.run(&["policy", "grants", "--secret", "DB-Password", "--csv"]);
    assert_eq!(ran.status, 0);
    assert_eq!(
        ran.stdout,
        "vault,secret,rule,issuer,bound_claims,tenant_id,client_id,require_version,allow_forks,refuse_expired\r\n\
         https://acme-prod.vault.azure.net,db-*,shop production,https://gitlab.example.com,\
         \"project_path = \"\"acme/shop\"\", environment = \"\"production\"\"\",,\
         22222222-2222-2222-2222-222222222222,false,false,false\r\n\
         https://gold.vault.azure.net,*,somebody else,https://gitlab.example.com,\
         \"project_path = \"\"rich/bank\"\"\",,,false,false,false\r\n"
    );
    let none = Operator::new("").run(&["policy", "grants", "--secret", "x"]);
    assert_eq!(
        (none.status, none.stdout.as_str()),
        (0, "no rule grants it to anybody\n")
    );
}

#[test]
fn hostile_names_are_text_in_every_form() {
    let operator = Operator::new(HOSTILE);
    let table = operator.run(&["policy", "grants"]);
    assert_eq!(table.status, 0, "{}", table.stderr);
    assert!(is_harmless(&table.stdout), "{}", table.stdout);
    assert_eq!(table.stdout.lines().count(), 3);

    let csv = operator.run(&["policy", "grants", "--csv"]).stdout;
    assert!(is_harmless(&csv), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 3, "{csv}");
    for cell in [
        ",'-x,",
        ",'=cmd|' /C calc'!A0,",
        ",\"'@SUM(A1:A9), \"\"quoted\"\"\",",
    ] {
        assert!(csv.contains(cell), "{cell}: {csv}");
    }

    let json = operator.run(&["policy", "grants", "--json"]).stdout;
    assert!(is_harmless(&json), "{json}");
    let report: Value = serde_json::from_str(&json).unwrap();
    let first = &report["grants"][0];
    assert_eq!(first["rule"], "=cmd|' /C calc'!A0");
    let claims = &first["bound_claims"];
    assert_eq!(claims["ref"], json!(["a \"b\",c", "\u{202e}evil"]));
    assert_eq!(claims["\u{1b}[31m\u{9b}2J\n"], json!(["x"]));
    assert_eq!(report["mode"], "enforce");
}

#[test]
fn a_report_is_never_cut_short() {
    let long: Vec<String> = (0..500).map(|n| format!("\"release-{n}-{n}\"")).collect();
    let claims = format!("project_path = \"a/b\", ref = [{}]", long.join(", "));
    let rule = format!(
        "[[rule]]\nname = \"long\"\nbound_claims = {{ {claims} }}\n\
         vaults = [\"https://acme.vault.azure.net\"]\nsecrets = [\"x\"]\n"
    );
    let operator = Operator::new(&rule);
    for form in [&["policy", "grants"][..], &["policy", "grants", "--csv"]] {
        let ran = operator.run(form);
        assert!(ran.stdout.contains("release-499-499"), "{form:?}");
    }
}

#[test]
fn a_rule_name_with_control_characters_is_refused_without_printing_them() {
    let rules = RULES.replace("shop production", "a\\u001B[2J\\nb");
    let ran = Operator::new(&rules).run(&["policy", "grants"]);
    assert_eq!((ran.status, ran.stdout.as_str()), (78, ""));
    assert!(is_harmless(&ran.stderr), "{}", ran.stderr);
    assert!(ran.stderr.contains("rule[0].name"), "{}", ran.stderr);
}
