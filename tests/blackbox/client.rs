//! The client program against the real daemon, as a job runs it.

use std::{fs, os::unix::process::CommandExt as _, path::Path, process::Command};

use serde_json::{Map, Value, json};

use crate::{
    callers::can_be_another_user,
    daemon::{PATIENCE, Place, until},
    job::{CLIENT, Job, entry, stderr},
    stage::{Stage, object},
};

const HARD: &str = "it's \"$HOME\" `id` \\ \n$(id)\n";

fn spec(entries: &[(&str, &str, bool)]) -> Map<String, Value> {
    let entries = entries.iter();
    entries
        .map(|(variable, name, file)| ((*variable).to_owned(), entry(name, *file)))
        .collect()
}

#[tokio::test]
async fn env_is_evaluated_by_a_shell_and_release_deletes_the_files() {
    let stage = Stage::new().await;
    stage.put("hard", HARD);
    let spec = spec(&[("FILE", "hard", true), ("VALUE", "hard", false)]);
    let later = stage.place.path("gitlab-env");
    let job = Job::new(&stage, &stage.token(), spec).set("GITLAB_ENV", later.to_str().unwrap());
    let script = r#"
        set -e
        secrets=$("$CLIENT" env) || exit $?
        eval "$secrets"; unset secrets
        cat "$FILE"; printf '|%s|' "$VALUE"
        test -n "$RUNNER_SECRETS_LEASE"
        "$CLIENT" release
        test ! -e "$FILE"
        "$CLIENT" release
        printf done
    "#;
    let output = job.script(script).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(printed, format!("{HARD}|{HARD}|done"));
    let said = stderr(&output);
    let expected = "runner-secrets: 2 secrets for job 812 (request ";
    assert!(said.starts_with(expected), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(stage.place.left().is_empty());
    let later = fs::read_to_string(later).unwrap();
    let lines: Vec<&str> = later.lines().collect();
    assert!(lines[0].starts_with("FILE=/"), "{later}");
    assert!(lines[1].starts_with("RUNNER_SECRETS_LEASE="), "{later}");
    assert_eq!(lines.len(), 2, "no value goes there: {later}");
}

#[tokio::test]
async fn exec_exits_as_its_command_does_and_deletes_the_files() {
    let stage = Stage::new().await;
    let job = Job::new(
        &stage,
        &stage.token(),
        spec(&[("FILE", "db-password", true)]),
    );
    for (command, status) in [
        ("test -s \"$FILE\"", 0),
        ("test -s \"$FILE\" && exit 42", 42),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
    ] {
        let output = job.run(&["exec", "--", "/bin/sh", "-c", command]).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{command}: {said}");
        assert!(stage.place.left().is_empty(), "{command}");
    }
    let output = job.run(&["exec", "/nonexistent/command"]).await;
    assert_eq!(output.status.code(), Some(127), "{}", stderr(&output));
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn exec_forwards_signals_and_deletes_the_files() {
    let stage = Stage::new().await;
    let job = Job::new(
        &stage,
        &stage.token(),
        spec(&[("FILE", "db-password", true)]),
    );
    let started = stage.place.path("started");
    // The command says when it has its trap, and ends in its own way.
    let script = format!(
        r#""$CLIENT" exec -- /bin/sh -c '
            trap "exit 7" TERM
            test -s "$FILE" && : >"{}"
            while :; do :; done
        ' &
        until test -e "{}"; do :; done
        kill -TERM $!
        wait $!"#,
        started.display(),
        started.display()
    );
    let output = job.script(&script).await;
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn a_refusal_reaches_the_author_with_reason_request_and_status() {
    let mut stage = Stage::new().await;
    let branch = "project_path:acme/shop:ref_type:branch:ref:feature";
    let wrong_branch = stage.token_but(json!({"sub": branch}));
    let good = stage.token();
    let missing = spec(&[("A", "db-password", true), ("B", "no-such-secret", true)]);
    for (token, spec, status, reason, sentence) in [
        (
            &wrong_branch,
            spec(&[("A", "db-password", true)]),
            77,
            "EXCHANGE_REFUSED",
            "A: Microsoft Entra ID refused the job's ID token (AADSTS700213): no federated credential of the application has its subject",
        ),
        (
            &good,
            missing,
            66,
            "SECRET_NOT_FOUND",
            "B: Key Vault has no secret no-such-secret",
        ),
    ] {
        let job = Job::new(&stage, token, spec);
        for arguments in [&["env"][..], &["exec", "--", "/bin/true"]] {
            let output = job.run(arguments).await;
            assert_eq!(output.status.code(), Some(status));
            let said = stderr(&output);
            let expected = format!("runner-secrets: {sentence} ({reason}, request ");
            assert!(said.starts_with(&expected), "{said}");
            // The operator finds it in the daemon's log.
            let id = said[expected.len()..].split(')').next().unwrap().to_owned();
            assert_eq!(id.len(), 32, "{said}");
            stage.daemon.logs(&id).await;
        }
        let output = job.run(&["env"]).await;
        assert_eq!(output.stdout, format!("(exit {status})\n").as_bytes());
        // A bare eval stops as well.
        let script = r#"set -e; eval "$("$CLIENT" env)"; echo went on"#;
        let output = job.script(script).await;
        assert_eq!(output.status.code(), Some(status));
        assert!(output.stdout.is_empty());
    }
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn without_a_daemon_the_client_names_the_socket_and_exits_with_69() {
    let place = Place::new();
    let socket = place.socket();
    let spec = spec(&[("A", "db-password", true)]);
    let job = Job::at(&socket, "eyJh.eyJh.eyJh", spec).set("RUNNER_SECRETS_LEASE", "0a1b");
    for arguments in [
        &["env"][..],
        &["exec", "--", "/bin/true"],
        &["get", "A"],
        &["release"],
    ] {
        let output = job.run(arguments).await;
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {said}");
        let expected = format!(
            "runner-secrets: no daemon at the socket {}: ",
            socket.display()
        );
        assert!(said.starts_with(&expected), "{said}");
        assert!(said.contains("(PROVIDER_UNREACHABLE)\n"), "{said}");
    }
}

#[tokio::test]
async fn a_daemon_that_dies_in_between_is_told_from_a_refusal() {
    let mut stage = Stage::new().await;
    stage.fault(json!({"route": "secret", "kind": "hang"}));
    let job = Job::new(&stage, &stage.token(), spec(&[("A", "db-password", true)]));
    let client = tokio::spawn(async move { job.run(&["env"]).await });
    stage.asked("secret").await;
    stage.daemon.signal(rustix::process::Signal::KILL);
    stage.daemon.ends().await;
    let output = client.await.unwrap();
    assert_eq!(output.status.code(), Some(69), "{}", stderr(&output));
}

#[tokio::test]
async fn a_job_without_a_spec_is_none_of_our_business() {
    let place = Place::new();
    let output = tokio::process::Command::new(CLIENT)
        .arg("env")
        .env_clear()
        .env("RUNNER_SECRETS_SOCKET", place.socket())
        .output();
    let output = output.await.unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[tokio::test]
async fn vault_tenant_and_client_may_come_from_the_job() {
    let stage = Stage::with(|config| {
        config
            .unset("azure.tenant_id")
            .unset("azure.client_id")
            .unset("azure.vault_url")
    })
    .await;
    let ready = stage.emulator.ready().clone();
    let usual = spec(&[("A", "db-password", false)]);
    let print = ["exec", "--", "/bin/sh", "-c", "printf %s \"$A\""];
    let job = Job::new(&stage, &stage.token(), usual.clone())
        .set("AZURE_KEY_VAULT_SERVER_URL", &ready.vault_url)
        .set("AZURE_TENANT_ID", &ready.tenant_id)
        .set("AZURE_CLIENT_ID", &ready.client_id);
    let output = job.run(&print).await;
    assert_eq!(
        output.stdout,
        b"correct horse battery staple",
        "{}",
        stderr(&output)
    );

    let own = object(json!({"A": {
        "azure_key_vault": {"name": "db-password"},
        "server": {"url": ready.vault_url, "tenant_id": ready.tenant_id, "client_id": ready.client_id},
        "token": "$JWT",
        "file": false,
    }}));
    let output = Job::new(&stage, &stage.token(), own).run(&print).await;
    assert_eq!(
        output.stdout,
        b"correct horse battery staple",
        "{}",
        stderr(&output)
    );

    let output = Job::new(&stage, &stage.token(), usual).run(&["env"]).await;
    assert_eq!(output.status.code(), Some(64));
    let said = stderr(&output);
    assert!(said.contains("server."), "{said}");
    assert!(said.contains("or AZURE_"), "{said}");
}

/// Another user of the machine has a token of the job but not its uid: only root can try that.
#[tokio::test]
async fn another_user_cannot_release_a_lease() {
    if !can_be_another_user() {
        return;
    }
    let stage = Stage::with(|config| config.text("listen.socket_mode", "0666")).await;
    stage.place.open_to_all();
    let client = stage.place.path("client");
    fs::copy(CLIENT, &client).unwrap();
    let token = stage.token();
    let caller = stage.caller().await;
    let answer = caller.resolve(crate::call::ask(&token).file("A", "db-password"));
    let lease = answer.await.unwrap().lease_id;
    let mut command = Command::new(&client);
    command.args(["release", &lease]).env_clear().uid(65_534);
    command.env("RUNNER_SECRETS_SOCKET", stage.place.socket());
    command.env("JWT", &token).env("CI_JOB_ID", "812");
    let output = tokio::process::Command::from(command).output();
    let output = tokio::time::timeout(PATIENCE, output).await;
    let output = output.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(77), "{}", stderr(&output));
    assert!(stderr(&output).contains("another user of this host"));
    assert_eq!(stage.place.left().len(), 1);
    caller.release(&lease, &token).await.unwrap();
    until("the lease has ended", || stage.place.left().is_empty()).await;
}

/// With inline delivery the client writes the files, and so has to delete them.
#[tokio::test]
async fn inline_files_are_deleted_by_the_client_that_wrote_them() {
    let stage = Stage::with(|config| config.text("listen.delivery", "inline")).await;
    let job = Job::new(
        &stage,
        &stage.token(),
        spec(&[("FILE", "db-password", true)]),
    );
    let show = "stat -c %a \"$FILE\" \"${FILE%/*}\"; printf '%s' \"$FILE\"; exit 3";
    let output = job.run(&["exec", "--", "/bin/sh", "-c", show]).await;
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let shown = String::from_utf8(output.stdout).unwrap();
    let [file_mode, mode, path] = shown.lines().collect::<Vec<_>>()[..] else {
        panic!("{shown}");
    };
    assert_eq!((file_mode, mode), ("400", "700"));
    assert!(!Path::new(path).parent().unwrap().exists(), "{path}");

    let script = r#"
        set -e
        secrets=$("$CLIENT" env) || exit $?
        eval "$secrets"; unset secrets
        cat "$FILE"
        "$CLIENT" release
        test ! -e "${FILE%/*}"
    "#;
    let output = job.script(script).await;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(output.stdout, b"correct horse battery staple");
    assert!(stage.place.left().is_empty());
}
