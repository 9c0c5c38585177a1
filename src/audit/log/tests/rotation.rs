//! Full files, renamed files, old files.

use std::fs;

use super::{PATIENCE, Place, events, ids, intent};

fn small(settings: &mut crate::config::Audit) {
    settings.file.as_mut().unwrap().rotate_size = 4096;
}

fn names(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_full_file_ends_with_a_checkpoint_and_the_chain_goes_on_in_the_next() {
    let place = Place::with(small);
    let (log, writer) = place.open();
    let wanted: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for id in &wanted {
        log.commit(intent(id)).await.unwrap();
    }
    writer.close(PATIENCE).unwrap();
    let names = names(&place);
    assert!(names.len() > 3, "{names:?}");
    assert_eq!(names[0], "audit-000000000001.jsonl");
    for name in &names {
        let path = place.path(name);
        let found = super::records(&path);
        assert_eq!(found[0]["event"], "header");
        assert_eq!(found.last().unwrap()["event"], "checkpoint");
        assert!(fs::metadata(&path).unwrap().len() < 6000);
        if name != "audit.jsonl" {
            assert_eq!(
                *name,
                format!("audit-{:012}.jsonl", found[0]["seq"].as_u64().unwrap())
            );
        }
    }
    let trail = place.trail();
    assert_eq!(trail[0]["seq"], 1);
    assert_eq!(ids(&trail), wanted);
}

#[tokio::test]
async fn a_full_file_that_cannot_be_renamed_grows() {
    let place = Place::with(small);
    fs::create_dir(place.path("audit-000000000001.jsonl")).unwrap();
    let (log, writer) = place.open();
    for number in 0..40 {
        log.commit(intent(number)).await.unwrap();
    }
    assert!(log.failing().is_none());
    writer.close(PATIENCE).unwrap();
    assert_eq!(ids(&place.records()).len(), 40);
}

#[tokio::test]
async fn old_files_are_deleted_and_the_trail_says_so() {
    let place = Place::with(|settings| {
        small(settings);
        settings.file.as_mut().unwrap().keep = Some(2);
    });
    let (log, writer) = place.open();
    let mut state = log.watch();
    let mut number = 0;
    while names(&place).len() < 4 || place.path("audit-000000000001.jsonl").exists() {
        assert!(number < 10_000, "nothing is ever deleted");
        log.commit(intent(number)).await.unwrap();
        number += 1;
    }
    writer.close(PATIENCE).unwrap();
    assert!(state.borrow_and_update().failing.is_none());
    let trail = place.trail();
    let pruned = trail.iter().find(|record| record["event"] == "pruned");
    let pruned = pruned.or_else(|| trail.first()).unwrap();
    assert!(
        pruned["event"] == "pruned" || pruned["event"] == "header",
        "{pruned}"
    );
}

#[tokio::test]
async fn a_file_that_logrotate_renamed_gets_its_checkpoint_when_the_daemon_is_told() {
    let place = Place::new();
    let (log, writer) = place.open();
    log.commit(intent("a")).await.unwrap();
    log.reopen();
    log.commit(intent("b")).await.unwrap();
    assert_eq!(
        place.records().len(),
        3,
        "nothing was renamed, so nothing changes"
    );
    fs::rename(place.current(), place.path("audit.jsonl.1")).unwrap();
    log.reopen();
    log.commit(intent("c")).await.unwrap();
    assert!(log.failing().is_none());
    writer.close(PATIENCE).unwrap();
    let old = super::records(&place.path("audit.jsonl.1"));
    assert_eq!(events(&old), ["header", "intent", "intent", "checkpoint"]);
    assert_eq!(events(&place.records())[..2], ["header", "intent"]);
    assert_eq!(ids(&place.trail()), ["a", "b", "c"]);
}
