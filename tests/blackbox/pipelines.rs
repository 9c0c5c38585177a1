//! The sample pipelines for the socket, each job as GitLab would make it: run by a shell, through
//! the hook in the runner's sample and the real client, against a daemon with the sample's rules.
//! Those for the gateway are in the gateway's own tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use crate::{
    ci::{self, Ci},
    daemon::{Config, names},
    job::{CLIENT, Job, stderr},
    stage::Stage,
    tree,
};

/// What stands for the programs of the samples: prints its arguments, of files what is in them.
const DEPLOY: &str = r#"#!/bin/sh
for word in "$@"; do
  if test -f "$word"; then printf '<%s> ' "$(cat "$word")"; else printf '%s ' "$word"; fi
done
echo
"#;

const SECRETS: [&str; 6] = [
    "db-password",
    "stripe-key",
    "db-eu-reader",
    "db-eu-writer",
    "db-us-reader",
    "db-us-writer",
];

fn config_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config")
}

/// The rules of a sample, with nothing else.
fn rules(sample: &str) -> String {
    let text = fs::read_to_string(config_directory().join(sample)).unwrap();
    text[text.find("[[rule]]").unwrap()..].to_owned()
}

/// A daemon with the rules of minimal.toml and no defaults, and the vault that they are for.
async fn stage() -> Stage {
    let only_rules = |config: Config| {
        let config = config.unset("azure.tenant_id").unset("azure.client_id");
        let config = config.unset("azure.vault_url");
        let issuer = config.value("issuer.url");
        let rules = rules("minimal.toml").replace("\"https://gitlab.example.com\"", &issuer);
        config.rules(&rules)
    };
    let stage = Stage::with(only_rules).await;
    for secret in SECRETS {
        stage.put_in("acme-prod", secret, &format!("value of {secret}"));
    }
    stage.emulator.set_permissions(vec![stage.everything()]);
    stage
}

/// The hook of a runner's sample, with the client of the tests.
fn hook(sample: &str) -> String {
    let text = fs::read_to_string(config_directory().join("runner").join(sample)).unwrap();
    let hook = tree::toml(&text)["runners"][0]["pre_build_script"].clone();
    ours(hook.as_str().unwrap())
}

fn ours(script: &str) -> String {
    script.replace("/opt/runner-secrets/runner-secrets", CLIENT)
}

/// Runs a job's script, then its `after_script` in another shell, as the runner does, and gives what
/// both printed.
async fn run(stage: &Stage, ci: &Ci, expanded: bool) -> String {
    let place = tempfile::tempdir().unwrap();
    let deploy = place.path().join("deploy");
    fs::write(&deploy, DEPLOY).unwrap();
    fs::set_permissions(&deploy, fs::Permissions::from_mode(0o755)).unwrap();
    let later = place.path().join("gitlab_runner_env");
    let claims = json!({
        "project_path": "acme/shop", "ref_protected": "true", "environment": ci.environment,
    });
    let mut variables = ci.variables.clone();
    for token in &ci.id_tokens {
        variables.insert(token.clone(), stage.token_but(claims.clone()));
    }
    if expanded {
        variables = ci::expanded(&variables);
    }
    let mut job = Job::at(&stage.place.socket(), "", Map::new());
    job = job.without("RUNNER_SECRETS").without("JWT");
    job = job.set("GITLAB_ENV", later.to_str().unwrap());
    for (name, value) in &variables {
        job = job.set(name, value);
    }
    let before = stage.place.left().len();
    let explained = job.run(&["explain"]).await;
    assert_eq!(explained.status.code(), Some(0), "{}", stderr(&explained));
    let script = ours(&format!("set -e\n{}\n{}\n", hook("shell.toml"), ci.script));
    let script = job.run_in(place.path(), "/bin/sh", &["-c", &script]).await;
    assert_eq!(script.status.code(), Some(0), "{}", stderr(&script));
    let mut printed = String::from_utf8(script.stdout).unwrap();
    if !ci.after_script.is_empty() {
        let read = "while IFS= read -r line; do export \"$line\"; done < \"$GITLAB_ENV\"";
        let after = format!("set -e\n{read}\n{}", ours(&ci.after_script));
        let after = job.run_in(place.path(), "/bin/sh", &["-c", &after]).await;
        assert_eq!(after.status.code(), Some(0), "{}", stderr(&after));
        printed += &String::from_utf8(after.stdout).unwrap();
        assert_eq!(stage.place.left().len(), before, "what is released is gone");
    }
    printed
}

