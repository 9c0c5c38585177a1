//! The program: its line, its signals, its state file, its refusals.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use azure_emulator::{Ready, State};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_azure-emulator"))
}

fn sample() -> String {
    format!("{}/state.sample.json", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn line_says_where_everything_is_and_a_signal_leaves_nothing_behind() {
    for (signal, arguments) in [
        ("-TERM", vec![]),
        ("-INT", vec!["--state".into(), sample()]),
    ] {
        let mut child = program()
            .arg("serve")
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let ready: Ready = serde_json::from_str(&line).unwrap();
        assert!(
            ready.ready && line.starts_with(r#"{"ready":true,"ca_file":""#),
            "{line}"
        );
        assert!(ready.issuer_url.starts_with("https://localhost:"));
        assert!(ready.proxy_url.starts_with("http://127.0.0.1:"));
        assert!(ready.control_url.starts_with("http://127.0.0.1:"));
        assert_eq!(ready.authority_host, "https://login.microsoftonline.com");
        assert!(Path::new(&ready.ca_file).exists());
        let kill = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(!Path::new(&ready.ca_file).parent().unwrap().exists());
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn arguments_and_states_that_make_no_sense_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    std::fs::write(&file, r#"{"vaults": []}"#).unwrap();
    let file = file.display().to_string();
    for (arguments, code, text) in [
        (vec![], 64, "the command is missing"),
        (vec!["serve", "--prot", "1"], 64, "invalid option '--prot'"),
        (vec!["serve", "--port", "x"], 64, "x"),
        (
            vec!["serve", "--state", "/nowhere"],
            1,
            "cannot read /nowhere",
        ),
        (
            vec!["serve", "--state", &file],
            1,
            "needs a tenant, an application and a vault",
        ),
        (vec!["--help"], 0, ""),
    ] {
        let output = program().args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(text), "{stderr}");
    }
}

#[test]
fn sample_state_is_understood_and_uses_every_member() {
    let text = std::fs::read_to_string(sample()).unwrap();
    let state = State::parse(&text).unwrap();
    assert_eq!(state.vaults[0].name, "acme-prod");
    let written = serde_json::to_value(&state).unwrap();
    let sample: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (member, value) in written.as_object().unwrap() {
        assert!(
            sample.get(member).is_some(),
            "{member} is not in the sample"
        );
        let Some(first) = value.get(0).and_then(|first| first.as_object()) else {
            continue;
        };
        for name in first.keys() {
            let used = sample[member].as_array().unwrap().iter();
            assert!(
                used.into_iter().any(|item| item.get(name).is_some()),
                "{member}.{name}"
            );
        }
    }
}

#[test]
fn state_that_does_not_fit_together_is_refused() {
    for (text, problem) in [
        (r#"{"vault": []}"#, "unknown field `vault`"),
        (r#"{"tenants": []}"#, "needs a tenant"),
        (
            r#"{"vaults": [{"name": "x", "tenant_id": "none"}]}"#,
            "no tenant has the id \"none\"",
        ),
        (
            r#"{"federated_credentials": [{"client_id": "x", "audience": "y"}]}"#,
            "needs a subject or an expression",
        ),
    ] {
        let error = State::parse(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn dropping_an_emulator_removes_its_files_and_closes_its_ports() {
    let emulator = azure_emulator::start(azure_emulator::Options::default())
        .await
        .unwrap();
    let ready = emulator.ready().clone();
    drop(emulator);
    assert!(!Path::new(&ready.ca_file).exists());
    let address = ready.control_url.strip_prefix("http://").unwrap();
    let refused = async { while tokio::net::TcpStream::connect(address).await.is_ok() {} };
    let patience = std::time::Duration::from_secs(20);
    tokio::time::timeout(patience, refused).await.unwrap();
}
