use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{Given, Payload, Variable, without_tokens};
use crate::name::VariableName;

const GIVEN: &str =
    r#"{"key":"DB","value":"a$b\"\n","public":false,"file":true,"masked":true,"raw":true}"#;

fn rewritten(document: &str) -> String {
    let key = VariableName::parse("DB").unwrap();
    let given = Given {
        key: &key,
        value: "a$b\"\n",
        file: true,
    };
    let payload = Payload::read(document).unwrap();
    payload.rewritten(|variable| variable.key == "RUNNER_SECRETS", &[given])
}

#[test]
fn only_what_has_to_change_changes() {
    let azure = r#"{"azure_key_vault":{"name":"n"},"file":true}"#;
    for (before, after) in [
        // Numbers, order, spaces and unknown fields stay as they are.
        (
            format!(
                "{{ \"id\": 9223372036854775807, \"new\":{{\"x\":1.0e-7}},\n \"variables\":[ {{\"key\":\"A\"}} ], \"secrets\":{{\"DB\":{azure}}}, \"z\":18446744073709551616 }}\n"
            ),
            format!(
                "{{ \"id\": 9223372036854775807, \"new\":{{\"x\":1.0e-7}},\n \"variables\":[ {{\"key\":\"A\"}} ,{GIVEN}], \"secrets\":{{}}, \"z\":18446744073709551616 }}\n"
            ),
        ),
        // Other backends' entries stay.
        (
            format!(
                r#"{{"secrets":{{"V":{{"vault":{{}}}},"DB":{azure},"W":{{}}}},"variables":[]}}"#
            ),
            format!(r#"{{"secrets":{{"V":{{"vault":{{}}}},"W":{{}}}},"variables":[{GIVEN}]}}"#),
        ),
        // No list, or none to speak of.
        (
            format!(r#"{{"secrets":{{"DB":{azure}}}}}"#),
            format!(r#"{{"secrets":{{}},"variables":[{GIVEN}]}}"#),
        ),
        (
            format!(r#"{{"variables":null,"secrets":{{"DB":{azure}}}}}"#),
            format!(r#"{{"variables":[{GIVEN}],"secrets":{{}}}}"#),
        ),
        // The spec's variable goes, wherever it is and as often as it is.
        (
            r#"{"variables":[{"key":"RUNNER_SECRETS"},{"key":"A"},null,{"key":"RUNNER_SECRETS"}]}"#
                .to_owned(),
            format!(r#"{{"variables":[{{"key":"A"}},null,{GIVEN}]}}"#),
        ),
        (
            r#"{"variables":[{"key":"RUNNER_SECRETS"}],"secrets":null}"#.to_owned(),
            format!(r#"{{"variables":[{GIVEN}],"secrets":null}}"#),
        ),
        // What the runner takes for `secrets` is `secrets`.
        (
            format!(
                r#"{{"Variables":[],"SECRETS":{{"DB":{azure}}},"\u017fecrets":{{"E":{azure}}}}}"#
            ),
            format!(r#"{{"Variables":[{GIVEN}],"SECRETS":{{}},"\u017fecrets":{{}}}}"#),
        ),
        // Of two lists, the runner takes the last.
        (
            format!(
                r#"{{"variables":[{{"key":"RUNNER_SECRETS"}}],"variables":[1],"secrets":{{"DB":{azure}}}}}"#
            ),
            format!(r#"{{"variables":[],"variables":[1,{GIVEN}],"secrets":{{}}}}"#),
        ),
    ] {
        assert_eq!(rewritten(&before), after);
    }
}

#[test]
fn entries_are_read_as_gitlab_writes_them() {
    let document = json!({"secrets": {
        "DB": {
            "azure_key_vault": {
                "name": "n", "version": "v", "new": [1],
                "server": {"url": "u", "client_id": "c", "tenant_id": "t", "jwt": "$FIRST"}
            },
            "token": "$OWN",
            "file": false,
        },
        "E": {"azure_key_vault": {"name": "n", "version": null, "server": {"jwt": "$FIRST"}}, "file": null},
        "V": {"vault": {}, "azure_key_vault": null},
    }});
    let document = document.to_string();
    let entries = Payload::read(&document).unwrap().entries().unwrap();
    let [db, e] = entries.as_slice() else {
        panic!("two entries")
    };
    assert_eq!(
        [
            &db.variable,
            &db.name,
            &db.version,
            &db.url,
            &db.client_id,
            &db.tenant_id,
            &db.token
        ],
        ["DB", "n", "v", "u", "c", "t", "$OWN"]
    );
    assert_eq!(
        [&e.variable, &e.version, &e.url, &e.token],
        ["E", "", "", "$FIRST"]
    );
    assert!(!db.file && e.file);
}

#[test]
fn an_entry_that_cannot_be_understood_is_no_ones() {
    for (secrets, field) in [
        (
            json!({"A": {"azure_key_vault": 1}}),
            "secrets.A.azure_key_vault",
        ),
        (
            json!({"A": {"azure_key_vault": []}}),
            "secrets.A.azure_key_vault",
        ),
        (
            json!({"A": {"azure_key_vault": {"name": 1}}}),
            "secrets.A.azure_key_vault.name",
        ),
        (
            json!({"A": {"azure_key_vault": {"server": "x"}}}),
            "secrets.A.azure_key_vault.server",
        ),
        (
            json!({"A": {"azure_key_vault": {"server": {"url": {}}}}}),
            "secrets.A.azure_key_vault.server.url",
        ),
        (
            json!({"A": {"azure_key_vault": {}, "file": "yes"}}),
            "secrets.A.file",
        ),
        (
            json!({"A": {"azure_key_vault": {}, "token": 1}}),
            "secrets.A.token",
        ),
    ] {
        let document = json!({"secrets": secrets}).to_string();
        let wrong = Payload::read(&document).unwrap().entries().err().unwrap();
        assert_eq!(wrong.field, field);
    }
    let twice = r#"{"secrets":{"A":{"azure_key_vault":{}},"A":{"azure_key_vault":{}}}}"#;
    let wrong = Payload::read(twice).unwrap().entries().err().unwrap();
    assert_eq!(wrong.problem, "is there twice");
}

#[test]
fn what_no_runner_takes_for_a_job_is_nobodys() {
    for document in ["", "[]", "null", "{", "<html>", "\"{}\""] {
        assert!(Payload::read(document).is_none(), "{document}");
    }
    // The runner cannot decode these either; there is nothing that it could resolve.
    for document in [
        r#"{"secrets":[],"variables":{}}"#,
        r#"{"secrets":"x","variables":null}"#,
        r#"{"secrets":{"A":null,"B":1},"variables":[1,null]}"#,
    ] {
        let payload = Payload::read(document).unwrap();
        assert!(payload.entries().unwrap().is_empty());
        assert_eq!(payload.rewritten(|_| false, &[]), document);
    }
}

#[test]
fn the_job_is_told_as_the_runner_tells_it() {
    let document = r#"{"id":1,"ID":18,"token":"a","token":"b","features":{"failure_reasons":["x",1,"y"]},
        "variables":[{"key":"A","value":"1","raw":true},{"Key":"A","VALUE":"2","file":true}]}"#;
    let payload = Payload::read(document).unwrap();
    assert_eq!(payload.id(), Some(18));
    assert_eq!(payload.token().as_deref(), Some("b"));
    assert_eq!(payload.failure_reasons(), ["x", "y"]);
    let [first, second] = payload.variables() else {
        panic!("two variables")
    };
    assert!(first.raw && !first.file && second.file && !second.raw);
    assert_eq!([&first.value, &second.value], ["1", "2"]);
    assert_eq!(Payload::read(r#"{"id":"1","token":2}"#).unwrap().id(), None);
}

#[test]
fn a_job_that_only_fails_does_nothing_else() {
    let document = json!({
        "id": 1, "image": {"name": "i"}, "steps": [{"name": "script", "script": ["rm -rf /"]}],
        "run": "[]", "hooks": [{}], "services": [{}], "artifacts": [{}], "cache": [{}],
        "dependencies": [{}], "secrets": {"A": {"azure_key_vault": {}}}, "variables": [{"key": "A"}],
    });
    let document = document.to_string();
    let lines = ["it's".to_owned()];
    let failing = Payload::read(&document).unwrap().failing(&lines);
    let failing: Value = serde_json::from_str(&failing).unwrap();
    let names: Vec<&str> = failing
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(names, ["id", "image", "steps", "variables"]);
    assert_eq!(
        failing["steps"][0]["script"],
        json!(["echo 'it\u{2019}s'", "exit 1"])
    );
    assert_eq!(failing["variables"][1]["key"], "GIT_STRATEGY");
}

fn token(claims: &Value) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let header = part(r#"{"alg":"RS256"}"#);
    format!(
        "{header}.{}.{}",
        part(&claims.to_string()),
        part("signature")
    )
}

#[test]
fn every_copy_of_our_tokens_goes() {
    let ours = token(&json!({"aud": "ours", "n": 1}));
    let second = token(&json!({"aud": ["x", "ours"], "n": 2}));
    let only = token(&json!({"aud": "ours", "n": 3}));
    let others = token(&json!({"aud": "vault"}));
    let document = json!({
        "variables": [
            {"key": "OURS", "value": ours},
            {"key": "OTHERS", "value": others},
            {"key": "EXPANDED", "value": format!("Bearer {ours}")},
            {"key": "TWICE", "value": format!("{ours}{second}.{ours}")},
            {"key": "NESTED", "value": json!({"a": second}).to_string()},
            {"key": "SECOND", "value": second},
            {"key": "ONLY_HERE", "value": format!("{only}{only}.x y")},
        ],
        "steps": [{"script": [format!("curl -d {ours}\n")]}],
        "secrets": {"V": {"vault": {"server": {"auth": {"jwt": ours}}}}},
    });
    // JSON may write any character as an escape.
    let document = document.to_string().replacen(&ours[..4], "\\u0065yJh", 1);
    let stripped = without_tokens(&document, &["ours".to_owned()], []);
    let read: Value = serde_json::from_str(&stripped).unwrap();
    let text = read.to_string();
    for gone in [&ours, &second] {
        let claims = gone.split('.').nth(1).unwrap();
        assert!(!text.contains(claims));
    }
    assert!(text.contains(&others));
    let keys: Vec<&str> = read["variables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| variable["key"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["OTHERS", "EXPANDED", "TWICE", "NESTED", "ONLY_HERE"]);
    assert_eq!(read["variables"][2]["value"], ".");
    assert_eq!(read["variables"][4]["value"], " y");
    assert_eq!(read["variables"][1]["value"], "Bearer ");
    assert_eq!(read["steps"][0]["script"][0], "curl -d \n");
}

#[test]
fn without_a_token_of_ours_nothing_changes() {
    let document = r#"{"variables":[{"key":"A","value":"eyJ.a.b eyJ eyJhIjoxfQ.\u0065.c"}]}"#;
    assert_eq!(without_tokens(document, &["ours".to_owned()], []), document);
}

#[test]
fn variables_are_dropped_by_what_they_are() {
    let drop = |variable: &Variable| variable.value == "x";
    let document = r#"{"variables":[{"value":"x"},{"value":"y"}]}"#;
    let rewritten = Payload::read(document).unwrap().rewritten(drop, &[]);
    assert_eq!(rewritten, r#"{"variables":[{"value":"y"}]}"#);
}
