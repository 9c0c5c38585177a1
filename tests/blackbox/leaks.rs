//! Canaries: no token and no value is in any output, however loud the log and whatever happens.
//!
//! A job's ID token, the access token that it buys and the values of its secrets are made
//! recognisable. Then everything happens to them that can happen, once for every reason that a
//! request can end with, and everything that daemon and client ever said is searched.

use std::{fs, future::Future, pin::Pin, time::Duration};

use azure_emulator::{Attributes, Permission};
use futures_util::future::join_all;
use runner_secrets_proto::{Reason, reason::TABLE};
use serde_json::{Map, Value, json};
use tonic::Request;

use crate::{
    call::{Ask, Caller, Refusal, ask},
    canaries::Canaries,
    daemon::{AUDIENCE, NOBODY, names},
    job::{Job, entry, stderr},
    stage::{Stage, VAULT, vault_url, vaults},
};

const CANARY: &str = "Canary4711ValueOfTheSecret";

/// What nothing from outside brings about.
const NEVER: [Reason; 1] = [Reason::Bug];

type Outcome<'a> = Pin<Box<dyn Future<Output = Refusal> + 'a>>;
type Scenario = (Reason, for<'a> fn(&'a Stage, &'a Caller) -> Outcome<'a>);

/// A way to each reason that the daemon can give today.
const SCENARIOS: &[Scenario] = &[
    (Reason::RequestInvalid, |stage, caller| {
        Box::pin(async {
            // A token and a value where names belong.
            let token = stage.token();
            let request = wanted(&token).file("BAD", &token);
            let refusal = caller.refused(request).await;
            assert!(refusal.violations[0].0.contains("name"), "{refusal:?}");
            caller
                .refused(wanted(&token).pinned("V", "canary", "no version"))
                .await
        })
    }),
    (Reason::TokenInvalid, |stage, caller| {
        Box::pin(async {
            let token = stage.token();
            let cut = token.rsplit_once('.').unwrap().0.to_owned();
            caller.refused(wanted(&cut)).await;
            caller.refused(wanted(&format!("{token}."))).await;
            caller
                .refused(wanted(&stage.token_but(json!({"exp": "soon"}))))
                .await
        })
    }),
    (Reason::TokenExpired, |stage, caller| {
        Box::pin(async {
            caller
                .refused(wanted(&stage.token_but(json!({"exp": 1}))))
                .await
        })
    }),
    (Reason::CallerDenied, |stage, caller| {
        Box::pin(async {
            let answer = caller.resolve(wanted(&stage.token())).await.unwrap();
            let other = stage.token_but(json!({"job_id": "813"}));
            caller.release(&answer.lease_id, &other).await.unwrap_err()
        })
    }),
    (Reason::PolicyDenied, |stage, caller| {
        Box::pin(async {
            let project = json!({"project_path": "acme/other"});
            caller.refused(wanted(&stage.token_but(project))).await
        })
    }),
    (Reason::Overloaded, |stage, caller| {
        Box::pin(async {
            let request = wanted(&stage.token());
            for _ in 0..30 {
                caller.explain(request.clone()).await.unwrap();
            }
            caller.explain(request).await.unwrap_err()
        })
    }),
    (Reason::KeysUnavailable, |stage, caller| {
        Box::pin(async {
            let token = stage.token_but(json!({"iss": NOBODY}));
            caller.refused(wanted(&token)).await
        })
    }),
    (Reason::SecretExpired, |stage, caller| {
        Box::pin(async {
            caller
                .refused(wanted(&stage.token()).file("X", "expired"))
                .await
        })
    }),
    (Reason::ExchangeRefused, |stage, caller| {
        Box::pin(async {
            caller
                .refused(wanted(&stage.token_but(json!({"sub": "x"}))))
                .await
        })
    }),
    (Reason::VaultForbidden, |stage, caller| {
        Box::pin(async {
            let token = stage.token();
            caller.refused(wanted(&token).file("X", "forbidden")).await;
            // A vault, or what stands before it, that shows what it was sent.
            let token = stage.token();
            let message = format!("no: Bearer {token}, assertion=%20{token}");
            let body = json!({"error": {"code": "Unauthorized", "message": message}});
            faulty(
                stage,
                json!({"route": "secret", "kind": "status", "status": 401, "body": body}),
            );
            caller.refused(wanted(&token)).await
        })
    }),
    (Reason::SecretNotFound, |stage, caller| {
        Box::pin(async {
            caller
                .refused(wanted(&stage.token()).file("X", "missing"))
                .await
        })
    }),
    (Reason::SecretDisabled, |stage, caller| {
        Box::pin(async {
            caller
                .refused(wanted(&stage.token()).file("X", "disabled"))
                .await
        })
    }),
    (Reason::UpstreamThrottled, |stage, caller| {
        Box::pin(async {
            faulty(
                stage,
                json!({"route": "secret", "kind": "throttle", "retry_after": 1}),
            );
            caller.refused(wanted(&stage.token())).await
        })
    }),
    (Reason::UpstreamUnavailable, |stage, caller| {
        Box::pin(async {
            // A vault for each, because what one answers counts for all its callers.
            let mut calls = Vec::new();
            for (case, mut fault) in unusable(&stage.token()).into_iter().enumerate() {
                let (vault, token) = (vault(case), stage.token());
                stage.put_in(&vault, "canary", CANARY);
                fault["route"] = "secret".into();
                fault["host"] = format!("{vault}.vault.azure.net").into();
                stage.fault(fault);
                let request = ask(&token).file("FILE", "canary");
                let request = request.server("FILE", &vault_url(&vault), "", "");
                calls.push(caller.refused(request));
            }
            let mut refused = join_all(calls).await;
            // Entra is one for all; a success in between begins the count of failures again.
            for mut fault in unusable(&stage.token()) {
                fault["route"] = "token".into();
                faulty(stage, fault);
                refused.push(caller.refused(wanted(&stage.token())).await);
                stage.emulator.clear_faults();
                caller.resolve(wanted(&stage.token())).await.unwrap();
            }
            for refusal in &refused {
                assert_eq!(refusal.reason, Reason::UpstreamUnavailable, "{refusal:?}");
            }
            refused.pop().unwrap()
        })
    }),
    (Reason::DeadlineExceeded, |stage, caller| {
        Box::pin(async {
            let mut last = None;
            for route in ["token", "secret"] {
                faulty(stage, json!({"route": route, "kind": "hang"}));
                let mut request = Request::new(wanted(&stage.token()).0);
                request.set_timeout(Duration::from_millis(300));
                last = Some(caller.send(request).await.unwrap_err());
            }
            last.unwrap()
        })
    }),
    (Reason::AuditFailed, |stage, caller| {
        Box::pin(async {
            let (trail, token) = (stage.place.trail(), stage.token());
            let aside = trail.with_extension("aside");
            fs::rename(&trail, &aside).unwrap();
            fs::create_dir(&trail).unwrap();
            let refusal = caller.refused(wanted(&token)).await;
            fs::remove_dir(&trail).unwrap();
            fs::rename(&aside, &trail).unwrap();
            let again = |record: &Value| record["event"] == "recovered";
            stage.place.recorded("recovery", again).await;
            refusal
        })
    }),
    (Reason::FilesFailed, |stage, caller| {
        Box::pin(async {
            fs::remove_dir_all(stage.place.leases()).unwrap();
            caller.refused(wanted(&stage.token())).await
        })
    }),
];

