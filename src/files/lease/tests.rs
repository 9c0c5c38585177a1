use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{End, Granted, Holder, Leases, Terms};
use crate::{
    error::Error,
    files::{
        Base,
        moment::{Alarm, Moment},
        owner::Owner,
    },
    process::Process,
};

const MINUTE: Duration = Duration::from_secs(60);

fn holder(uid: u32, job_id: &str) -> Holder {
    Holder {
        uid,
        issuer: "https://gitlab.example.com".into(),
        project_id: "1".into(),
        job_id: job_id.into(),
    }
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn terms(left: Duration) -> Terms {
    Terms {
        request_id: "r".into(),
        holder: holder(own_uid(), "7"),
        until: Moment::in_future(left),
        owner: None,
    }
}

/// Which leases ended, and how.
type Ends = Arc<Mutex<Vec<(String, End)>>>;

fn leases() -> (Arc<Leases>, Ends) {
    let ends = Ends::default();
    let heard = ends.clone();
    let leases = Leases::new(None, move |ended| {
        heard.lock().unwrap().push((ended.lease, ended.end));
    });
    (Arc::new(leases), ends)
}

fn grant(leases: &Arc<Leases>, place: &Path, terms: Terms) -> Granted {
    let base = Base::open(place).unwrap();
    let values = std::iter::empty();
    leases.grant(&base, 0o400, values, terms).unwrap()
}

fn count(place: &Path) -> usize {
    fs::read_dir(place).unwrap().count()
}

#[tokio::test]
async fn a_lease_ends_by_release_of_its_owner_only() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    let (me, other) = (own_uid(), own_uid() + 1);
    let id = grant(&leases, place.path(), terms(MINUTE)).keep();
    assert!(leases.release(&id, &holder(me, "8")).is_err());
    assert!(leases.release(&id, &holder(other, "7")).is_err());
    assert_eq!(count(place.path()), 1);
    assert!(ends.lock().unwrap().is_empty());
    assert!(leases.release(&id, &holder(me, "7")).unwrap());
    assert_eq!(count(place.path()), 0);
    assert!(!leases.release(&id, &holder(me, "7")).unwrap());
    assert_eq!(*ends.lock().unwrap(), [(id, End::Released)]);
}

#[tokio::test]
async fn leases_end_when_their_time_is_over_and_not_before() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    let alarm = Alarm::new().unwrap();
    let long = grant(&leases, place.path(), terms(MINUTE)).keep();
    for wait in [0, 50] {
        let terms = terms(Duration::from_millis(wait));
        let until = terms.until;
        let id = grant(&leases, place.path(), terms).keep();
        assert_eq!(count(place.path()), 2);
        let gone = async {
            while ends.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = leases.expire(&alarm) => {}
            gone = tokio::time::timeout(Duration::from_secs(30), gone) => gone.unwrap(),
        }
        assert!(Moment::now() >= until);
        assert_eq!(count(place.path()), 1);
        assert_eq!(ends.lock().unwrap().pop(), Some((id, End::Expired)));
    }
    assert!(leases.release(&long, &holder(own_uid(), "7")).unwrap());
}

#[test]
fn the_end_of_the_daemon_ends_all_leases() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    let id = grant(&leases, place.path(), terms(MINUTE)).keep();
    leases.end_all();
    assert_eq!(count(place.path()), 0);
    assert_eq!(*ends.lock().unwrap(), [(id, End::Stopped)]);
}

#[test]
fn a_lease_that_nobody_hears_of_ends_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    let granted = grant(&leases, place.path(), terms(MINUTE));
    let id = granted.id().to_owned();
    assert_eq!(count(place.path()), 1);
    drop(granted);
    assert_eq!(count(place.path()), 0);
    assert_eq!(*ends.lock().unwrap(), [(id, End::Abandoned)]);
    leases.end_all();
    assert_eq!(ends.lock().unwrap().len(), 1);
}

#[test]
fn nothing_is_granted_that_would_be_deleted_at_once() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    leases.close();
    let base = Base::open(place.path()).unwrap();
    let refused = leases.grant(&base, 0o400, std::iter::empty(), terms(MINUTE));
    assert!(matches!(refused, Err(Error::DeadlineExceeded { .. })));
    assert_eq!(count(place.path()), 0);
    assert!(ends.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_ends_with_its_owner() {
    let place = tempfile::tempdir().unwrap();
    let (leases, ends) = leases();
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let process = Process::open(pid).unwrap().unwrap();
    let owner = Owner::of(pid, &process, own_uid()).unwrap();
    let terms = Terms {
        owner: Some((owner, Duration::ZERO)),
        ..terms(10 * MINUTE)
    };
    let alarm = Alarm::new().unwrap();
    let id = grant(&leases, place.path(), terms).keep();
    assert_eq!(count(place.path()), 1);
    drop(child.stdin.take());
    child.wait().unwrap();
    let gone = async {
        while ends.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = leases.expire(&alarm) => {}
        gone = tokio::time::timeout(Duration::from_secs(30), gone) => gone.unwrap(),
    }
    assert_eq!(count(place.path()), 0);
    assert_eq!(*ends.lock().unwrap(), [(id, End::OwnerEnded)]);
}
