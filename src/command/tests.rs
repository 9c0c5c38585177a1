use std::{fs::File, io::Write as _, path::Path};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};

use super::{Command, Form, Streams, run};

const CONFIG: &str = "
[[listen]]
socket = '/run/x/api.sock'
[[issuer]]
url = 'https://gitlab.test'
audiences = ['a']
jwks_file = '/nowhere/jwks.json'
[policy]
mode = 'audit'
[[rule]]
name = 'shop'
bound_claims = { project_path = 'acme/shop' }
vaults = ['https://acme.vault.azure.net']
secrets = ['a']
";

/// A token that nobody signed.
fn token() -> String {
    let claims = r#"{"iss":"https://gitlab.test","sub":"s","aud":"a","exp":1,
        "project_id":"20","project_path":"acme/shop","job_id":"1","user_email":"a@b.test"}"#;
    let header = r#"{"alg":"RS256","kid":"k"}"#;
    let parts = [header, claims, "signature"].map(|part| BASE64.encode(part));
    parts.join(".")
}

fn file(path: &Path, text: &str) {
    let mut file = File::create_new(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

async fn ran(command: &Command, directory: &Path) -> (u8, String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        stdout: &mut stdout,
        stderr: &mut stderr,
        colour: true,
        watched: false,
    };
    let status = run(command, &directory.join("config.toml"), &mut streams).await;
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status, text(stdout), text(stderr))
}

#[tokio::test]
async fn a_screen_gets_colours_and_audit_mode_is_said() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    file(&path("config.toml"), CONFIG);
    file(&path("token"), &token());
    file(
        &path("spec"),
        "A: {azure_key_vault: {name: a}}\nB: {azure_key_vault: {name: b}}\n",
    );
    let explain = Command::Explain {
        token: path("token"),
        spec: path("spec"),
        json: false,
    };
    let (status, stdout, stderr) = ran(&explain, place.path()).await;
    assert_eq!(status, 77);
    assert!(
        stdout.contains("\u{1b}[32m✓\u{1b}[0m  A  (by unverified claims)\n"),
        "{stdout}"
    );
    assert!(stdout.contains("\u{1b}[31m✗\u{1b}[0m  B"), "{stdout}");
    assert!(!stdout.contains("a@b.test"), "{stdout}");
    assert_eq!(
        stderr,
        "runner-secretsd: policy.mode is \"audit\": what is denied here is granted all the same\n"
    );
    let grants = Command::Grants {
        secret: None,
        form: Form::Table,
    };
    let (status, _, stderr) = ran(&grants, place.path()).await;
    assert_eq!(status, 0);
    assert!(stderr.contains("granted all the same"), "{stderr}");
}

#[tokio::test]
async fn nobody_at_the_other_end_is_no_panic() {
    let place = tempfile::tempdir().unwrap();
    file(&place.path().join("config.toml"), CONFIG);
    let mut streams = Streams {
        stdout: &mut File::options().write(true).open("/dev/full").unwrap(),
        stderr: &mut Vec::new(),
        colour: false,
        watched: false,
    };
    let path = place.path().join("config.toml");
    assert_eq!(run(&Command::CheckConfig, &path, &mut streams).await, 1);
}
