//! A real `gitlab-runner`, unchanged, with the shell executor. Where there is one:
//!
//! ```sh
//! GITLAB_RUNNER=/path/to/gitlab-runner cargo test --test gateway -- --ignored real
//! ```

use std::{env, fs, path::PathBuf, process::Stdio};

use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::{
    daemon::PATIENCE,
    gitlab::{RUNNER_TOKEN, State},
    site::{Site, entry, payload, variable},
};

/// Runs the runner until it has had one job, and gives what it said.
async fn one_job(site: &Site, url: &str, arguments: &[&str]) -> String {
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
    let said = one_job(&site, &format!("http://{}", site.address), &[]).await;
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
    let said = one_job(&site, &format!("http://{}", site.address), &[]).await;
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
    let said = one_job(&site, &format!("http://{}", site.address), &[]).await;
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
