//! What happens to the file: every request meanwhile is refused, and the trail goes on by itself
//! when the cause is gone.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use rustix::fs::{CWD, FileType, Mode};
use serde_json::Value;

use super::{PATIENCE, Place, events, ids, intent, works};

type Content<'a> = &'a dyn Fn(&Place) -> Vec<u8>;
type Make<'a> = &'a dyn Fn(&Path);

fn put(path: &Path, bytes: &[u8]) {
    let mut file = File::create_new(path).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o640))
        .unwrap();
    file.write_all(bytes).unwrap();
}

/// Has a log write, does something to its files, and gives the cause that the next request is
/// refused for and all records after it works again.
async fn after(harm: impl FnOnce(&Place), repair: impl FnOnce(&Place)) -> (String, Place) {
    let place = Place::new();
    let (log, writer) = place.open();
    log.commit(intent("before")).await.unwrap();
    log.write(intent("written before"));
    log.commit(intent("before, too")).await.unwrap();
    harm(&place);
    let cause = log.commit(intent("refused")).await.unwrap_err().cause;
    assert_eq!(log.failing().unwrap().cause, cause);
    log.refused();
    log.commit(intent("refused at once")).await.unwrap_err();
    log.write(intent("kept"));
    repair(&place);
    works(&log).await;
    log.commit(intent("after")).await.unwrap();
    writer.close(PATIENCE).unwrap();
    (cause, place)
}

fn recovered(records: &[Value]) -> &Value {
    let mut found = records
        .iter()
        .filter(|record| record["event"] == "recovered");
    let recovered = found.next().unwrap();
    assert!(found.next().is_none());
    recovered
}

/// The end of a trail that went on: nothing of the refused requests, what was kept, then the rest.
fn goes_on(records: &[Value], ids_after: &[&str]) {
    let at = records
        .iter()
        .position(|record| record["event"] == "recovered");
    assert_eq!(ids(&records[at.unwrap()..]), ids_after);
    assert_eq!(recovered(records)["refused"], 1);
    assert_eq!(recovered(records)["lost"], 0);
    assert!(!ids(records).contains(&"refused at once"));
}

#[tokio::test]
async fn a_deleted_file_is_noticed_and_a_new_one_says_what_was_before() {
    let (cause, place) = after(|place| fs::remove_file(place.current()).unwrap(), |_| {}).await;
    assert!(
        cause.ends_with("audit.jsonl is gone: it was deleted or renamed"),
        "{cause}"
    );
    let found = place.records();
    assert_eq!(events(&found)[..2], ["header", "recovered"]);
    assert_eq!(found[0]["predecessor"]["seq"], 4);
    assert_eq!(found[0]["predecessor"]["file"], Value::Null);
    assert_eq!(recovered(&found)["cause"], cause);
    goes_on(&found, &["kept", "after"]);
}

#[tokio::test]
async fn a_renamed_file_is_noticed_and_the_chain_goes_over_to_a_new_one() {
    let rename = |place: &Place| fs::rename(place.current(), place.path("audit.jsonl.1")).unwrap();
    let (cause, place) = after(rename, |_| {}).await;
    assert!(
        cause.ends_with("is gone: it was deleted or renamed"),
        "{cause}"
    );
    assert_eq!(place.records()[0]["predecessor"]["file"], "audit.jsonl.1");
    let trail = place.trail();
    assert_eq!(trail[0]["seq"], 1);
    goes_on(&trail, &["kept", "after"]);
}

#[tokio::test]
async fn an_empty_file_in_its_place_is_noticed_and_gets_a_header() {
    let replace = |place: &Place| {
        fs::rename(place.current(), place.path("audit.jsonl.1")).unwrap();
        put(&place.current(), b"");
    };
    let (cause, place) = after(replace, |_| {}).await;
    assert!(
        cause.ends_with("is another file than the daemon writes to: it was replaced"),
        "{cause}"
    );
    goes_on(&place.trail(), &["kept", "after"]);
}

