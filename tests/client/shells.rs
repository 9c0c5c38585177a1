//! The recipe of two lines and the bare eval, in every shell that job images have: what reaches
//! the script, what goes on and what stops.

use std::{
    env, fs,
    process::{Command, Output},
};

use runner_secrets_proto::Reason;

use crate::{
    job::{CLIENT, Job, spec, stderr, stdout},
    provider::Provider,
};

const SHELLS: [&[&str]; 3] = [&["dash"], &["bash"], &["busybox", "sh"]];

/// As an operator puts it into `pre_build_script`.
const RECIPE: &str = "secrets=$(\"$CLIENT\" env) || exit $?\neval \"$secrets\"; unset secrets\n";

/// As people write it first.
const BARE: &str = "eval \"$(\"$CLIENT\" env)\"\n";

/// The shells that are here. Where all have to be, a missing one is a failure.
fn shells() -> impl Iterator<Item = &'static [&'static str]> {
    SHELLS.into_iter().filter(|shell| {
        let found = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", ":"])
            .status();
        let found = found.is_ok_and(|status| status.success());
        assert!(found || env::var_os("CI").is_none(), "{shell:?} is missing");
        if !found {
            println!("skipped: there is no {} here", shell[0]);
        }
        found
    })
}

/// Runs a script as the runner does: errors end it.
fn run(job: &Job, shell: &[&str], script: &str) -> Output {
    let mut command = job.command(shell[0]);
    command.args(&shell[1..]).args(["-e", "-c", script]);
    if !script.contains("CLIENT=") {
        command.env("CLIENT", CLIENT);
    }
    command.output().unwrap()
}

#[test]
fn values_and_files_reach_the_script_byte_for_byte() {
    let values: [(&str, &[u8]); 12] = [
        ("EMPTY", b""),
        ("SPACES", b"  two  spaces  "),
        (
            "SUBSTITUTION",
            b"$(touch stolen) `touch stolen` $HOME ${HOME}",
        ),
        ("QUOTES", b"it's \"quoted\" ''' \\' \\\" \\"),
        ("LINES", b"one\ntwo\r\nthree\n\n\n"),
        ("NEWLINES", b"\n\n"),
        ("BACKSLASHES", b"\\n \\0 \\\\ \\"),
        ("BREAKOUT", b"'; touch stolen; exit 3; '"),
        ("GLOB", b"* ? [a-z] ~ ! # & | < > ; \t"),
        ("UNICODE", "gr\u{fc}\u{df}e \u{1f511}".as_bytes()),
        ("NOT_UTF8", b"\xff\xfe\x80"),
        (
            "PEM",
            b"-----BEGIN PRIVATE KEY-----\nMIIB'\"$(x)\n-----END PRIVATE KEY-----\n",
        ),
    ];
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    for shell in shells() {
        for (recipe, file) in [(RECIPE, false), (BARE, false), (RECIPE, true), (BARE, true)] {
            let provider = Provider::with_files(&values);
            let job = Job::new(&provider.socket(), &spec(&names, file));
            let mut script = recipe.to_owned();
            for name in &names {
                let write = if file { "cat" } else { "printf %s" };
                script.extend([write, " \"$", name, "\" > got.", name, "\n"]);
            }
            let output = run(&job, shell, &script);
            assert!(output.status.success(), "{shell:?}: {}", stderr(&output));
            assert_eq!(stdout(&output), "", "{shell:?}");
            for (name, value) in values {
                let got = fs::read(job.path(&format!("got.{name}"))).unwrap();
                assert_eq!(got, value, "{name} in {shell:?}, file: {file}");
            }
            assert!(!job.path("stolen").exists(), "{shell:?}");
        }
    }
}

