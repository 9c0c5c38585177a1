use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runner_secrets_proto::v1::{AzureKeyVaultSecret, ResolveRequest, secret::Source};

use super::{Environment, Spec};
use crate::secret::IdToken;

fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part("{}"), part(claims), part("signature"))
}

/// A job with one ID token and these variables.
fn job(pairs: &[(&str, &str)]) -> Environment {
    let token = jwt(r#"{"job_id":"812"}"#);
    [("CI_JOB_ID", "812"), ("AZURE_JWT", &token)]
        .iter()
        .chain(pairs)
        .copied()
        .collect()
}

fn spec(pairs: &[(&str, &str)]) -> Result<Option<Spec>, super::Error> {
    Spec::from_environment(&job(pairs))
}

fn request(text: &str) -> ResolveRequest {
    let spec = spec(&[("RUNNER_SECRETS", text)]).unwrap().unwrap();
    spec.request(None)
}

fn asked<'a>(request: &'a ResolveRequest, variable: &str) -> &'a AzureKeyVaultSecret {
    let Some(Source::AzureKeyVault(asked)) = &request.secrets[variable].source else {
        panic!("no source");
    };
    asked
}

fn problem(text: &str) -> String {
    let error = spec(&[("RUNNER_SECRETS", text)]).unwrap_err();
    assert_eq!(error.exit(), 64, "{error}");
    error.to_string()
}

#[test]
fn the_block_of_gitlab_is_read_as_it_is() {
    let version = "00000000000000000000000000000012";
    let yaml = format!(
        "DATABASE_PASSWORD:\n  token: $AZURE_JWT\n  file: false\n  azure_key_vault:\n    \
         name: 'DB-pass'  # a comment\n    version: {version}\n"
    );
    let json = format!(
        "{{\n\t\"DATABASE_PASSWORD\":{{\"token\":\"$AZURE_JWT\",\"file\":false,\n\
         \t\t\"azure_key_vault\":{{\"name\":\"DB-pass\",\"version\":\"{version}\"}}}}\n}}\n"
    );
    let indented = yaml.replace('\n', "\n  ");
    for text in [
        yaml.clone(),
        json.clone(),
        format!("secrets:\n  {indented}"),
        format!("---\n{yaml}...\n"),
        format!("{{\"secrets\":{json}}}"),
        yaml.replace('\n', "\r\n"),
        format!("\u{feff}{yaml}"),
    ] {
        let request = request(&text);
        let asked = asked(&request, "DATABASE_PASSWORD");
        assert_eq!(
            (asked.name.as_str(), asked.version.as_str()),
            ("db-pass", version),
            "{text}"
        );
        assert_eq!(
            request.secrets["DATABASE_PASSWORD"].file,
            Some(false),
            "{text}"
        );
    }
}

