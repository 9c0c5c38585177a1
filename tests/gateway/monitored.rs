//! What is shipped and written for monitoring, against the metrics of a daemon that has had work on
//! every front: the documented table, the alerts, the dashboard, and Prometheus' own checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use reqwest::Certificate;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use crate::{
    admin::{Admin, LISTEN, taken_apart},
    authority::{self, Authority},
    call::{Caller, ask},
    daemon::{PATIENCE, Place},
    gitlab::GitLab,
    runner::{Runner, Seen},
    site::{Site, entry, payload, variable},
    tree,
};

/// A daemon with every front, each of which was used, and all that there is to count.
async fn monitored() -> (Site, Admin) {
    let (place, own) = (Place::new(), Authority::new("the operator"));
    own.leaf().write(&place);
    let keys = authority::keys(&place);
    let address = format!("[[listen]]\naddress = \"127.0.0.1:0\"\n{keys}");
    let site = Site::before(GitLab::new().await, &keys, |config| {
        let config = config
            .text("admin.listen", LISTEN)
            .set("audit.stdout", true);
        let config = config.text("audit.checkpoint_interval", "100ms");
        config.more(&address)
    })
    .await;
    let runner = Runner::with(
        &format!(
            "https://localhost:{}",
            site.address.split_once(':').unwrap().1
        ),
        |client| {
            let pem = Certificate::from_pem_bundle(own.pem().as_bytes()).unwrap();
            client.tls_certs_only(pem)
        },
    );
    let site = site.ready(&runner).await;
    site.put("db", "one");
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    let job = payload(variables, json!({"DB": entry("db")}));
    site.gitlab.job(7, job);
    let work = runner.ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    let caller = Caller::connect(&site.place.socket()).await;
    caller.bytes(ask(&site.token(8)).file("DB", "db")).await;
    let log = site.daemon.log();
    let at = log.split("listening address=").nth(1).unwrap();
    let at = at.split_whitespace().next().unwrap();
    let tcp = TcpStream::connect(at).await.unwrap();
    let connector = TlsConnector::from(own.trusted(None, &["h2"]));
    let name = ServerName::try_from("localhost").unwrap();
    let remote = Caller::of(connector.connect(name, tcp).await.unwrap()).await;
    remote.bytes(ask(&site.token(9)).value("DB", "db")).await;
    let admin = Admin::of(&site.daemon);
    let checked = async { while !admin.metrics().await.contains("audit_checkpoint{") {} };
    tokio::time::timeout(PATIENCE, checked).await.unwrap();
    for series in [
        r#"runner_secrets_requests_total{call="resolve",front="gateway",reason="DELIVERED"}"#,
        r#"runner_secrets_requests_total{call="resolve",front="socket",reason="DELIVERED"}"#,
        r#"runner_secrets_requests_total{call="resolve",front="tls",reason="DELIVERED"}"#,
        r#"runner_secrets_connections{front="tls"}"#,
        r#"runner_secrets_gateway_jobs_total{outcome="resolved"}"#,
    ] {
        let value = admin.value(series).await;
        assert!((value - 1.0).abs() < 0.5, "{series}: {value}");
    }
    (site, admin)
}

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap()
}

/// Runs promtool, where this machine has it. Where everything has to be tested, it must.
fn promtool(arguments: &[&str], input: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("input");
    fs::write(&file, input).unwrap();
    let mut command = Command::new("promtool");
    command
        .args(arguments)
        .current_dir(root("deploy/monitoring"));
    command.stdin(fs::File::open(&file).unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    match command.output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI has to have promtool");
            println!("skipped: promtool, of the package prometheus: {error}");
            None
        }
    }
}

fn succeeds(output: &Output) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{said}");
}

/// A metric: its type, its labels and the values that each has.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            kind.clone_into(&mut metrics.entry(name.to_owned()).or_default().kind);
        } else if !line.starts_with('#') {
            let (name, labels) = taken_apart(line.rsplit_once(' ').unwrap().0);
            let metric = metrics.get_mut(&family(name, &labels)).unwrap();
            for (label, value) in labels {
                let values = metric.labels.entry(label.to_owned()).or_default();
                values.insert(value.to_owned());
            }
        }
    }
    metrics
}