#[test]
fn a_failure_stops_the_script_with_its_status() {
    let missing = tempfile::tempdir().unwrap();
    for shell in shells() {
        for recipe in [RECIPE, BARE] {
            let script = format!("{recipe}echo went on\n");
            let down = Job::new(&missing.path().join("api.sock"), &spec(&["A"], true));
            let output = run(&down, shell, &script);
            assert_eq!(output.status.code(), Some(69), "{shell:?}");
            assert_eq!(stdout(&output), "", "{shell:?}");
            assert!(
                stderr(&output).contains("(PROVIDER_UNREACHABLE)"),
                "{shell:?}"
            );

            let provider = Provider::refusing(Reason::PolicyDenied);
            let refused = Job::new(&provider.socket(), &spec(&["A"], true));
            let output = run(&refused, shell, &script);
            assert_eq!(output.status.code(), Some(77), "{shell:?}");
            assert_eq!(stdout(&output), "", "{shell:?}");

            let unreadable = Job::new(&provider.socket(), "A: {azure_key_vault: {}}");
            let output = run(&unreadable, shell, &script);
            assert_eq!(output.status.code(), Some(64), "{shell:?}");
            assert_eq!(stdout(&output), "", "{shell:?}");
        }
    }
}

/// Why the recipe has two lines: a substitution that fails is an empty text to `eval`.
#[test]
fn a_missing_program_stops_the_recipe_but_not_the_bare_eval() {
    let missing = tempfile::tempdir().unwrap();
    for shell in shells() {
        let job = Job::new(&missing.path().join("api.sock"), &spec(&["A"], true));
        let nowhere = "CLIENT=/nowhere/runner-secrets\n";
        let output = run(&job, shell, &format!("{nowhere}{RECIPE}echo went on\n"));
        assert_eq!(output.status.code(), Some(127), "{shell:?}");
        assert_eq!(stdout(&output), "", "{shell:?}");
        let output = run(&job, shell, &format!("{nowhere}{BARE}echo went on\n"));
        assert_eq!(stdout(&output), "went on\n", "{shell:?}");
    }
}

#[test]
fn a_job_without_a_spec_goes_on_in_silence() {
    let missing = tempfile::tempdir().unwrap();
    for shell in shells() {
        for recipe in [RECIPE, BARE] {
            let job = Job::new(&missing.path().join("api.sock"), "").without("RUNNER_SECRETS");
            let output = run(&job, shell, &format!("{recipe}echo went on\n"));
            assert!(output.status.success(), "{shell:?}");
            assert_eq!(stdout(&output), "went on\n", "{shell:?}");
            assert_eq!(stderr(&output), "", "{shell:?}");
        }
    }
}

#[test]
fn after_script_finds_the_paths_and_gives_the_lease_back() {
    for shell in shells() {
        let provider = Provider::with_files(&[("A", b"a"), ("B", b"canary")]);
        let text = format!("{}{}", spec(&["A"], true), spec(&["B"], false));
        let job = Job::new(&provider.socket(), &text);
        let later = job.path("gitlab_runner_env");
        fs::write(&later, "EARLIER=1\n").unwrap();
        let job = job.with("GITLAB_ENV", later.to_str().unwrap());
        assert!(run(&job, shell, RECIPE).status.success());
        let lines = fs::read_to_string(&later).unwrap();
        assert!(!lines.contains("canary"), "{lines}");

        // As the runner reads it before every stage.
        let script = "while IFS= read -r line; do export \"$line\"; done < \"$GITLAB_ENV\"\n\
                      cat \"$A\"; printf ' %s %s\\n' \"$EARLIER\" \"${B-unset}\"\n\
                      \"$CLIENT\" release\n";
        let output = run(&job, shell, script);
        assert_eq!(
            stdout(&output),
            "a 1 unset\n",
            "{shell:?}: {}",
            stderr(&output)
        );
        let calls = provider.calls();
        assert_eq!(calls.released[0].lease_id, "lease-1");
        assert_eq!(calls.released[0].id_token, calls.resolved[0].id_token);
    }
}
