//! Jobs that get their secrets on the way to the runner.

use serde_json::{Value, json};

use crate::{
    gitlab::State,
    runner::Seen,
    site::{Site, entry, payload, variable},
};

#[tokio::test]
async fn a_job_gets_its_secrets_as_if_the_runner_had_resolved_them() {
    let site = Site::new().await;
    site.put("db", "pa$$word$HOME\n");
    site.put("plain", "value");
    let token = site.token(7);
    let mut plain = entry("plain");
    plain["file"] = false.into();
    let secrets = json!({"DB": entry("$NAME"), "PLAIN": plain});
    let variables = json!([variable("AZURE_JWT", &token), variable("NAME", "db")]);
    site.gitlab.job(7, payload(variables, secrets));
    let runner = site.runner();
    let work = runner.ask().await.job();
    assert_eq!(
        work.variables()[2..],
        [
            json!({"key": "DB", "value": "pa$$word$HOME\n", "public": false, "file": true, "masked": true, "raw": true}),
            json!({"key": "PLAIN", "value": "value", "public": false, "file": false, "masked": true, "raw": true}),
        ]
    );
    assert!(work.left_to_resolve().is_empty());
    let seen = work.environment();
    assert_eq!(seen["DB"], Seen::File("pa$$word$HOME\n".to_owned()));
    assert_eq!(seen["PLAIN"], Seen::Value("value".to_owned()));
    // Without being asked for it, the job still has its token.
    assert_eq!(seen["AZURE_JWT"], Seen::Value(token));
    runner.run(&work).await;
    assert_eq!(site.gitlab.state(7), State::Success);
    let trace = site.gitlab.trace(7);
    assert!(
        trace.contains("DB=[MASKED]\n\nNAME=db\nPLAIN=[MASKED]\n"),
        "{trace}"
    );
    assert!(runner.ask().await.is_nothing());
    // One exchange for both, and the caller on record is the runner's host.
    assert_eq!(site.counts(), (1, 2));
    let outcome = |record: &Value| record["event"] == "outcome";
    let record = site.place.recorded("the outcome", outcome).await;
    assert_eq!(record["caller"], json!({"address": "127.0.0.1"}));
    assert_eq!(record["reason"], "DELIVERED");
    assert_eq!(record["job"]["job_id"], "7");
}

#[tokio::test]
async fn a_spec_in_a_variable_does_the_same() {
    let site = Site::new().await;
    site.put("db", "one");
    site.put("api", "two");
    let token = site.token(7);
    let spec = "DB:\n  azure_key_vault: {name: db}\n";
    let more = "API: {token: $AZURE_JWT, file: false, azure_key_vault: {name: $NAME}}";
    let file = "/etc/passwd";
    for secrets in [
        Value::Null,
        json!({}),
        json!({"V": {"vault": {"path": "p"}}}),
    ] {
        let variables = json!([
            variable("AZURE_JWT", &token),
            variable("RUNNER_SECRETS", "overridden: by the last one"),
            variable("NAME", "api"),
            variable("RUNNER_SECRETS", spec),
            variable("RUNNER_SECRETS_SPEC_MORE", more),
            variable("RUNNER_SECRETS_FILE", file),
        ]);
        site.gitlab.job(7, payload(variables, secrets.clone()));
        let work = site.runner().ask().await.job();
        let keys: Vec<Value> = work
            .variables()
            .iter()
            .map(|variable| variable["key"].clone())
            .collect();
        assert_eq!(
            keys,
            ["AZURE_JWT", "NAME", "RUNNER_SECRETS_FILE", "API", "DB"]
        );
        assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
        assert_eq!(work.environment()["API"], Seen::Value("two".to_owned()));
        // What is another backend's stays as it was.
        assert_eq!(work.payload["secrets"], secrets);
    }
}