#[test]
fn scalars_stay_as_they_are_written() {
    for (written, expected) in [
        ("123", "123"),
        ("0x1F", "0x1f"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("'null'", "null"),
        ("2026-11-20", "2026-11-20"),
        ("\"db\\u002dpass\"", "db-pass"),
    ] {
        let request = request(&format!("A: {{azure_key_vault: {{name: {written}}}}}"));
        assert_eq!(asked(&request, "A").name, expected, "{written}");
    }
}

#[test]
fn files_are_the_default_and_booleans_are_gitlabs() {
    for (written, expected) in [
        ("", true),
        ("file: true", true),
        ("file: yes", true),
        ("file: False", false),
        ("file: off", false),
    ] {
        let request = request(&format!("A: {{azure_key_vault: {{name: a}}, {written}}}"));
        assert_eq!(request.secrets["A"].file, Some(expected), "{written}");
    }
}

#[test]
fn servers_stand_in_either_place_and_have_the_defaults_of_gitlab() {
    let text = "\
A: {azure_key_vault: {name: a}, server: {url: https://a, tenant_id: ta, client_id: ca}}
B: {azure_key_vault: {name: b, server: {url: $VAULT, tenant_id: '', client_id: $UNSET}}}
C: {azure_key_vault: {name: c}}
";
    let spec = spec(&[
        ("RUNNER_SECRETS", text),
        ("VAULT", "https://b"),
        ("AZURE_KEY_VAULT_SERVER_URL", "https://default"),
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
    ]);
    let request = spec.unwrap().unwrap().request(None);
    for (variable, expected) in [
        ("A", ["https://a", "ta", "ca"]),
        ("B", ["https://b", "t", "c"]),
        ("C", ["https://default", "t", "c"]),
    ] {
        let server = asked(&request, variable).server.clone().unwrap();
        let server = [server.url, server.tenant_id, server.client_id];
        assert_eq!(server, expected, "{variable}");
    }
}

#[test]
fn names_and_versions_are_expanded() {
    let text = "A: {azure_key_vault: {name: 'db-$CI_ENVIRONMENT_SLUG', version: $PINNED}}";
    let spec = spec(&[("RUNNER_SECRETS", text), ("CI_ENVIRONMENT_SLUG", "prod")]);
    let request = spec.unwrap().unwrap().request(None);
    assert_eq!(asked(&request, "A").name, "db-prod");
    assert_eq!(asked(&request, "A").version, "");
    assert_eq!(
        problem("A: {azure_key_vault: {name: $UNSET}}"),
        "RUNNER_SECRETS: A.azure_key_vault.name: `$UNSET` expands to nothing in this job"
    );
}

#[test]
fn specs_are_merged_and_a_variable_has_one() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("spec");
    std::fs::write(&file, "B: {azure_key_vault: {name: b}}").unwrap();
    let file = file.to_str().unwrap();
    let a = "A: {azure_key_vault: {name: a}}";
    let all = [
        ("RUNNER_SECRETS", a),
        ("RUNNER_SECRETS_FILE", file),
        (
            "RUNNER_SECRETS_SPEC_MORE",
            "{\"C\": {\"azure_key_vault\": {\"name\": \"c\"}}}",
        ),
        ("RUNNER_SECRETS_SOCKET", "/not/a/spec"),
    ];
    assert_eq!(spec(&all).unwrap().unwrap().count(), 3);
    let twice = spec(&[("RUNNER_SECRETS", a), ("RUNNER_SECRETS_SPEC_X", a)]).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "A: is in RUNNER_SECRETS_SPEC_X and in RUNNER_SECRETS"
    );
    let missing = spec(&[("RUNNER_SECRETS_FILE", "/nowhere/spec")]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "RUNNER_SECRETS_FILE: cannot read the file `/nowhere/spec`: No such file or directory (os error 2)"
    );
}

#[test]
fn no_spec_is_none_and_an_empty_spec_is_a_mistake() {
    assert!(spec(&[]).unwrap().is_none());
    for text in ["", " \n\t", "# only a comment\n", "---\n", "~"] {
        assert_eq!(
            problem(text),
            "RUNNER_SECRETS: is empty: name secrets in it, or do not set it",
            "{text:?}"
        );
    }
    for text in ["{}", "secrets: {}"] {
        assert_eq!(problem(text), "RUNNER_SECRETS: names no secret", "{text}");
    }
}

