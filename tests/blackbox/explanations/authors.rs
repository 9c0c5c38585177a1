//! The first mistakes of a pipeline's author, each with the lines to add, and names that somebody
//! chose to do harm.

use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;

use super::{Told, golden, one, stage};
use crate::{
    daemon::Place,
    job::Job,
    stage::{Stage, object},
};

/// What the client says before it asks anybody.
async fn alone(stage: &mut Stage, change: impl FnOnce(Job) -> Job) -> Told {
    let token = stage.token();
    let job = change(Job::new(stage, &token, one("db-password")));
    Told::by(stage, &job).await
}

#[tokio::test]
async fn first_mistakes_are_answered_with_the_lines_to_add() {
    let mut stage = stage().await;
    let (parents, second) = (
        stage.token_but(json!({"job_id": "811"})),
        stage.token_but(json!({"aud": "sigstore"})),
    );
    let bare = |spec: &str| spec.to_owned();
    let untold = "DB_PASSWORD: {azure_key_vault: {name: db-password}}";
    for (case, variables) in [
        (
            "author-no-token",
            vec![("JWT", bare("")), ("RUNNER_SECRETS", bare(untold))],
        ),
        ("author-token-variable-unset", vec![("JWT", bare(""))]),
        (
            "author-two-tokens",
            vec![("SIGSTORE_JWT", second), ("RUNNER_SECRETS", bare(untold))],
        ),
        ("author-unexpanded", vec![("JWT", bare("$AZURE_JWT"))]),
        ("author-child-pipeline", vec![("JWT", parents)]),
        (
            "author-expanded-to-nothing",
            vec![(
                "RUNNER_SECRETS",
                bare("DB: {azure_key_vault: {name: a}, token: ''}"),
            )],
        ),
        (
            "author-a-map-for-a-text",
            vec![(
                "RUNNER_SECRETS",
                bare("DB: {azure_key_vault: {name: {a: b}}}"),
            )],
        ),
        (
            "author-a-text-for-a-map",
            vec![("RUNNER_SECRETS", bare("DB: {azure_key_vault: db-password}"))],
        ),
        (
            "author-another-backend",
            vec![(
                "RUNNER_SECRETS",
                bare("DB: {vault: production/db/password@ops}"),
            )],
        ),
        ("author-empty-spec", vec![("RUNNER_SECRETS", bare(""))]),
        (
            "author-missing-file",
            vec![("RUNNER_SECRETS_FILE", bare("/nowhere"))],
        ),
    ] {
        let told = alone(&mut stage, |job| {
            let variables = variables.iter();
            variables.fold(job, |job, (name, value)| job.set(name, value))
        });
        golden(case, &told.await);
    }
    let traced = |job: Job| {
        let spec = "DB: {azure_key_vault: {name: a}, token: $JWT, file: false}";
        job.set("RUNNER_SECRETS", spec)
            .set("CI_DEBUG_TRACE", "true")
    };
    golden("author-traced", &alone(&mut stage, traced).await);
    let elsewhere = Place::new();
    let socket = elsewhere.socket();
    let socket = socket.to_str().unwrap();
    let told = alone(&mut stage, |job| job.set("RUNNER_SECRETS_SOCKET", socket)).await;
    golden("author-no-daemon", &told.without(socket, "SOCKET"));
    assert!(stage.sent().is_empty());
}

/// A daemon of the time before `Explain`: it has a service of another name.
#[tokio::test]
async fn an_older_daemon_is_told_from_a_refusal() {
    let mut stage = stage().await;
    let socket = stage.place.path("older.sock");
    let (_, health) = tonic_health::server::health_reporter();
    let listener = UnixListener::bind(&socket).unwrap();
    let server = tonic::transport::Server::builder().add_service(health);
    let serving = tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    let token = stage.token();
    let job = Job::at(&socket, &token, one("db-password"));
    let told = Told::of(&mut stage, &job, &["explain"]).await;
    serving.abort();
    golden("author-older-daemon", &told);
}