/// Answers that are none, some with canaries where nobody looks for them, so that whoever complains
/// quotes them.
fn unusable(token: &str) -> Vec<Value> {
    let ways = [
        "reset",
        "truncated",
        "wrong_types",
        "not_utf8",
        "empty",
        "html",
    ];
    let mut faults: Vec<Value> = ways.map(|kind| json!({"kind": kind})).into();
    for body in [
        json!(CANARY),
        json!({"value": CANARY, "attributes": CANARY, "id": 1}),
        json!({"value": CANARY, "attributes": {"enabled": CANARY}}),
        json!({"value": {"a": CANARY}, "id": CANARY}),
        json!({"value": CANARY, "id": CANARY}),
        json!({"access_token": [token], "expires_in": 1}),
        json!({"access_token": token, "expires_in": token}),
        json!({"access_token": token, "expires_in": [token], "token_type": 1}),
    ] {
        faults.push(json!({"kind": "status", "status": 200, "body": body}));
    }
    let shown = format!("<html>Authorization: Bearer {token}</html>");
    for status in [400, 403, 502] {
        faults.push(json!({"kind": "status", "status": status, "body": shown}));
    }
    faults
}

/// The vault of one of them.
fn vault(case: usize) -> String {
    format!("broken-{case}")
}

/// Both kinds of delivery of one secret.
fn wanted(token: &str) -> Ask {
    ask(token).file("FILE", "canary").value("VALUE", "canary")
}

