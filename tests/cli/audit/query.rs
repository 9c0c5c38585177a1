//! Who read which secret: for people, spreadsheets and programs, by every filter, from files that
//! are not believed.

use serde_json::{Value, json};

use super::trail::{Auditor, Chain, File};
use crate::operator::is_harmless;

/// The fields of a request; `secrets` are names.
fn request(id: &str, reason: Option<&str>, project: &str, secrets: &[&str]) -> Value {
    let secret = |name: &&str| {
        json!({"variable": name.to_uppercase(), "vault": "https://acme-prod.vault.azure.net", "name": name,
               "rule": "shop production", "version_read": "0123456789abcdef0123456789abcdef",
               "key_vault_request_id": "kv-1", "client_request_id": "cl-1"})
    };
    let mut request = json!({
        "request_id": id, "call": "resolve", "duration_ms": 12, "caller": {"uid": 998, "gid": 998},
        "job": {"issuer": "https://gitlab.example.com", "subject": "s", "audience": ["a"], "project_id": "20",
                "project_path": project, "ref": "main", "ref_type": "branch", "ref_protected": true,
                "job_id": "812", "user": "ann"},
        "policy": {"mode": "enforce", "hash": "ab"},
        "secrets": secrets.iter().map(secret).collect::<Vec<_>>(),
    });
    if let Some(reason) = reason {
        request["reason"] = reason.into();
    }
    request
}

fn record(chain: &mut Chain, event: &str, fields: &Value) -> String {
    let text = fields.to_string();
    let fields = text.strip_prefix('{').unwrap().strip_suffix('}').unwrap();
    chain.record(event, &format!(",{fields}"))
}

/// A daemon at work.
struct Daemon {
    chain: Chain,
    lines: Vec<String>,
}

impl Daemon {
    fn new() -> Self {
        let mut chain = Chain::new();
        let lines = vec![chain.header("")];
        Self { chain, lines }
    }

    fn writes(&mut self, event: &str, fields: &Value) {
        self.lines.push(record(&mut self.chain, event, fields));
    }

    /// A request from its intent to its outcome, if it has one.
    fn serves(&mut self, id: &str, reason: Option<&str>, project: &str, secrets: &[&str]) {
        self.writes("intent", &request(id, None, project, secrets));
        if reason.is_some() {
            self.writes("outcome", &request(id, reason, project, secrets));
        }
    }

    fn file(&mut self, name: &str) -> File {
        File {
            name: name.to_owned(),
            lines: std::mem::take(&mut self.lines),
        }
    }
}

/// Deliveries, a refusal, a request whose delivery was taken back, and two without an outcome.
fn trail() -> Vec<File> {
    let (shop, web) = ("acme/shop", "acme/web/front");
    let mut daemon = Daemon::new();
    daemon.serves(
        "r1",
        Some("DELIVERED"),
        shop,
        &["db-password", "stripe-key"],
    );
    let mut refused = request("r2", Some("TOKEN_EXPIRED"), "", &[]);
    refused.as_object_mut().unwrap().remove("job");
    refused["unverified"] = json!({"project_path": shop});
    daemon.writes("outcome", &refused);
    daemon.serves("r3", Some("DELIVERED"), web, &["DB-Password"]);
    let taken_back = request("r3", Some("AUDIT_FAILED"), web, &["DB-Password"]);
    daemon.writes("outcome", &taken_back);
    daemon.serves("r4", None, shop, &["stripe-key"]);
    let mut explained = request("r5", Some("POLICY_DENIED"), shop, &["root-key"]);
    explained["call"] = "explain".into();
    daemon.writes("outcome", &explained);
    let first = daemon.file("audit-000000000001.jsonl");
    "00000000000000bb".clone_into(&mut daemon.chain.instance);
    daemon.lines.push(daemon.chain.header(&first.name));
    daemon.serves("r6", Some("SECRET_NOT_FOUND"), "rich/bank", &["gold"]);
    daemon.serves("r7", None, shop, &["a"]);
    vec![first, daemon.file("audit.jsonl")]
}