#[test]
fn one_token_goes_with_the_request_and_several_with_their_secrets() {
    let mine = jwt(r#"{"job_id":"812"}"#);
    let text = format!(
        "A: {{azure_key_vault: {{name: a}}, token: $AZURE_JWT}}\nB: {{azure_key_vault: {{name: b}}}}\nC: {{azure_key_vault: {{name: c}}, token: {mine}}}"
    );
    let one = request(&text);
    assert_eq!(one.id_token, mine);
    assert!(
        one.secrets
            .values()
            .all(|secret| secret.id_token.is_empty())
    );

    let other = jwt(r#"{"job_id":"812","aud":"other"}"#);
    let text = "A: {azure_key_vault: {name: a}, token: $AZURE_JWT}\nB: {azure_key_vault: {name: b}, token: '${OTHER}'}";
    let spec = spec(&[("RUNNER_SECRETS", text), ("OTHER", &other)]);
    let two = spec.unwrap().unwrap().request(None);
    assert_eq!(two.id_token, "");
    assert_eq!(two.secrets["A"].id_token, mine);
    assert_eq!(two.secrets["B"].id_token, other);
}

#[test]
fn mistakes_are_named_by_their_field() {
    const IN: &str = "RUNNER_SECRETS: ";
    let known = "is no field here; there are azure_key_vault, file, server and token";
    for (text, expected) in [
        ("A: {azure_key_vault: {nam: a}}", "A.azure_key_vault.nam: is no field here; there are name, server and version".to_owned()),
        ("A: {azure_key_vault: {version: ''}}", "A.azure_key_vault.name: is missing: the name of the secret in Key Vault".to_owned()),
        ("A: {azure_key_vault: {name: }}", "A.azure_key_vault.name: is missing: the name of the secret in Key Vault".to_owned()),
        ("A: {azure_key_vault: }", "A.azure_key_vault: is empty where a map belongs".to_owned()),
        ("A: {azure_key_vault: name}", "A.azure_key_vault: is a text where a map belongs".to_owned()),
        ("A: {azure_key_vault: [name]}", "A.azure_key_vault: is a list where a map belongs".to_owned()),
        ("A: {azure_key_vault: {name: {a: b}}}", "A.azure_key_vault.name: is a map where a text belongs".to_owned()),
        ("A: {azure_key_vault: {name: [a]}}", "A.azure_key_vault.name: is a list where a text belongs".to_owned()),
        ("A: {azure_key_vault: {name: a/b}}", "A.azure_key_vault.name: is no secret name: 1 to 127 letters, digits and hyphens".to_owned()),
        ("A: {azure_key_vault: {name: a, version: latest}}", "A.azure_key_vault.version: is no version: 32 hexadecimal digits, or nothing for the latest".to_owned()),
        ("A: {token: $AZURE_JWT}", "A.azure_key_vault: is missing: it names the secret".to_owned()),
        ("A: {azure_key_vault: {name: a}, files: true}", format!("A.files: {known}")),
        ("A: {azure_key_vault: {name: a}, file: 'false'}", "A.file: is a text, and GitLab takes booleans only: write true or false without quotes".to_owned()),
        ("A: {azure_key_vault: {name: a}, file: 1}", "A.file: is no boolean: write true or false".to_owned()),
        ("A: {azure_key_vault: {name: a}, file: }", "A.file: is no boolean: write true or false".to_owned()),
        ("A: {azure_key_vault: {name: a}, server: {uri: x}}", "A.server.uri: is no field here; there are client_id, tenant_id and url".to_owned()),
        ("A: {azure_key_vault: {name: a, server: {jwt: x}}}", "A.azure_key_vault.server.jwt: belongs into `token:`, beside azure_key_vault".to_owned()),
        ("A: {azure_key_vault: {name: a, server: {}}, server: {}}", "A.azure_key_vault.server: is there twice, also beside azure_key_vault".to_owned()),
        ("A: {vault: a/b@c}", "A.vault: is not served here: leave this secret in `secrets:` of the job".to_owned()),
        ("A: {gcp_secret_manager: {name: a}}", "A.gcp_secret_manager: is not served here: leave this secret in `secrets:` of the job".to_owned()),
        ("A-B: {azure_key_vault: {name: a}}", "A-B: is no variable name: letters, digits and underscores, not starting with a digit, at most 128 characters".to_owned()),
        ("PATH: {azure_key_vault: {name: a}}", "PATH: is reserved: it would change how the job itself runs (PATH, ENV, BASH_ENV, IFS, LD_*, CI_*, GITLAB_*, RUNNER_*, FF_*)".to_owned()),
        ("{secrets: {A: {azure_key_vault: {name: a}}}, script: x}", "secrets: has other keys beside it: only the `secrets:` block belongs here".to_owned()),
        ("- A", "is no map of variables to their secrets".to_owned()),
        ("text", "is no map of variables to their secrets".to_owned()),
        ("/builds/x.tmp/RUNNER_SECRETS", "holds a path: use RUNNER_SECRETS_FILE for a spec in a file".to_owned()),
    ] {
        assert_eq!(problem(text), format!("{IN}{expected}"), "{text}");
    }
}

#[test]
fn what_yaml_can_do_beyond_that_is_refused_where_it_stands() {
    const IN: &str = "RUNNER_SECRETS: ";
    for (text, expected) in [
        ("A: {x: 1}\nA: {x: 2}", "A: is there twice"),
        (
            "A: {azure_key_vault: {name: a, name: b}}",
            "A.azure_key_vault.name: is there twice",
        ),
        (
            "A: 1\n---\nB: 2",
            "line 2: a second document begins; a spec is one",
        ),
        (
            "A: !reference [.x, secrets]",
            "line 1: tags such as `!reference` cannot be followed here: write the value out",
        ),
        (
            "X: &x {y: 1}\nA:\n  <<: *x",
            "line 3: `<<` is not merged here: write the keys out, or use an alias for the whole value",
        ),
        (
            "A: &a {b: *a}",
            "line 1: an alias stands inside what it refers to",
        ),
        ("? [a]\n: b", "line 1: a key is a list or a map"),
        ("A: {", "line 1: is no YAML or JSON"),
        ("A: *unknown", "line 1: is no YAML or JSON"),
        ("A:\n\t- x", "line 2: is no YAML or JSON"),
    ] {
        assert_eq!(problem(text), format!("{IN}{expected}"), "{text}");
    }
}

#[test]
fn an_alias_stands_for_a_whole_value() {
    let request = request("A: &a {azure_key_vault: {name: a}}\nB: *a");
    assert_eq!(asked(&request, "B").name, "a");
}

#[test]
fn texts_that_are_made_to_cost_much_cost_little() {
    use std::fmt::Write as _;

    let mut bomb = "a0: &a0 {x: y}\n".to_owned();
    for level in 1..5000 {
        let below = level - 1;
        let _ = writeln!(bomb, "a{level}: &a{level} {{x: *a{below}, y: *a{below}}}");
    }
    assert!(problem(&bomb).starts_with("RUNNER_SECRETS: a0.x: is no field here"));
    let deep = "[".repeat(100_000);
    assert!(problem(&deep).contains("is no YAML or JSON"));
    let large = "#".repeat(super::LARGEST + 1);
    assert_eq!(problem(&large), "RUNNER_SECRETS: is larger than 1 MiB");
}

#[test]
fn no_message_quotes_a_value() {
    let canary = "canary4711";
    for text in [
        format!("A: {{azure_key_vault: {{name: '{canary}/'}}}}"),
        format!("A: {{azure_key_vault: {{name: a}}, token: {canary}}}"),
        format!("A: {{azure_key_vault: {{name: a}}, file: {canary}}}"),
        format!("A: {{azure_key_vault: {canary}}}"),
        format!("A: \"{canary}"),
        canary.to_owned(),
    ] {
        let error = spec(&[("RUNNER_SECRETS", &text)]).unwrap_err();
        assert!(!error.report().contains(canary), "{}", error.report());
    }
}

#[test]
fn a_file_outside_of_a_job_needs_none_of_its_variables() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("spec.yml");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Spec::in_file(&path, Arc::new(IdToken::new("the token".to_owned())))
    };
    let spec = read(
        "A: {azure_key_vault: {name: a}, token: $AZURE_JWT}\n\
         B: {azure_key_vault: {name: b}, server: {url: https://b.vault.azure.net}}",
    );
    let spec = spec.unwrap();
    let names: Vec<&str> = spec
        .variables()
        .map(|(variable, _)| variable.as_str())
        .collect();
    assert_eq!(names, ["A", "B"]);
    assert_eq!(spec.id_token().unwrap().expose(), "the token");
    assert!(spec.request(None).secrets["A"].id_token.is_empty());
    for (text, problem) in [
        (
            "A: {azure_key_vault: {name: $CI_NAME}}",
            "expands to nothing",
        ),
        ("A: {azure_key_vault: {name: a_b}}", "is no secret name"),
        ("", "spec.yml"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(
            error.contains("spec.yml") && error.contains(problem),
            "{error}"
        );
    }
    let missing = Spec::in_file(place.path(), Arc::new(IdToken::new(String::new())));
    assert_eq!(missing.unwrap_err().exit(), 64);
}

/// What the page for authors shows is a spec, and what it says of it is so.
#[test]
fn the_documented_spec_is_one() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/pipelines.md");
    let page = std::fs::read_to_string(page).unwrap();
    let block = page.split("RUNNER_SECRETS: |\n").nth(1).unwrap();
    let lines = block.lines().take_while(|line| line.starts_with("      "));
    let request = request(&lines.collect::<Vec<_>>().join("\n"));
    assert_eq!(request.secrets.len(), 2);
    assert_eq!(asked(&request, "DB_PASSWORD").name, "db-password");
    let key = asked(&request, "STRIPE_KEY");
    assert_eq!(key.version, "00000000000000000000000000000012");
    let server = key.server.as_ref().unwrap();
    assert_eq!(server.url, "https://acme-prod.vault.azure.net");
    assert_eq!(request.secrets["STRIPE_KEY"].file, Some(false));
}