/// One fault and no other.
fn faulty(stage: &Stage, fault: Value) {
    stage.emulator.clear_faults();
    stage.fault(fault);
}

fn prepare(stage: &Stage) {
    stage.put("canary", CANARY);
    stage.put("forbidden", CANARY);
    let disabled = Attributes {
        enabled: Some(false),
        ..Attributes::default()
    };
    stage.put_with("disabled", CANARY, disabled);
    let expired = Attributes {
        exp: Some(1_000_000_000),
        ..Attributes::default()
    };
    stage.put_with("expired", CANARY, expired);
    let readable = |name: &str| Permission {
        client_id: stage.emulator.ready().client_id.clone(),
        vault: VAULT.to_owned(),
        secrets: vec![name.to_owned()],
        operations: vec!["get".to_owned()],
    };
    let names = ["canary*", "disabled", "expired", "missing"];
    let mut permissions: Vec<Permission> = names.map(readable).into();
    permissions.extend((0..unusable("").len()).map(|case| Permission {
        vault: vault(case),
        ..readable("canary")
    }));
    stage.emulator.set_permissions(permissions);
}

/// What went to the services, and the value.
fn seen(stage: &Stage) -> Canaries {
    let mut canaries = Canaries::default();
    canaries.add(CANARY);
    canaries.add_sent(&stage.emulator);
    canaries
}

