//! Holds docs/audit.md to the records: every field of every event is in its table, and nothing else
//! is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::{Value, json};

use super::{
    chain::{Digest, Head, Stamp},
    event::{
        Asked, Caller, Checkpoint, Clock, Event, Header, Job, LeaseEnd, Local, Policy, Predecessor,
        Pruned, Recovered, Refused, RefusedBy, Request, Secret, Start, Torn,
    },
};

use crate::caller::Remote;

const PAGE: &str = include_str!("../../docs/audit.md");

/// Does not compile when there is an event more than [`events`] has: add it there.
fn is_listed(event: &Event) -> bool {
    use Event::{
        Checkpoint, Clock, Header, Intent, Lease, Outcome, Policy, Pruned, Recovered, Refused,
        Start, Stop, Torn,
    };
    match event {
        Header(_) | Start(_) | Stop | Clock(_) | Policy(_) | Intent(_) | Outcome(_) | Lease(_)
        | Refused(_) | Checkpoint(_) | Torn(_) | Recovered(_) | Pruned(_) => true,
    }
}

/// One of each event, with every field that it can have.
fn events() -> Vec<Event> {
    let mut events = of_requests();
    events.extend(of_the_trail());
    events
}

fn of_the_trail() -> Vec<Event> {
    vec![
        Event::Header(Header {
            version: 1,
            host: text(),
            predecessor: Some(Predecessor {
                file: Some(text()),
                head: Head::GENESIS,
            }),
        }),
        Event::Checkpoint(Checkpoint { key: Some(text()) }),
        Event::Torn(Torn {
            bytes: 1,
            sha256: Digest::of(b""),
        }),
        Event::Recovered(Recovered {
            since: text(),
            cause: text(),
            refused: 1,
            lost: 1,
        }),
        Event::Pruned(Pruned {
            file: text(),
            last: Some(Head::GENESIS),
        }),
        Event::Start(Start {
            version: text(),
            pid: 1,
            uid: 1,
            boot_id: Some(text()),
            clock: clock(),
            config: json!("x"),
        }),
        Event::Stop,
        Event::Clock(clock()),
    ]
}

fn of_requests() -> Vec<Event> {
    vec![
        Event::Policy(Policy {
            mode: text(),
            policy_hash: text(),
            rules: 1,
            previous: Some(text()),
        }),
        Event::Intent(request()),
        Event::Outcome(request()),
        Event::Intent(from_a_runner()),
        Event::Outcome(from_a_runner()),
        Event::Lease(LeaseEnd {
            lease_id: text(),
            request_id: text(),
            end: text(),
            project_id: text(),
            job_id: text(),
        }),
        Event::Refused(Refused {
            since: text(),
            count: 1,
            by: vec![RefusedBy {
                uid: Some(1),
                address: Some(IpAddr::from([127, 0, 0, 1])),
                reason: text(),
                count: 1,
            }],
        }),
    ]
}

fn text() -> String {
    "x".to_owned()
}

fn clock() -> Clock {
    Clock {
        synchronised: Some(true),
        step_ms: Some(1),
    }
}

fn from_a_runner() -> Request {
    let remote = Remote {
        address: IpAddr::from([127, 0, 0, 1]),
        certificate: Some(text()),
    };
    Request {
        caller: Caller::Remote(remote),
        ..request()
    }
}

fn request() -> Request {
    Request {
        request_id: text(),
        call: text(),
        reason: Some(text()),
        message: Some(text()),
        duration_ms: 1,
        caller: Caller::Local(Local {
            uid: 1,
            gid: 1,
            pid: Some(1),
        }),
        job: Some(job()),
        unverified: Some(BTreeMap::new()),
        token_uses: Some(1),
        policy: Some(Asked {
            mode: text(),
            hash: text(),
            would_deny: Some(text()),
        }),
        delivery: Some(text()),
        lease_id: Some(text()),
        secrets: vec![Secret {
            variable: text(),
            vault: Some(text()),
            name: text(),
            version: Some(text()),
            rule: Some(text()),
            version_read: Some(text()),
            key_vault_request_id: Some(text()),
            client_request_id: Some(text()),
            warnings: vec![text()],
        }],
    }
}

fn job() -> Job {
    Job {
        issuer: text(),
        subject: text(),
        audience: vec![text()],
        project_id: text(),
        project_path: Some(text()),
        namespace_path: Some(text()),
        git_ref: Some(text()),
        ref_type: Some(text()),
        ref_protected: Some(true),
        environment: Some(text()),
        pipeline_id: Some(text()),
        pipeline_source: Some(text()),
        job_id: text(),
        user: Some(text()),
        runner_id: Some(1),
        sha: Some(text()),
        jti_sha256: Some(Digest::of(b"")),
    }
}

type Fields = BTreeMap<String, BTreeSet<String>>;

/// The paths of all leaves: `job.ref`, `secrets[].name`.
fn leaves(path: &str, value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{name}"), member, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                leaves(&format!("{path}[]"), item, into);
            }
        }
        _ => drop(into.insert(path.to_owned())),
    }
}

/// The line of an event. A reader would take only the last of two members with one name, and what
/// it writes would be shorter.
fn line(event: &Event) -> Value {
    let stamp = Stamp {
        time: std::time::UNIX_EPOCH,
        instance: "x",
    };
    let written = match event {
        Event::Checkpoint(_) => Head::GENESIS.signed_line(&stamp, event, |_| text()),
        _ => Head::GENESIS.line(&stamp, event),
    };
    let line = written.unwrap().0;
    let value: Value = serde_json::from_slice(&line).unwrap();
    let again = serde_json::to_string(&value).unwrap();
    let line = str::from_utf8(&line).unwrap().trim_end();
    assert_eq!(again.len(), line.len(), "a name comes twice: {line}");
    value
}

fn of_records() -> Fields {
    let mut fields = Fields::new();
    for event in events().into_iter().filter(is_listed) {
        let Value::Object(mut line) = line(&event) else {
            panic!("{event:?} is no object");
        };
        let name = line
            .get("event")
            .and_then(Value::as_str)
            .unwrap()
            .to_owned();
        let common = ["seq", "prev", "time", "instance", "event", "hash"];
        let every = fields.entry(String::new()).or_default();
        for common in common {
            assert!(line.remove(common).is_some(), "{common}");
            every.insert(common.to_owned());
        }
        let own = fields.entry(name).or_default();
        if !line.is_empty() {
            leaves("", &line.into(), own);
        }
    }
    fields
}

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned)
}

fn of_the_page() -> Fields {
    let (_, page) = PAGE.split_once("## What is on record\n").unwrap();
    let (page, _) = page.split_once("\n## ").unwrap();
    let mut fields = Fields::new();
    let mut events = vec![String::new()];
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("### ") {
            events = quoted(heading.split(':').next().unwrap()).collect();
            for event in &events {
                fields.entry(event.clone()).or_default();
            }
        }
        let cell = line
            .strip_prefix("| `")
            .and_then(|row| row.split(" | ").next());
        if let Some(cell) = cell {
            for event in &events {
                let own = fields.entry(event.clone()).or_default();
                own.extend(quoted(&format!("`{cell}")));
            }
        }
    }
    fields
}

#[test]
fn the_page_has_every_field_of_every_event_and_no_other() {
    assert_eq!(of_the_page(), of_records());
}