#[tokio::test]
async fn every_sample_pipeline_for_the_socket_runs() {
    let stage = stage().await;
    let file = |name: &str| format!("--password-file <value of {name}> \n");
    let stripe = "value of stripe-key";
    let region = |region: &str, role: &str| {
        let text = file(&format!("db-{region}-{role}"));
        format!("--region {region} {text}")
    };
    let expected = [
        (
            "plain",
            vec![format!(
                "--password-file <value of db-password> --stripe-key {stripe} \n"
            )],
        ),
        (
            "matrix",
            vec![
                region("eu", "reader"),
                region("eu", "writer"),
                region("us", "reader"),
                region("us", "writer"),
            ],
        ),
        (
            "extends",
            vec![
                file("db-password"),
                format!("--password-file <value of db-password> --key-file <{stripe}> \n"),
            ],
        ),
        ("parent", vec![file("db-password")]),
        (
            "after-script",
            vec![format!("{0}--clean-up {0}", file("db-password"))],
        ),
    ];
    let directory = config_directory().join("pipelines");
    for (name, mut printed) in expected {
        let jobs = ci::jobs(&directory, &format!("{name}.gitlab-ci.yml"));
        // GitLab expands variables in variables before the job has them; `expand: false` keeps it.
        for expanded in [true, false] {
            let mut got = Vec::new();
            for job in &jobs {
                got.push(run(&stage, job, expanded).await);
            }
            got.sort();
            printed.sort();
            assert_eq!(got, printed, "{name}, expanded: {expanded}");
        }
    }
    let known: BTreeSet<String> = [
        "after-script",
        "child",
        "extends",
        "gateway",
        "gateway-free",
        "matrix",
        "parent",
        "plain",
    ]
    .iter()
    .map(|name| format!("{name}.gitlab-ci.yml"))
    .chain(["README.md".to_owned()])
    .collect();
    let there: BTreeSet<String> = names(&directory).into_iter().collect();
    assert_eq!(there, known, "a sample that no test runs");
}

/// What the pages tell authors to write works as it stands there.
#[tokio::test]
async fn pipelines_in_the_documents_run() {
    let stage = stage().await;
    let version = "00000000000000000000000000000012";
    let mut ran = 0;
    for page in ["README.md", "docs/pipelines.md", "docs/migration.md"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            if !block.contains("RUNNER_SECRETS: |") {
                continue;
            }
            // The version in it is nobody's.
            let block = block.replace(&format!("          version: {version}\n"), "");
            let block = block.replace("./migrate", "./deploy");
            for mut job in ci::of(&tree::yaml(&block), &BTreeMap::new()) {
                job.environment = "production".to_owned();
                let ids = stage.emulator.ready();
                let given = [
                    ("AZURE_TENANT_ID", &ids.tenant_id),
                    ("AZURE_CLIENT_ID", &ids.client_id),
                ];
                for (name, id) in given {
                    job.variables.insert(name.to_owned(), id.clone());
                }
                let printed = run(&stage, &job, true).await;
                assert_eq!(
                    printed, "--password-file <value of db-password> \n",
                    "{page}"
                );
                ran += 1;
            }
        }
    }
    assert_eq!(ran, 4);
}

/// A token that a parent hands down in a variable is its own job's.
#[tokio::test]
async fn a_child_job_without_a_token_of_its_own_is_told_so() {
    let stage = stage().await;
    let directory = config_directory().join("pipelines");
    let [job] = &ci::jobs(&directory, "parent.gitlab-ci.yml")[..] else {
        panic!("the sample has one child job");
    };
    let spec = &job.variables["RUNNER_SECRETS_SPEC_DATABASE"];
    let parents = stage.token_but(json!({"job_id": "1"}));
    let child = Job::at(&stage.place.socket(), &parents, Map::new()).without("RUNNER_SECRETS");
    let child = child.set("RUNNER_SECRETS_SPEC_DATABASE", spec);
    let output = child.run(&["env"]).await;
    assert_eq!(output.status.code(), Some(64), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("id_tokens:"),
        "{}",
        stderr(&output)
    );
}

/// The jobs of a pipeline that have a script.
#[test]
fn jobs_are_made_as_gitlab_makes_them() {
    let text = "
variables: {A: '1', B: '1'}
.base: {variables: {B: '2', C: '2'}, script: [base], environment: e}
one: {extends: .base, variables: {C: '3'}, script: [a, b], parallel: {matrix: [{X: [p, q], Y: r}]}}
";
    let jobs = ci::of(&tree::yaml(text), &BTreeMap::new());
    let seen: Vec<Value> = jobs.iter().map(|job| json!(job.variables)).collect();
    let made = |x: &str| json!({"A": "1", "B": "2", "C": "3", "X": x, "Y": "r"});
    assert_eq!(seen, [made("p"), made("q")]);
    assert_eq!(jobs[0].script, "a\nb");
    assert_eq!(jobs[0].environment, "e");
}
