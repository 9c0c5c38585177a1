//! Checkpoints that are signed, and those that are not, or not with the right key.

use super::trail::{Auditor, Chain, File, Key, three, three_of};

fn signed() -> (Chain, Vec<File>) {
    let mut chain = Chain::new();
    chain.key = Some(Key::new());
    let files = three_of(&mut chain);
    (chain, files)
}

/// An auditor with the files and with the public key of `key`.
fn auditor(files: &[File], key: &Key) -> (Auditor, String) {
    let auditor = Auditor::with(files);
    let path = auditor.file("public.pem", key.public_pem());
    (auditor, path)
}

#[test]
fn signed_checkpoints_verify_with_the_public_key() {
    let (mut chain, mut files) = signed();
    files[2].lines.push(chain.record("stop", ""));
    let key = chain.key.unwrap();
    let (auditor, path) = auditor(&files, &key);
    let facts = auditor.facts(&["--public-key", &path]);
    let id = key.id();
    assert_eq!(
        facts[4],
        format!("checkpoints  3, 3 signed with {id}, signatures checked")
    );
    let note = "note: 1 records after the last signed checkpoint, record 18, are not signed yet";
    assert!(facts.contains(&note.to_owned()), "{facts:?}");
    let unchecked = auditor.facts(&[]);
    let note = "note: the signatures of the checkpoints were not checked: that takes --public-key";
    assert!(unchecked.contains(&note.to_owned()), "{unchecked:?}");
}

#[test]
fn keys_may_change_when_all_are_given() {
    let mut chain = Chain::new();
    chain.key = Some(Key::new());
    let first = chain.file("audit-000000000001.jsonl", 4, "");
    let one = chain.key.replace(Key::new()).unwrap();
    let second = chain.file("audit.jsonl", 4, "audit-000000000001.jsonl");
    let two = chain.key.unwrap();
    let (auditor, path) = auditor(&[first, second], &one);
    let other = auditor.file("two.pem", two.public_pem());
    auditor.facts(&["--public-key", &path, "--public-key", &other]);
    let found = auditor.damages(&["--public-key", &path]);
    assert_eq!(
        found,
        [format!(
            "audit.jsonl:4: the checkpoint is signed with another key, {}",
            two.id()
        )]
    );
}

#[test]
fn a_checkpoint_without_a_signature_is_found() {
    let (_, files) = three();
    let (auditor, path) = auditor(&files[..1], &Key::new());
    let found = auditor.damages(&["--public-key", &path]);
    assert_eq!(
        found[0],
        "audit-000000000001.jsonl:6: the checkpoint is not signed"
    );
    assert!(
        found[1].starts_with("the trail: no checkpoint is signed with "),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn a_trail_without_a_checkpoint_is_not_signed() {
    let mut chain = Chain::new();
    let mut file = chain.file("audit.jsonl", 4, "");
    file.lines.pop();
    let (auditor, path) = auditor(&[file], &Key::new());
    let found = auditor.damages(&["--public-key", &path]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("the trail: no checkpoint is signed with "),
        "{found:?}"
    );
}

#[test]
fn a_forged_signature_is_found() {
    // Somebody without the key writes the trail again and says that the key signed it.
    let (chain, _) = signed();
    let key = chain.key.unwrap();
    let mut forger = Chain::new();
    let mut file = forger.file("audit.jsonl", 4, "");
    let (_, signed) = signed();
    let (_, signature) = signed[0].lines[5].split_once(r#","signature":""#).unwrap();
    let (signature, _) = signature.split_once('"').unwrap();
    let fields = format!(r#","key":"{}","signature":"{signature}""#, key.id());
    file.lines.push(forger.record("checkpoint", &fields));
    file.lines.remove(3);
    forger = Chain::new();
    let mut file = File {
        lines: forger.file("audit.jsonl", 4, "").lines,
        ..file
    };
    file.lines.push(forger.record("checkpoint", &fields));
    let (auditor, path) = auditor(&[file], &key);
    let found = auditor.damages(&["--public-key", &path]);
    assert!(
        found.contains(&"audit.jsonl:5: the signature of the checkpoint is wrong".to_owned()),
        "{found:?}"
    );
}

#[test]
fn a_kept_checkpoint_has_to_be_signed_too() {
    let (chain, files) = signed();
    let (auditor, path) = auditor(&files, &chain.key.unwrap());
    let (_, unsigned) = three();
    let kept = auditor.file("kept", &unsigned[0].lines[5]);
    let ran = auditor.run(&["verify", "--public-key", &path, "--from-checkpoint", &kept]);
    assert_eq!((ran.status, ran.stdout.as_str()), (64, ""));
    assert!(
        ran.stderr
            .ends_with("is not signed with the key of --public-key\n"),
        "{}",
        ran.stderr
    );
    let kept = auditor.file("kept", &files[0].lines[5]);
    auditor.facts(&["--public-key", &path, "--from-checkpoint", &kept]);
}

#[test]
fn what_is_no_public_key_is_refused() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let path = auditor.file(
        "public.pem",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    );
    let ran = auditor.run(&["verify", "--public-key", &path]);
    assert_eq!((ran.status, ran.stdout.as_str()), (64, ""));
    assert!(
        ran.stderr.contains("an Ed25519 public key in PEM"),
        "{}",
        ran.stderr
    );
}