/// `request secret reason` of each answer.
fn answers(options: &[&str]) -> Vec<String> {
    let ran = Auditor::with(&trail()).run(&[&["query", "--json"], options].concat());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""), "{options:?}");
    let answer = |line: &str| {
        let answer: Value = serde_json::from_str(line).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let (id, name) = (text(&answer["request_id"]), text(&answer["secret"]["name"]));
        format!("{id} {name} {}", text(&answer["reason"]))
    };
    ran.stdout.lines().map(answer).collect()
}

const ALL: [&str; 7] = [
    "r1 db-password DELIVERED",
    "r1 stripe-key DELIVERED",
    "r2 - TOKEN_EXPIRED",
    "r3 DB-Password AUDIT_FAILED",
    "r4 stripe-key INTENT",
    "r6 gold SECRET_NOT_FOUND",
    "r7 a INTENT",
];

#[test]
fn every_secret_of_every_request_is_answered_with_its_last_outcome() {
    assert_eq!(answers(&[]), ALL);
}

#[test]
fn filters_leave_what_is_asked_for() {
    for (options, expected) in [
        (&["--project", "acme/shop"][..], &[0, 1, 4, 6][..]),
        (&["--project", "acme/*"], &[0, 1, 4, 6]),
        (&["--project", "acme/**"], &[0, 1, 3, 4, 6]),
        (&["--secret", "db-*"], &[0, 3]),
        (&["--secret", "Stripe-Key"], &[1, 4]),
        (
            &["--vault", "https://acme-prod.vault.azure.net/"],
            &[0, 1, 3, 4, 5, 6],
        ),
        (
            &["--vault", "ACME-prod.vault.azure.net"],
            &[0, 1, 3, 4, 5, 6],
        ),
        (&["--vault", "other.vault.azure.net"], &[]),
        (&["--user", "ann"], &[0, 1, 3, 4, 5, 6]),
        (&["--user", "an"], &[]),
        (&["--reason", "delivered"], &[0, 1]),
        (&["--reason", "INTENT"], &[4, 6]),
        (&["--request", "r1"], &[0, 1]),
        (&["--request", "r1", "--secret", "stripe-key"], &[1]),
        (&["--since", "2026-11-21T00:00:05Z"], &[3, 4, 5, 6]),
        (&["--until", "2026-11-21T00:00:05Z"], &[0, 1, 2]),
        (
            &[
                "--since",
                "2026-11-21T01:00:06+01:00",
                "--until",
                "2026-11-21T00:00:07Z",
            ],
            &[3],
        ),
        (
            &["--since", "2026-11-21", "--until", "2026-11-22"],
            &[0, 1, 2, 3, 4, 5, 6],
        ),
        (&["--until", "2026-11-21"], &[]),
        (&["--until", "36500d"], &[]),
    ] {
        let expected: Vec<&str> = expected.iter().map(|index: &usize| ALL[*index]).collect();
        assert_eq!(answers(options), expected, "{options:?}");
    }
}