/// Names as people choose them who want to be run by whoever helps.
const HOSTILE: [&str; 10] = [
    "$(touch /tmp/stolen)",
    "`touch /tmp/stolen`",
    "'; touch /tmp/stolen; '",
    "\"; touch /tmp/stolen; \"",
    "a\nrunner-secrets: all is well",
    "a\r\u{1b}[2Kall is well",
    "\u{1b}]0;title\u{7}",
    "a\u{202e}b\u{2066}",
    "a\u{200b}b\u{9b}31m",
    "\\'\\\"$HOME${IFS}|&;<>*?~#!",
];

/// The command in a job's log, if there is one.
fn command(job: &str) -> Option<&str> {
    job.lines()
        .map(str::trim)
        .find(|line| line.starts_with("az "))
}

/// How many lines begin as the client's own do.
fn sentences(job: &str) -> usize {
    let lines = job.lines();
    lines
        .filter(|line| line.starts_with("runner-secrets: "))
        .count()
}

/// What a shell makes of a command: its words, one in a line, without running it.
async fn words(job: &Job, command: &str) -> Vec<String> {
    let script = format!("az() {{ printf '%s\\n' \"$@\"; }}\nCLIENT_ID=id VAULT_ID=/v\n{command}");
    let output = job.script(&script).await;
    assert!(output.status.success(), "{command}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Anybody who may push chooses the name of a branch, and with it the subject of a token.
#[tokio::test]
async fn subjects_that_would_be_commands_are_words_or_not_shown() {
    let mut stage = stage().await;
    let mut shown = 0;
    for hostile in HOSTILE {
        let subject = format!("project_path:acme/shop:ref_type:branch:ref:{hostile}");
        let token = stage.token_but(json!({"sub": subject, "ref": hostile}));
        let job = Job::new(&stage, &token, one("db-password"));
        let Told {
            job: said,
            operator,
        } = Told::by(&mut stage, &job).await;
        for text in [&said, &operator] {
            let steers =
                |c: char| c != '\n' && (c.is_control() || "\u{200b}\u{202e}\u{2066}".contains(c));
            assert!(!text.contains(steers), "{text:?}");
        }
        assert_eq!(sentences(&said), 1, "{said}");
        match command(&said) {
            None => assert!(said.contains("no command is shown"), "{said}"),
            Some(command) => {
                shown += 1;
                let words = words(&job, command).await;
                let parameters = words.last().unwrap();
                let parameters: Value = serde_json::from_str(parameters).unwrap();
                assert_eq!(parameters["subject"], subject);
                assert_eq!(words.len(), 8, "{words:?}");
            }
        }
        // In the log for machines it is a value like any other.
        let log = stage.daemon.log();
        for line in log.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
    }
    assert!(!std::path::Path::new("/tmp/stolen").exists());
    assert_eq!(shown, 5, "too many are shown, or too few");
}

/// The same of everything in a spec. What is no name of a secret gets as far as the client's own
/// check and no further.
#[tokio::test]
async fn names_in_a_spec_come_out_inert() {
    let mut stage = stage().await;
    let token = stage.token();
    for hostile in HOSTILE {
        let entry = |name: &str, url: &str| {
            json!({
                "azure_key_vault": {"name": name}, "token": "$JWT", "server": {"url": url},
            })
        };
        for spec in [
            json!({"DB": entry(hostile, "")}),
            json!({"DB": entry("a", hostile)}),
            json!({"DB": entry("a", &format!("https://{hostile}.vault.azure.net"))}),
            json!({hostile: entry("a", "")}),
            json!({"DB": {hostile: "a"}}),
            json!({"DB": {"azure_key_vault": {"name": "a"}, "token": hostile}}),
        ] {
            let job = Job::new(&stage, &token, object(spec));
            for arguments in [&["env"][..], &["explain", "--json"]] {
                let told = Told::of(&mut stage, &job, arguments).await;
                let steers = |c: char| c != '\n' && c.is_control();
                assert!(!told.job.contains(steers), "{:?}", told.job);
                assert!(!told.job.contains('\u{202e}'), "{:?}", told.job);
                assert_eq!(sentences(&told.job), 1, "{}", told.job);
                assert_eq!(command(&told.job), None, "{}", told.job);
            }
        }
    }
    assert!(stage.sent().is_empty());
}
