//! The auditor's side on what the daemon itself wrote: through a stop, a crash and a torn record,
//! with the operator's key.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    process::Command,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use serde_json::Value;

use crate::{call::ask, daemon::PROGRAM, stage::Stage};

/// Puts a key for checkpoints into `directory`, as `key.pem` and `public.pem`.
fn make_keys(directory: &Path) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let private = pair.to_pkcs8v1().unwrap();
    let public = pair.public_key().as_der().unwrap();
    for (name, label, der) in [
        ("key.pem", "PRIVATE KEY", private.as_ref()),
        ("public.pem", "PUBLIC KEY", public.as_ref()),
    ] {
        let der = BASE64_STANDARD.encode(der);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = options.open(directory.join(name)).unwrap();
        write!(
            file,
            "-----BEGIN {label}-----\n{der}\n-----END {label}-----\n"
        )
        .unwrap();
    }
}

/// Runs an `audit` command: its status and what it says.
fn audit(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(PROGRAM);
    let output = command.arg("audit").args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said + &complaints)
}

#[tokio::test]
async fn what_the_daemon_writes_verifies_with_its_key_and_answers_questions() {
    let keys = tempfile::tempdir().unwrap();
    make_keys(keys.path());
    let key = |name: &str| keys.path().join(name).display().to_string();
    let mut stage = Stage::with(|config| config.text("audit.signing_key", &key("key.pem"))).await;
    let version = stage.put("db", "value");
    let caller = stage.caller().await;
    let request = ask(&stage.token()).file("DB", "db");
    caller.resolve(request).await.unwrap();
    stage.daemon.stop(Signal::TERM).await;
    stage.restart().await;
    stage.crash().await;
    let trail = stage.place.path("audit").display().to_string();
    let current = stage.place.path("audit/audit.jsonl");
    let mut file = OpenOptions::new().append(true).open(current).unwrap();
    file.write_all(b"{\"seq\":9,\"prev\":\"0").unwrap();
    stage.restart().await;
    stage.daemon.stop(Signal::TERM).await;

    let (status, said) = audit(&["verify", "--public-key", &key("public.pem"), &trail]);
    assert!(status == 0 && said.starts_with("intact\n"), "{said}");
    assert!(said.contains("3 of the daemon on "), "{said}");
    assert!(said.contains(", signatures checked\n"), "{said}");
    assert!(
        said.contains("18 bytes of a record broke off at "),
        "{said}"
    );
    assert!(!said.contains("are not signed yet"), "{said}");

    let (status, said) = audit(&["query", "--json", "--reason", "DELIVERED", &trail]);
    assert_eq!(status, 0, "{said}");
    let answer: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(answer["job"]["project_path"], "acme/shop");
    assert_eq!(answer["secret"]["name"], "db");
    assert_eq!(answer["secret"]["version_read"], version);

    let package = key("package");
    let (status, said) = audit(&[
        "export",
        "--output",
        &package,
        "--public-key",
        &key("public.pem"),
        &trail,
    ]);
    assert!(
        status == 0 && said.contains("policies 1; the trail is intact"),
        "{said}"
    );
    let report = fs::read_to_string(format!("{package}/verify.txt")).unwrap();
    assert!(report.starts_with("intact\n"), "{report}");
}