/// The metric that a series is of.
fn family(series: &str, labels: &BTreeMap<&str, &str>) -> String {
    let parts = ["_bucket", "_sum", "_count"].into_iter();
    let mut whole = parts.filter_map(|part| series.strip_suffix(part));
    let histogram = labels.contains_key("le") || series.contains("_duration_seconds_");
    let whole = whole.next().filter(|_| histogram);
    whole.unwrap_or(series).to_owned()
}

#[tokio::test]
async fn the_table_of_metrics_is_what_there_is() {
    let (_site, admin) = monitored().await;
    let real = metrics(&admin.metrics().await);
    let real: BTreeSet<String> = real
        .iter()
        .map(|(name, Metric { kind, labels })| {
            let labels = labels.keys().filter(|label| *label != "le");
            let labels: Vec<String> = labels.map(|label| format!("`{label}`")).collect();
            format!("| `{name}` | {kind} | {} |", labels.join(", "))
        })
        .collect();
    let page = read("docs/operating.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `runner_secrets_") || line.starts_with("| `process_"));
    let rows: Vec<String> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            assert!(cells[4].trim().len() > 3, "{row} says nothing");
            format!("{}|", cells[..4].join("|"))
        })
        .collect();
    let written: BTreeSet<String> = rows.iter().cloned().collect();
    assert_eq!(written.len(), rows.len(), "a metric is there twice");
    let missing: Vec<_> = real.difference(&written).collect();
    let gone: Vec<_> = written.difference(&real).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "{missing:#?} {gone:#?}"
    );
}

