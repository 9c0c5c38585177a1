//! A real `gitlab-runner`, unchanged, with the shell executor. Where there is one:
//!
//! ```sh
//! GITLAB_RUNNER=/path/to/gitlab-runner cargo test --test gateway -- --ignored real
//! ```

use std::{env, fs, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::{
    authority::{Authority, write},
    daemon::{PATIENCE, Place},
    gitlab::{GitLab, RUNNER_TOKEN, State},
    site::{Site, entry, payload, variable},
    ways::{acceptor_for, keys_for},
};

/// Runs the runner until it has had one job, and gives what it said.
async fn one_job(site: &Site, url: &str) -> String {
    one_job_with(site, url, &[], &[]).await
}

/// The same with more arguments, and with more in its environment.
async fn one_job_with(
    site: &Site,
    url: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> String {
    let runner = env::var_os("GITLAB_RUNNER").expect("GITLAB_RUNNER names the program");
    let directory = |name: &str| {
        let path = site.place.path(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let mut command = Command::new(PathBuf::from(runner));
    command.args(["run-single", "--url", url, "--token", RUNNER_TOKEN]);
    command.args(["--executor", "shell", "--shell", "bash"]);
    command.args(["--max-builds", "1", "--wait-timeout", "30"]);
    command.arg("--builds-dir").arg(directory("builds"));
    command.arg("--cache-dir").arg(directory("cache"));
    command.args(arguments);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("HOME", directory("home"));
    command.envs(environment.iter().copied());
    command.kill_on_drop(true).stdin(Stdio::null());
    let log = site.place.path("runner.log");
    command.stderr(fs::File::create(&log).unwrap());
    let ended = timeout(PATIENCE, command.status()).await;
    let said = fs::read_to_string(&log).unwrap();
    assert!(ended.is_ok(), "the runner does not end:\n{said}");
    said
}

fn script(lines: &[&str], after: &[&str], variables: Vec<Value>, secrets: Value) -> Value {
    let mut variables = variables;
    variables.push(variable("GIT_STRATEGY", "none"));
    let mut job = payload(Value::Array(variables), secrets);
    job["steps"][0]["script"] = json!(lines);
    let after = json!({
        "name": "after_script", "script": after, "timeout": 60, "when": "always",
        "allow_failure": true,
    });
    job["steps"].as_array_mut().unwrap().push(after);
    job
}

#[tokio::test]
#[ignore = "needs a gitlab-runner, named by GITLAB_RUNNER"]
async fn real_runner_gets_its_secrets_and_masks_them() {
    let site = Site::with("strip_id_tokens = true").await;
    let value = "pa$$word of $HOME\nsecond line\n";
    site.put("db", value);
    site.put("plain", "un$masked-canary");
    fs::write(site.place.path("expected"), value).unwrap();
    let mut plain = entry("plain");
    plain["file"] = false.into();
    let compare = format!(
        "cmp \"$DB\" {} && echo same-bytes",
        site.place.path("expected").display()
    );
    let mut token = variable("AZURE_JWT", &site.token(7));
    token["masked"] = true.into();
    let job = script(
        &[
            &compare,
            "echo plain=$PLAIN",
            "cat $DB",
            "echo jwt=${AZURE_JWT:-gone}",
            "test -f \"$DB\" && echo is-a-file",
        ],
        &[
            "cmp \"$DB\" \"$DB\" && echo after-has-it",
            "echo after=$PLAIN",
        ],
        vec![token],
        json!({"DB": entry("db"), "PLAIN": plain}),
    );
    site.gitlab.job(7, job);
    let said = one_job(&site, &format!("http://{}", site.address)).await;
    let trace = site.gitlab.trace(7);
    assert_eq!(site.gitlab.state(7), State::Success, "{said}\n{trace}");
    for line in [
        "same-bytes",
        "plain=[MASKED]",
        "jwt=gone",
        "is-a-file",
        "after-has-it",
        "after=[MASKED]",
    ] {
        assert!(trace.contains(line), "{line}: {trace}");
    }
    assert!(!trace.contains("canary"), "{trace}");
    assert!(!trace.contains("second line"), "{trace}");
    assert!(!trace.contains("secret resolver"), "{trace}");
}

#[tokio::test]
#[ignore = "needs a gitlab-runner, named by GITLAB_RUNNER"]
async fn real_runner_goes_on_after_a_job_that_failed() {
    let site = Site::new().await;
    let token = variable("AZURE_JWT", &site.token(7));
    let secrets = json!({"DB": entry("missing")});
    site.gitlab
        .job(7, script(&["echo never"], &[], vec![token], secrets));
    site.gitlab
        .job(8, script(&["echo next"], &[], Vec::new(), json!({})));
    let said = one_job(&site, &format!("http://{}", site.address)).await;
    let failed = State::Failed("runner_configuration_error".to_owned());
    assert_eq!(site.gitlab.state(7), failed, "{said}");
    assert!(site.gitlab.trace(7).contains("SECRET_NOT_FOUND"));
    assert_eq!(site.gitlab.state(8), State::Success, "{said}");
    assert!(!said.contains("WARNING: Checking for jobs"), "{said}");
}

/// The last resort runs on a real runner, too.
#[tokio::test]
#[ignore = "needs a gitlab-runner, named by GITLAB_RUNNER"]
async fn real_runner_fails_a_job_that_gitlab_does_not_let_us_fail() {
    let site = Site::new().await;
    site.gitlab.manners(|manners| {
        manners.stumbles = [reqwest::StatusCode::BAD_REQUEST].into();
    });
    let token = variable("AZURE_JWT", &site.token(7));
    let secrets = json!({"DB": entry("missing")});
    site.gitlab.job(
        7,
        script(&["echo never"], &["echo never"], vec![token], secrets),
    );
    let said = one_job(&site, &format!("http://{}", site.address)).await;
    let trace = site.gitlab.trace(7);
    assert_eq!(
        site.gitlab.state(7),
        State::Failed("script_failure".to_owned()),
        "{said}\n{trace}"
    );
    assert!(
        trace.contains("runner-secrets: DB: Key Vault has no secret"),
        "{trace}"
    );
    assert!(!trace.contains("never"), "{trace}");
}

/// A whole job, whose script has what it asked for.
async fn whole_job(site: &Site, run: impl AsyncFnOnce() -> String) {
    site.put("db", "canary-of-the-job");
    let lines = [
        "test canary-of-the-job = \"$(cat $DB)\" && echo same",
        "cat $DB",
    ];
    let token = variable("AZURE_JWT", &site.token(7));
    let secrets = json!({"DB": entry("db")});
    site.gitlab
        .job(7, script(&lines, &[], vec![token], secrets));
    let said = run().await;
    let trace = site.gitlab.trace(7);
    assert_eq!(site.gitlab.state(7), State::Success, "{said}\n{trace}");
    assert!(trace.contains("same\n"), "{trace}");
    assert!(trace.contains("[MASKED]"), "{trace}");
    // The script is in the trace, and has its first word.
    assert_eq!(trace.matches("canary-of-the-job").count(), 0, "{trace}");
}

#[tokio::test]
#[ignore = "needs a gitlab-runner, named by GITLAB_RUNNER"]
async fn real_runner_over_https() {
    let (own, theirs) = (
        Authority::new("the operator"),
        Authority::new("the company"),
    );
    let gitlab = GitLab::with_tls(acceptor_for("localhost", &theirs)).await;
    let place = Place::new();
    let keys = keys_for("localhost", &place, &own, &theirs);
    let site = Site::before(gitlab, &keys, |config| config).await;
    let bundle = write(
        &place,
        "bundle.pem",
        &format!("{}{}", own.pem(), theirs.pem()),
    );
    let port = site.address.rsplit(':').next().unwrap();
    let url = format!("https://localhost:{port}");
    let arguments = ["--tls-ca-file", bundle.as_str()];
    whole_job(&site, async || {
        one_job_with(&site, &url, &arguments, &[]).await
    })
    .await;
}

/// Go's programs use no proxy for `localhost`, so GitLab has this host's name here.
#[tokio::test]
#[ignore = "needs a gitlab-runner, named by GITLAB_RUNNER, and a host whose name is 127.0.0.1"]
async fn real_runner_over_connect() {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let name = name.trim();
    let (own, theirs) = (
        Authority::new("the operator"),
        Authority::new("the company"),
    );
    let mut gitlab = GitLab::with_tls(acceptor_for(name, &theirs)).await;
    gitlab.url = gitlab.url.replace("localhost", name);
    let place = Place::new();
    let keys = keys_for(name, &place, &own, &theirs);
    let keys = format!("connect = true\n{keys}");
    let site = Site::before(gitlab, &keys, |config| config).await;
    let bundle = write(
        &place,
        "bundle.pem",
        &format!("{}{}", own.pem(), theirs.pem()),
    );
    let (url, proxy) = (site.gitlab.url.clone(), format!("http://{}", site.address));
    let environment = [
        ("HTTPS_PROXY", proxy.as_str()),
        ("SSL_CERT_FILE", bundle.as_str()),
    ];
    whole_job(&site, async || {
        one_job_with(&site, &url, &[], &environment).await
    })
    .await;
    let connected = site.gitlab.asked().into_iter();
    let mut polls = connected.filter(|asked| asked.path.ends_with("jobs/request"));
    assert!(polls.all(|asked| asked.headers.contains_key("X-Forwarded-For")));
}