#[test]
fn people_get_a_table() {
    let ran = Auditor::with(&trail()).run(&["query", "--project", "acme/**", "--secret", "d*"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "TIME                  REASON        SECRET                                 VERSION   PROJECT         REF               USER  JOB  REQUEST\n\
         2026-11-21T00:00:02Z  DELIVERED     acme-prod.vault.azure.net/db-password  01234567  acme/shop       main (protected)  ann   812  r1\n\
         2026-11-21T00:00:06Z  AUDIT_FAILED  acme-prod.vault.azure.net/DB-Password  01234567  acme/web/front  main (protected)  ann   812  r3\n"
    );
    let ran = Auditor::with(&trail()).run(&["query", "--request", "r2"]);
    assert!(
        ran.stdout.contains("acme/shop (unverified)"),
        "{}",
        ran.stdout
    );
}

#[test]
fn a_long_table_keeps_its_columns() {
    let mut chain = Chain::new();
    let mut lines = vec![chain.header("")];
    for count in 0..1500 {
        let fields = request(&format!("r{count}"), Some("DELIVERED"), "acme/shop", &["a"]);
        lines.push(record(&mut chain, "outcome", &fields));
    }
    let file = File {
        name: "audit.jsonl".to_owned(),
        lines,
    };
    let table = Auditor::with(&[file]).run(&["query"]).stdout;
    assert_eq!(table.lines().count(), 1501);
    let column = table.find("REQUEST").unwrap();
    for (count, line) in table.lines().skip(1).enumerate() {
        assert_eq!(&line[column..], format!("r{count}"));
    }
}

#[test]
fn spreadsheets_get_records_without_formulas() {
    let mut chain = Chain::new();
    let mut lines = vec![chain.header("")];
    let mut hostile = request("r1", Some("DELIVERED"), "=cmd|' /C calc'!A0", &["a"]);
    hostile["job"]["ref"] = "@SUM(A1),\"x\"\u{1b}[2J\u{202e}".into();
    lines.push(record(&mut chain, "outcome", &hostile));
    let file = File {
        name: "audit.jsonl".to_owned(),
        lines,
    };
    let auditor = Auditor::with(&[file]);
    let csv = auditor.run(&["query", "--csv"]).stdout;
    let (header, line) = csv.split_once("\r\n").unwrap();
    assert_eq!(header.split(',').count(), 31);
    assert!(
        header.starts_with("time,reason,request_id,variable,vault,secret,"),
        "{header}"
    );
    assert!(line.contains(",'=cmd|' /C calc'!A0,"), "{line}");
    assert!(
        line.contains(",\"'@SUM(A1),\"\"x\"\"\\u{1b}[2J\\u{202e}\","),
        "{line}"
    );
    // So do people and programs.
    for form in [&["query"][..], &["query", "--json"]] {
        let ran = auditor.run(form);
        assert!(
            is_harmless(&ran.stdout) && ran.stdout.contains("/C calc"),
            "{}",
            ran.stdout
        );
    }
}

#[test]
fn lines_that_are_no_records_are_named_and_left_out() {
    let mut files = trail();
    files[0].lines[2] = files[0].lines[2].replace("DELIVERED", "ABANDONED");
    files[1].lines.push("x".to_owned());
    files[1].lines.push("y".to_owned());
    let ran = Auditor::with(&files).run(&["query", "--json"]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        "runner-secretsd: audit-000000000001.jsonl:3: is no intact record, and left out\n\
         runner-secretsd: audit.jsonl:5-6: are no intact records, and left out\n"
    );
    // What is left is the intent.
    let expected = r#""reason":"INTENT","request_id":"r1""#;
    assert_eq!(ran.stdout.matches(expected).count(), 2, "{}", ran.stdout);
}

#[test]
fn what_broke_off_is_nothing_to_complain_of() {
    let mut files = trail();
    let fragment = "{\"seq\":15";
    files[1].lines.push(fragment.to_owned());
    let mut chain = Chain::new();
    chain.seq = 14;
    let fields = format!(
        r#","bytes":9,"sha256":"{}""#,
        super::trail::sha256(fragment.as_bytes())
    );
    files[1].lines.push(chain.record("torn", &fields));
    let auditor = Auditor::with(&files);
    let text = files[1].lines.join("\n") + "\n{\"seq";
    auditor.file("audit.jsonl", text);
    let ran = auditor.run(&["query"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let ran = Auditor::with(&trail()).run(&["query", "--json", "/dev/null"]);
    assert_eq!(ran.status, 66);
    assert_eq!(
        ran.stderr,
        "runner-secretsd: /dev/null: is not a regular file\n"
    );
    assert_eq!(ran.stdout.lines().count(), ALL.len());
}
