use std::{collections::BTreeMap, fs, os::unix::net::UnixListener, path::Path};

use super::{Client, Content, Environment, Lease, Places, Retrieval};
use crate::{client::later, name::VariableName, secret::SecretValue};

fn variable(name: &str) -> VariableName {
    VariableName::parse(name).unwrap()
}

/// A retrieval of nothing, from a server that was only connected to.
async fn empty(place: &Path) -> Retrieval {
    let socket = place.join("api.sock");
    let _listener = UnixListener::bind(&socket).unwrap();
    let uid = rustix::process::geteuid().as_raw();
    Retrieval {
        client: Client::connect(&socket, &[uid]).await.unwrap(),
        token: None,
        variables: BTreeMap::new(),
        lease: None,
        local: None,
        request_id: String::new(),
        warnings: Vec::new(),
    }
}

#[tokio::test]
async fn later_stages_learn_of_files_on_a_disk_but_never_of_values() {
    let place = tempfile::tempdir().unwrap();
    let project = place.path().join("project.tmp");
    let told = place.path().join("gitlab_runner_env");
    let environment: Environment = [("GITLAB_ENV", &told)].into_iter().collect();
    let mut retrieval = empty(place.path()).await;
    let contents = BTreeMap::from([
        (
            variable("A"),
            Content::File(SecretValue::new(b"a".to_vec())),
        ),
        (
            variable("B"),
            Content::Value(SecretValue::new(b"canary".to_vec())),
        ),
    ]);
    let places = Places::new(Vec::new(), Some(project.clone()), "812");
    retrieval.take(contents, &places, true).unwrap();

    later::tell(&retrieval, &environment).unwrap();
    let Some(Lease::Local(directory)) = retrieval.lease() else {
        panic!("no lease of the client's own");
    };
    let directory = directory.to_str().unwrap();
    assert_eq!(
        fs::read_to_string(&told).unwrap(),
        format!("A={directory}/A\nRUNNER_SECRETS_LEASE=file:{directory}\n")
    );
    retrieval.release().await.unwrap();
    assert_eq!(fs::read_dir(&project).unwrap().count(), 0);
}

#[tokio::test]
async fn later_stages_are_not_sent_to_memory_that_is_gone() {
    let place = tempfile::tempdir().unwrap();
    let told = place.path().join("gitlab_runner_env");
    let environment: Environment = [("GITLAB_ENV", &told)].into_iter().collect();
    let mut retrieval = empty(place.path()).await;
    let contents = BTreeMap::from([(
        variable("A"),
        Content::File(SecretValue::new(b"a".to_vec())),
    )]);
    let places = Places::new(vec!["/dev/shm".into()], None, "812");
    retrieval.take(contents, &places, false).unwrap();
    later::tell(&retrieval, &environment).unwrap();
    assert!(!told.exists());
    retrieval.release().await.unwrap();
}

#[test]
fn a_lease_says_who_deletes_the_files() {
    for (text, lease) in [
        ("0a1b", Lease::Daemon("0a1b".into())),
        (
            "file:/dev/shm/runner-secrets-0/0a",
            Lease::Local("/dev/shm/runner-secrets-0/0a".into()),
        ),
    ] {
        assert_eq!(Lease::parse(text), lease);
        assert_eq!(lease.to_string(), text);
    }
}
