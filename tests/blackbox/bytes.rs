//! What a job gets is what the vault holds, byte for byte, by every way there is.

use serde_json::Map;

use crate::{
    call::ask,
    job::{Job, entry, stderr},
    stage::Stage,
};

/// Values that something on the way could change, by the variable that they become.
fn values() -> Vec<(&'static str, String)> {
    let pem = "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----\n";
    let large = "0123456789abcdef".repeat(25 * 1024 / 16);
    let values = [
        ("EMPTY", ""),
        ("PLAIN", "correct horse battery staple"),
        ("NEWLINE", "one line\n"),
        ("NEWLINES", "\n\ntwo lines\n\n"),
        ("CRLF", "first\r\nsecond\r\n"),
        (
            "QUOTES",
            r#"it's "$HOME" $(id) `id` \ \\ \n !! %s ${IFS} ~ * ?"#,
        ),
        ("SPACES", " \t leading and trailing \t "),
        ("UNICODE", "Grüße, 世界, 🦀, e\u{301}, \u{feff}\u{202e}"),
        ("JSON", r#"{"a": "b\u0041", "c": [1, 2.50]}"#),
        ("PEM", pem),
        ("LARGE", &large),
    ];
    values.map(|(name, value)| (name, value.to_owned())).into()
}

fn name(variable: &str) -> String {
    format!("bytes-{}", variable.to_lowercase())
}

fn put_all(stage: &Stage) {
    for (variable, value) in values() {
        stage.put(&name(variable), &value);
    }
}

#[tokio::test]
async fn files_hold_exactly_the_secrets_bytes() {
    let stage = Stage::new().await;
    put_all(&stage);
    stage.put("bytes-nul", "a\0b");
    let mut request = ask(&stage.token()).file("NUL", "bytes-nul");
    for (variable, _) in values() {
        request = request.file(variable, &name(variable));
    }
    let bytes = stage.caller().await.bytes(request).await;
    assert_eq!(bytes.len(), values().len() + 1);
    assert_eq!(bytes["NUL"], b"a\0b");
    for (variable, value) in values() {
        assert_eq!(bytes[variable], value.as_bytes(), "{variable}");
    }
}

#[tokio::test]
async fn inline_answers_hold_exactly_the_secrets_bytes() {
    let stage = Stage::with(|config| config.text("listen.delivery", "inline")).await;
    put_all(&stage);
    let caller = stage.caller().await;
    let token = stage.token();
    let (mut files, mut inline) = (ask(&token), ask(&token));
    for (variable, _) in values() {
        files = files.file(variable, &name(variable));
        inline = inline.value(variable, &name(variable));
    }
    for request in [files, inline] {
        let bytes = caller.bytes(request).await;
        for (variable, value) in values() {
            assert_eq!(bytes[variable], value.as_bytes(), "{variable}");
        }
    }
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn get_writes_exactly_the_secrets_bytes() {
    let stage = Stage::new().await;
    put_all(&stage);
    let spec = spec(true);
    let job = Job::new(&stage, &stage.token(), spec);
    for (variable, value) in values() {
        let output = job.run(&["get", variable]).await;
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(output.stdout, value.as_bytes(), "{variable}");
    }
    assert!(stage.place.left().is_empty(), "get leaves nothing behind");
}

/// With the daemon's files, with the client's own, and in variables.
#[tokio::test]
async fn exec_gives_a_command_exactly_the_secrets_bytes() {
    for delivery in ["files", "inline"] {
        let stage = Stage::with(|config| config.text("listen.delivery", delivery)).await;
        put_all(&stage);
        for file in [true, false] {
            let job = Job::new(&stage, &stage.token(), spec(file));
            let mut script = String::new();
            let mut expected = Vec::new();
            for (variable, value) in values() {
                let print = if file {
                    "cat \"$NAME\"; printf '|'\n"
                } else {
                    "printf '%s|' \"$NAME\"\n"
                };
                script += &print.replace("NAME", variable);
                expected.extend_from_slice(value.as_bytes());
                expected.push(b'|');
            }
            let output = job.run(&["exec", "--", "/bin/sh", "-c", &script]).await;
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let printed = String::from_utf8_lossy(&output.stdout);
            assert!(output.stdout == expected, "{delivery}, {file}: {printed}");
        }
        assert!(stage.place.left().is_empty(), "exec leaves nothing behind");
    }
}

fn spec(file: bool) -> Map<String, serde_json::Value> {
    let entries = values().into_iter();
    entries
        .map(|(variable, _)| (variable.to_owned(), entry(&name(variable), file)))
        .collect()
}