#[tokio::test]
async fn a_copy_in_its_place_is_noticed_and_gone_on_with() {
    let replace = |place: &Place| {
        let bytes = fs::read(place.current()).unwrap();
        fs::remove_file(place.current()).unwrap();
        put(&place.current(), &bytes);
    };
    let (cause, place) = after(replace, |_| {}).await;
    assert!(cause.ends_with("it was replaced"), "{cause}");
    let found = place.records();
    assert_eq!(found[0]["seq"], 1);
    goes_on(&found, &["kept", "after"]);
}

#[tokio::test]
async fn what_does_not_end_where_the_chain_is_has_to_be_moved_away() {
    let older = |place: &Place| {
        let bytes = fs::read(place.current()).unwrap();
        let lines: Vec<_> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        lines[..1].concat()
    };
    let foreign = |_: &Place| b"Nov 21 09:00:00 host sshd: hello\n".to_vec();
    let begin = |place: &Place| fs::read(place.current()).unwrap()[..100].to_vec();
    let cases: [(Content<'_>, &str); 3] = [
        (
            &older,
            "is another file, or something was cut off; move it away",
        ),
        (
            &foreign,
            "holds something else than the daemon's audit trail; move it away",
        ),
        (
            &begin,
            "holds something else than the daemon's audit trail; move it away",
        ),
    ];
    for (content, expected) in cases {
        let place = Place::new();
        let (log, writer) = place.open();
        log.commit(intent("before")).await.unwrap();
        let bytes = content(&place);
        fs::rename(place.current(), place.path("old")).unwrap();
        put(&place.current(), &bytes);
        log.commit(intent("refused")).await.unwrap_err();
        let mut state = log.watch();
        let told = |state: &super::super::State| {
            let failing = state.failing.as_ref();
            failing.is_some_and(|failing| failing.cause.ends_with(expected))
        };
        let waited = tokio::time::timeout(PATIENCE, state.wait_for(told));
        let is_told = waited.await.is_ok();
        assert!(is_told, "{:?}, not {expected}", log.failing());
        assert_eq!(
            fs::read(place.current()).unwrap(),
            bytes,
            "nothing is written to it"
        );
        fs::remove_file(place.current()).unwrap();
        log.reopen();
        works(&log).await;
        fs::rename(place.path("old"), place.path("audit.jsonl.1")).unwrap();
        writer.close(PATIENCE).unwrap();
        assert_eq!(ids(&place.trail()), ["before"]);
    }
}

#[tokio::test]
async fn a_file_that_was_cut_or_added_to_is_noticed() {
    let add = |place: &Place| {
        let mut file = File::options().append(true).open(place.current()).unwrap();
        file.write_all(b"a line of\nsomebody else's\n").unwrap();
    };
    let (cause, place) = after(add, |_| {}).await;
    assert!(
        cause.contains("has another length than the daemon has written"),
        "{cause}"
    );
    let found = place.records();
    let torn = found
        .iter()
        .find(|record| record["event"] == "torn")
        .unwrap();
    assert_eq!(torn["bytes"], 26);
    goes_on(&found, &["kept", "after"]);

    let cut = |place: &Place| {
        File::options()
            .write(true)
            .open(place.current())
            .unwrap()
            .set_len(0)
            .unwrap();
    };
    let (cause, place) = after(cut, |_| {}).await;
    assert!(
        cause.contains("has another length than the daemon has written"),
        "{cause}"
    );
    assert_eq!(place.records()[0]["predecessor"]["seq"], 4);
}

#[tokio::test]
async fn a_file_that_others_may_write_to_is_no_trail() {
    let mode = |mode| {
        move |place: &Place| {
            fs::set_permissions(place.current(), fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    for open in [0o660, 0o602] {
        let (cause, place) = after(mode(open), mode(0o640)).await;
        assert!(cause.contains("others may write to it"), "{cause}");
        goes_on(&place.records(), &["kept", "after"]);
    }
}

#[tokio::test]
async fn a_directory_that_is_gone_is_waited_for() {
    let moved = |place: &Place| place.directory.path().with_extension("moved");
    let (cause, place) = after(
        |place| fs::rename(place.directory.path(), moved(place)).unwrap(),
        |place| fs::rename(moved(place), place.directory.path()).unwrap(),
    )
    .await;
    assert!(
        cause.ends_with("is gone: it was deleted or renamed"),
        "{cause}"
    );
    goes_on(&place.records(), &["kept", "after"]);
}

#[tokio::test]
async fn nothing_but_a_plain_file_is_written_to() {
    let fifo = |path: &Path| {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    };
    let cases: [(Make<'_>, &str); 4] = [
        (&fifo, "is no regular file; move it away"),
        (
            &|path| fs::create_dir(path).unwrap(),
            "Is a directory (os error 21)",
        ),
        (
            &|path| symlink("/dev/null", path).unwrap(),
            "is a symbolic link; name the file that it leads to",
        ),
        (
            &|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            "is no regular file; move it away",
        ),
    ];
    for (make, expected) in cases {
        let place = Place::new();
        make(&place.current());
        let said = place.refuses();
        assert!(said.ends_with(expected), "{said}");
    }
    let (cause, place) = after(
        |place| {
            fs::rename(place.current(), place.path("audit.jsonl.1")).unwrap();
            fifo(&place.current());
        },
        |place| fs::remove_file(place.current()).unwrap(),
    )
    .await;
    assert!(cause.ends_with("it was replaced"), "{cause}");
    goes_on(&place.trail(), &["kept", "after"]);
}

#[tokio::test]
async fn what_cannot_be_a_trail_keeps_the_daemon_from_starting() {
    let place = Place::new();
    put(&place.current(), b"something else\n");
    assert!(
        place.refuses().ends_with("move it away"),
        "{}",
        place.refuses()
    );
    let place = Place::new();
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(
        place.refuses().contains("others may write to it"),
        "{}",
        place.refuses()
    );
    let place = Place::new();
    fs::remove_dir(place.directory.path()).unwrap();
    let said = place.refuses();
    assert!(
        said.ends_with(
            "is no directory; make it for the daemon alone: install -d -m 0750 -o USER DIRECTORY"
        ),
        "{said}"
    );
    fs::create_dir(place.directory.path()).unwrap();
}

#[tokio::test]
async fn a_line_that_broke_off_is_closed_off_at_the_next_start() {
    for keep in [1, 30, 200] {
        let place = Place::new();
        place.open().1.close(PATIENCE).unwrap();
        let bytes = fs::read(place.current()).unwrap();
        let last = bytes
            .trim_ascii_end()
            .iter()
            .rposition(|byte| *byte == b'\n')
            .unwrap()
            + 1;
        let file = File::options().write(true).open(place.current()).unwrap();
        file.set_len((last + keep) as u64).unwrap();
        place.open().1.close(PATIENCE).unwrap();
        let found = place.records();
        assert_eq!(
            events(&found),
            ["header", "stop", "torn", "stop", "checkpoint"]
        );
        assert_eq!(found[2]["bytes"], keep as u64);
    }
}

#[tokio::test]
async fn a_line_that_only_lacks_its_end_is_a_record() {
    let place = Place::new();
    place.open().1.close(PATIENCE).unwrap();
    let length = fs::metadata(place.current()).unwrap().len();
    let file = File::options().write(true).open(place.current()).unwrap();
    file.set_len(length - 1).unwrap();
    place.open().1.close(PATIENCE).unwrap();
    let found = place.records();
    assert_eq!(
        events(&found),
        ["header", "stop", "checkpoint", "stop", "checkpoint"]
    );
    let text = fs::read_to_string(place.current()).unwrap();
    assert_eq!(text.lines().count(), 5);
}