#[tokio::test]
async fn no_canary_is_seen_through_any_reason() {
    let nobody = format!("[[issuer]]\nurl = {NOBODY:?}\naudiences = [{AUDIENCE:?}]\n");
    let mut stage = Stage::loud("trace", |config| {
        let config = config.set("policy.refuse_expired", true);
        let config = config.set("rule.bound_claims", "{ project_path = 'acme/shop' }");
        let config = vaults(config, (0..unusable("").len()).map(vault));
        config.copy("rule.issuer", "issuer.url").more(&nobody)
    })
    .await;
    prepare(&stage);
    let caller = stage.caller().await;
    let mut outputs: Vec<(String, Vec<u8>)> = Vec::new();

    let token = stage.token();
    let bytes = caller.bytes(wanted(&token)).await;
    assert_eq!(bytes["FILE"], CANARY.as_bytes());
    caller.bytes(wanted(&token)).await;
    for (reason, happens) in SCENARIOS {
        let refusal = happens(&stage, &caller).await;
        assert_eq!(refusal.reason, *reason, "{refusal:?}");
        stage.daemon.logs(&refusal.request_id).await;
        outputs.push((format!("the status for {reason}"), refusal.raw));
        stage.emulator.clear_faults();
    }
    // A caller that hangs up.
    stage.fault(json!({"route": "secret", "kind": "hang"}));
    let (hung_up, token) = (stage.caller().await, stage.token());
    let call = tokio::spawn(async move { hung_up.resolve(wanted(&token)).await });
    stage.asked("secret").await;
    call.abort();
    stage.daemon.logs("abandoned").await;

    let canaries = seen(&stage);
    stage.daemon.stop(rustix::process::Signal::TERM).await;
    let log = stage.daemon.log();
    assert!(log.contains("TRACE"), "the log is not loud");
    assert!(log.contains("h2"), "the libraries are not heard");
    outputs.push(("the daemon's log".to_owned(), log.into_bytes()));
    let on_record = on_record(&stage);
    for reason in ["DELIVERED", "ABANDONED"]
        .into_iter()
        .chain(SCENARIOS.iter().map(|(reason, _)| reason.name()))
    {
        let said = format!(r#""reason":"{reason}""#);
        assert!(on_record.contains(&said), "{reason}");
    }
    outputs.push(("the audit trail".to_owned(), on_record.into_bytes()));
    for (place, output) in &outputs {
        canaries.assert_absent(place, output);
    }
}

/// All of the audit trail, and of what lies beside it.
fn on_record(stage: &Stage) -> String {
    let mut all = String::new();
    for directory in ["audit", "audit/policies"] {
        for name in names(&stage.place.path(directory)) {
            // The other directory is no file.
            let read = fs::read_to_string(stage.place.path(directory).join(name));
            all.extend(read);
        }
    }
    all
}

/// A reason without a scenario would not be looked at.
#[test]
fn every_reason_that_a_request_can_end_with_has_a_scenario() {
    let mut known: Vec<Reason> = SCENARIOS.iter().map(|(reason, _)| *reason).collect();
    known.extend(NEVER);
    known.sort();
    let on_the_wire = TABLE.iter().filter(|row| row.code.is_some());
    let all: Vec<Reason> = on_the_wire.map(|row| row.reason).collect();
    assert_eq!(known, all);
}

/// The client's own log is what it prints; values only where they are the output.
#[tokio::test]
async fn the_client_prints_no_canary_but_the_value_that_was_asked_for() {
    for delivery in ["files", "inline"] {
        let mut stage =
            Stage::loud("trace", |config| config.text("listen.delivery", delivery)).await;
        prepare(&stage);
        let spec = |entries: &[(&str, &str, bool)]| {
            let entries = entries.iter();
            entries
                .map(|(variable, name, file)| ((*variable).to_owned(), entry(name, *file)))
                .collect::<Map<_, _>>()
        };
        let good = stage.token();
        let wrong = stage.token_but(json!({"sub": "x"}));
        let broken = good.replace('.', "..");
        let both = spec(&[("FILE", "canary", true), ("VALUE", "canary", false)]);
        let file = spec(&[("FILE", "canary", true)]);
        let missing = spec(&[("FILE", "canary", true), ("X", "missing", true)]);
        let bad = spec(&[("FILE", &good, true)]);
        let mut outputs = Vec::new();
        let env = &["env"][..];
        let exec = &["exec", "--", "/bin/true"][..];
        let get = &["get", "FILE"][..];
        for (token, spec, arguments, status, value_is_output) in [
            (&good, &both, env, 0, true),
            (&good, &both, exec, 0, false),
            (&good, &both, get, 0, true),
            (&good, &file, env, 0, false),
            (&wrong, &both, env, 77, false),
            (&wrong, &both, get, 77, false),
            (&broken, &both, env, 65, false),
            (&good, &missing, env, 66, false),
            (&good, &missing, exec, 66, false),
            (&good, &bad, env, 64, false),
        ] {
            let job = Job::new(&stage, token, spec.clone()).set("RUST_LOG", "trace");
            let output = job.run(arguments).await;
            let what = format!("{arguments:?} {status}");
            assert_eq!(
                output.status.code(),
                Some(status),
                "{what}: {}",
                stderr(&output)
            );
            outputs.push((format!("{what}, stderr"), output.stderr));
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            let lease = printed.split_once("RUNNER_SECRETS_LEASE='");
            if let Some((lease, _)) = lease.and_then(|(_, rest)| rest.split_once('\'')) {
                let released = job.run(&["release", lease]).await;
                assert_eq!(released.status.code(), Some(0), "{}", stderr(&released));
                outputs.push((format!("{what}, release"), released.stderr));
            }
            if value_is_output {
                let printed = String::from_utf8(output.stdout).unwrap();
                assert!(printed.contains(CANARY));
                outputs.push((
                    format!("{what}, stdout"),
                    printed.replace(CANARY, "").into_bytes(),
                ));
            } else {
                outputs.push((format!("{what}, stdout"), output.stdout));
            }
        }
        let canaries = seen(&stage);
        stage.daemon.stop(rustix::process::Signal::INT).await;
        outputs.push((
            "the daemon's log".to_owned(),
            stage.daemon.log().into_bytes(),
        ));
        for (place, output) in &outputs {
            canaries.assert_absent(place, output);
        }
    }
}
