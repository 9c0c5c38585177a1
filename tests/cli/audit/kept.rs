//! A trail against what somebody kept elsewhere: heads and checkpoints.

use super::trail::{Auditor, Chain, three};

fn head_of(line: &str, seq: u64) -> String {
    let (_, hash) = line.rsplit_once(r#""hash":""#).unwrap();
    format!("{seq}:{}", hash.strip_suffix("\"}").unwrap())
}

#[test]
fn a_cut_end_is_found_with_the_head() {
    let (chain, mut files) = three();
    let head = chain.head();
    let whole = Auditor::with(&files).facts(&["--head", &head]);
    assert!(
        whole.iter().all(|fact| !fact.contains("cut off")),
        "{whole:?}"
    );
    files[2].lines.truncate(2);
    let auditor = Auditor::with(&files);
    // A chain cannot show it by itself, and says so.
    assert!(
        auditor
            .facts(&[])
            .iter()
            .any(|fact| fact.contains("cut off the end cannot be seen"))
    );
    let found = auditor.damages(&["--head", &head]);
    assert_eq!(
        found,
        [
            "the trail: records 15 to 18 are missing at the end: they were cut off after --head was taken"
        ]
    );
    files.truncate(2);
    let found = Auditor::with(&files).damages(&["--head", &head]);
    assert_eq!(
        found,
        [
            "the trail: records 13 to 18 are missing at the end: they were cut off after --head was taken"
        ]
    );
}

#[test]
fn a_trail_that_has_grown_since_still_has_the_head() {
    let (_, files) = three();
    let head = head_of(&files[1].lines[3], 10);
    let facts = Auditor::with(&files).facts(&["--head", &head]);
    let note = "note: 8 records are newer than what --head names: that some of their end was cut off cannot be seen";
    assert!(facts.contains(&note.to_owned()), "{facts:?}");
}

#[test]
fn a_trail_that_was_written_again_is_found_with_the_head() {
    let (_, files) = three();
    let head = head_of(&files[1].lines[3], 10);
    let mut chain = Chain::new();
    chain.second = 1;
    let forged = super::trail::three_of(&mut chain);
    let found = Auditor::with(&forged).damages(&["--head", &head]);
    assert_eq!(
        found,
        [format!(
            "{}:4: record 10 is not the one that --head names: the trail was altered and sealed again",
            forged[1].name
        )]
    );
}

#[test]
fn a_checkpoint_kept_elsewhere_has_to_be_in_the_trail_or_right_before_it() {
    let (_, files) = three();
    let kept = Auditor::new();
    let checkpoint = kept.file("checkpoint", format!("{}\n", files[0].lines[5]));
    let options = ["--from-checkpoint", checkpoint.as_str()];
    Auditor::with(&files).facts(&options);
    Auditor::with(&files[1..]).facts(&options);
    let found = Auditor::with(&files[2..]).damages(&options);
    assert_eq!(
        found,
        ["the trail: record 6, which --from-checkpoint names, is not here"]
    );
    let checkpoint = kept.file("checkpoint", &files[2].lines[5]);
    let found = Auditor::with(&files[..2]).damages(&["--from-checkpoint", &checkpoint]);
    assert_eq!(
        found,
        [
            "the trail: records 13 to 18 are missing at the end: they were cut off after --from-checkpoint was taken"
        ]
    );
}

#[test]
fn what_is_no_checkpoint_is_refused() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let altered = files[0].lines[5].replace(":05.", ":06.");
    for text in [
        "",
        "{}",
        &altered,
        &files[0].lines[1],
        &files[0].lines.join("\n"),
    ] {
        let file = auditor.file("kept", text);
        let ran = auditor.run(&["verify", "--from-checkpoint", &file]);
        assert_eq!((ran.status, ran.stdout.as_str()), (64, ""));
        assert!(
            ran.stderr
                .ends_with("is not one line with an unaltered checkpoint\n"),
            "{}",
            ran.stderr
        );
    }
}