#[tokio::test]
async fn prometheus_finds_nothing_wrong_with_the_metrics() {
    let (_site, admin) = monitored().await;
    if let Some(checked) = promtool(&["check", "metrics"], &admin.metrics().await) {
        succeeds(&checked);
        let said = [checked.stdout, checked.stderr].concat();
        assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn every_alert_fires_and_stays_quiet_in_its_test_and_is_explained() {
    let alerts = tree::yaml(&read("deploy/monitoring/alerts.yml"));
    let tests = tree::yaml(&read("deploy/monitoring/alerts.test.yml"));
    let page = read("docs/operating.md");
    let explained = page
        .lines()
        .filter_map(|line| line.strip_prefix("### Runner"));
    let explained: BTreeSet<String> = explained.map(|name| format!("Runner{name}")).collect();
    let mut names = BTreeSet::new();
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        let name = rule["alert"].as_str().unwrap();
        let url = format!("docs/operating.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], url.as_str());
        assert!(
            ["critical", "warning", "info"].contains(&rule["labels"]["severity"].as_str().unwrap())
        );
        for fires in [true, false] {
            let tested = tests["tests"].as_array().unwrap().iter().any(|test| {
                let cases = test["alert_rule_test"].as_array().unwrap();
                cases.iter().any(|case| {
                    let expected = case["exp_alerts"].as_array().unwrap();
                    case["alertname"] == name && expected.is_empty() != fires
                })
            });
            assert!(tested, "{name}: fires: {fires}");
        }
        names.insert(name.to_owned());
    }
    assert_eq!(names, explained);
    if let Some(tested) = promtool(&["test", "rules", "alerts.test.yml"], "") {
        succeeds(&tested);
    }
}

#[tokio::test]
async fn alerts_and_their_tests_are_about_series_that_there_are() {
    let (_site, admin) = monitored().await;
    let real = metrics(&admin.metrics().await);
    let alerts = tree::yaml(&read("deploy/monitoring/alerts.yml"));
    for rule in alerts["groups"][0]["rules"].as_array().unwrap() {
        is_about(rule["expr"].as_str().unwrap(), &real);
    }
    let tests = tree::yaml(&read("deploy/monitoring/alerts.test.yml"));
    let mut seen = 0;
    for test in tests["tests"].as_array().unwrap() {
        for input in test["input_series"].as_array().unwrap() {
            let series = input["series"].as_str().unwrap();
            let (name, mut labels) = taken_apart(series);
            assert!(labels.remove("instance").is_some(), "{series}");
            if name == "up" {
                continue;
            }
            let metric = real.get(&family(name, &labels));
            let metric = metric.unwrap_or_else(|| panic!("there is no {series}"));
            let labels: BTreeSet<&str> = labels.into_keys().collect();
            let expected: BTreeSet<&str> = metric.labels.keys().map(String::as_str).collect();
            assert_eq!(labels, expected, "{series}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

/// What a query selects is there, with these labels and values.
fn is_about(query: &str, real: &BTreeMap<String, Metric>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = 0;
    for word in query.split_inclusive(|c: char| !is_name(c) && !"{}=~!\"|$,.".contains(c)) {
        let Some(at) = word
            .find("runner_secrets_")
            .or_else(|| word.find("process_"))
        else {
            continue;
        };
        let word = &word[at..];
        let end = word.find(|c| !is_name(c)).unwrap_or(word.len());
        let (name, rest) = word.split_at(end);
        let matchers = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = BTreeMap::new();
        let metric = real.get(&family(name, &labels));
        let metric = metric.unwrap_or_else(|| panic!("there is no {name}: {query}"));
        for matcher in matchers.map_or("", |(all, _)| all).split(',') {
            let Some((label, value)) = matcher.split_once(['=', '!']) else {
                assert!(matcher.is_empty(), "{matcher}: {query}");
                continue;
            };
            if matches!(label, "instance" | "job") {
                continue;
            }
            let values = &metric.labels[label];
            let value = value.trim_start_matches(['=', '~']).trim_matches('"');
            for value in value.split('|') {
                assert!(values.contains(value), "{label} is never {value}: {query}");
            }
        }
        found += 1;
    }
    assert!(found > 0 || query.starts_with("up{"), "{query}");
}

/// Prometheus' own engine answers each of the dashboard's queries from the series that there are.
#[tokio::test]
async fn the_dashboard_shows_something_in_every_panel() {
    let (_site, admin) = monitored().await;
    let text = admin.metrics().await;
    let real = metrics(&text);
    let dashboard: Value = serde_json::from_str(&read("deploy/monitoring/dashboard.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            is_about(query, &real);
            legend_is_known(target["legendFormat"].as_str().unwrap(), query, &real);
            queries.push(query.replace("$instance", ".*"));
        }
    }
    assert!(queries.len() > 20, "{}", queries.len());
    let variable = &dashboard["templating"]["list"][1]["query"];
    assert_eq!(
        variable,
        "label_values(runner_secrets_build_info, instance)"
    );
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let series = series.map(|line| {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.trim_end_matches('}');
        let own = "instance=\"a:9187\",job=\"runner-secrets\"";
        json!({"series": format!("{name}{{{own},{labels}}}"), "values": "1+1x60"})
    });
    let something = queries.iter().map(|query| {
        json!({
            "expr": format!("count({query}) > bool 0"), "eval_time": "30m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        })
    });
    let case = json!({"interval": "1m",
        "input_series": series.collect::<Value>(), "promql_expr_test": something.collect::<Value>()});
    let tests = json!({"rule_files": [], "evaluation_interval": "1m", "tests": [case]});
    // JSON is YAML.
    if let Some(tested) = promtool(&["test", "rules", "/dev/stdin"], &tests.to_string()) {
        succeeds(&tested);
    }
}

/// The labels that a legend names are left by the query.
fn legend_is_known(legend: &str, query: &str, real: &BTreeMap<String, Metric>) {
    let left = query
        .split(" by (")
        .nth(1)
        .map(|rest| rest.split(')').next().unwrap());
    for label in legend.split("{{").skip(1) {
        let label = label.split("}}").next().unwrap();
        let has = |(name, metric): (&String, &Metric)| {
            query.contains(name.as_str()) && metric.labels.contains_key(label)
        };
        let known = left.map_or_else(
            || label == "instance" || real.iter().any(has),
            |left| left.split(", ").any(|one| one == label),
        );
        assert!(known, "{legend}: {query}");
    }
}