#[tokio::test]
async fn both_ways_of_asking_go_together() {
    let site = Site::new().await;
    site.put("db", "one");
    let token = site.token(7);
    let variables = json!([
        variable("AZURE_JWT", &token),
        variable("RUNNER_SECRETS", "API: {azure_key_vault: {name: db}}"),
    ]);
    let secrets = json!({"DB": entry("db"), "V": {"vault": {"path": "p"}, "file": true}});
    site.gitlab.job(7, payload(variables, secrets));
    let work = site.runner().ask().await.job();
    assert_eq!(work.left_to_resolve(), ["V"]);
    assert_eq!(work.environment().len(), 3);
    assert_eq!(site.counts(), (1, 1));
}

#[tokio::test]
async fn a_hundred_secrets_are_two_round_trips() {
    let site = Site::new().await;
    let mut secrets = json!({});
    for number in 0..100 {
        site.put(&format!("s{number}"), &format!("value {number} of $HOME"));
        secrets[format!("S{number}")] = entry(&format!("s{number}"));
    }
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    site.gitlab.job(7, payload(variables, secrets));
    let work = site.runner().ask().await.job();
    let environment = work.environment();
    for number in 0..100 {
        let value = format!("value {number} of $HOME");
        assert_eq!(environment[&format!("S{number}")], Seen::File(value));
    }
    assert_eq!(site.counts(), (1, 100));
}

/// GitLab makes one `server` for all secrets, with the token of the first; the token beside a
/// secret is its own.
#[tokio::test]
async fn each_secret_has_its_own_token() {
    let site = Site::new().await;
    site.put("db", "one");
    let (first, own) = (site.token(7), site.token(7));
    let wrong = site.token_but(json!({"job_id": "7", "aud": "somebody"}));
    let mut secret = entry("db");
    secret["token"] = "${OWN}".into();
    let variables = json!([
        variable("AZURE_JWT", &wrong),
        variable("OWN", &first),
        variable("OWN", &own),
    ]);
    site.gitlab
        .job(7, payload(variables, json!({"DB": secret})));
    let work = site.runner().ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    let sent = site.emulator.requests();
    let exchange = sent
        .iter()
        .find(|request| request.route == "token")
        .unwrap();
    assert!(exchange.body.contains(&own));
}

#[tokio::test]
async fn everything_else_of_a_payload_stays_byte_for_byte() {
    let site = Site::new().await;
    site.put("db", "one");
    let token = site.token(7);
    let filler = "x".repeat(10 * 1024 * 1024);
    let head = format!(
        "{{ \"id\":7 ,\"token\":\"token-of-job-7\",\"big\":18446744073709551615, \"exact\":1.10e+2,\n\t\"new\":{{\"b\":[null,{{}}],\"a\":\"\\u00e9\\/\"}},\"variables\":[{{\"key\":\"AZURE_JWT\",\"value\":\"{token}\",\"new\":[1]}},null,{{\"key\":\"F\",\"value\":\"{filler}\"}} "
    );
    let given =
        r#",{"key":"DB","value":"one","public":false,"file":true,"masked":true,"raw":true}"#;
    let middle = "],\"steps\":null, \"secrets\" : {\"Z\":{\"x\":1}";
    let gone = format!(", \"DB\": {}", entry("db"));
    let tail = ",\"A\":{\"vault\":{\"n\":9007199254740993}} } } \n";
    let payload = format!("{head}{middle}{gone}{tail}");
    site.gitlab.bytes(7, payload.into());
    let work = site.runner().ask().await.job();
    let expected = format!("{head}{given}{middle}{tail}");
    assert!(
        work.bytes == expected.as_bytes(),
        "the payload was changed elsewhere"
    );
}

#[tokio::test]
async fn a_payload_that_nobody_asked_to_be_compressed_is_read() {
    let site = Site::new().await;
    site.put("db", "one");
    site.gitlab
        .manners(|manners| manners.gzip = crate::gitlab::Gzip::Always);
    let variables = json!([variable("AZURE_JWT", &site.token(7))]);
    site.gitlab
        .job(7, payload(variables, json!({"DB": entry("db")})));
    let work = site.runner().ask().await.job();
    assert_eq!(work.environment()["DB"], Seen::File("one".to_owned()));
    assert_eq!(work.headers["X-Request-Id"], "01JOB");
    assert_eq!(work.headers["RateLimit-Limit"], "60");
}
