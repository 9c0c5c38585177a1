//! A period of a trail as a package that stands for itself.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use super::trail::{Auditor, Chain, File, Key, sha256, three};

fn package(auditor: &Auditor, options: &[&str]) -> (String, crate::operator::Ran) {
    let output = auditor.path("package").to_str().unwrap().to_owned();
    let arguments = [&["export", "--output", &output], options].concat();
    let ran = auditor.run(&arguments);
    (output, ran)
}

fn names(directory: &str) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn whole_files_of_the_period_are_packed_and_verify_by_themselves() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let period = [
        "--since",
        "2026-11-21T00:00:07Z",
        "--until",
        "2026-11-21T00:00:12Z",
    ];
    let (output, ran) = package(&auditor, &period);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert_eq!(names(&format!("{output}/trail")), [files[1].name.as_str()]);
    let copy = fs::read(format!("{output}/trail/{}", files[1].name)).unwrap();
    assert_eq!(copy, fs::read(auditor.path(&files[1].name)).unwrap());
    let verified = fs::read_to_string(format!("{output}/verify.txt")).unwrap();
    assert!(verified.starts_with("intact\n"), "{verified}");
    let checkpoints = fs::read_to_string(format!("{output}/checkpoints")).unwrap();
    assert_eq!(checkpoints, format!("{}\n", files[1].lines[5]));
    let manifest = fs::read(format!("{output}/MANIFEST")).unwrap();
    assert!(
        ran.stdout.ends_with(&format!("{}\n", sha256(&manifest))),
        "{}",
        ran.stdout
    );
    let checked = Command::new("sha256sum")
        .args(["--check", "--strict", "--quiet", "MANIFEST"])
        .current_dir(&output)
        .status()
        .unwrap();
    assert!(checked.success());
    let manifest = String::from_utf8(manifest).unwrap();
    assert_eq!(manifest.lines().count(), 5);
    assert_eq!(
        names(&output),
        [
            "MANIFEST",
            "README",
            "checkpoints",
            "policies",
            "trail",
            "verify.json",
            "verify.txt"
        ]
    );
}

#[test]
fn a_package_is_for_its_owner_alone() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    let (output, _) = package(&auditor, &[]);
    for (name, expected) in [("", 0o700), ("trail", 0o700), ("MANIFEST", 0o600)] {
        let metadata = fs::metadata(format!("{output}/{name}")).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, expected, "{name}");
    }
}

#[test]
fn without_a_period_it_is_the_whole_trail_in_any_state() {
    let (_, mut files) = three();
    files[1].lines.remove(2);
    let auditor = Auditor::with(&files);
    let (output, ran) = package(&auditor, &[]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.stdout
            .contains("files 3, policies 0; the trail is NOT INTACT, see verify.txt"),
        "{}",
        ran.stdout
    );
    let verified = fs::read_to_string(format!("{output}/verify.txt")).unwrap();
    assert!(verified.contains("record 9 is missing"), "{verified}");
}

#[test]
fn policies_go_with_the_records_that_refer_to_them() {
    let (text, other) = ("runner-secrets policy 1\n", "another");
    let hashes = [text, other].map(|text| sha256(text.as_bytes()));
    let mut chain = Chain::new();
    let mut lines = vec![chain.header("")];
    for hash in [&hashes[0], &hashes[1], &"../../etc/passwd".to_owned()] {
        lines.push(chain.record(
            "policy",
            &format!(r#","mode":"enforce","policy_hash":"{hash}","rules":1"#),
        ));
        let fields = format!(
            r#","request_id":"r","call":"resolve","policy":{{"mode":"enforce","hash":"{hash}"}}"#
        );
        lines.push(chain.record("intent", &fields));
    }
    let auditor = Auditor::with(&[File {
        name: "audit.jsonl".to_owned(),
        lines,
    }]);
    fs::create_dir(auditor.path("policies")).unwrap();
    auditor.file(&format!("policies/{}.txt", hashes[0]), text);
    // A text that is not the one that its name says is none.
    auditor.file(&format!("policies/{}.txt", hashes[1]), "forged");
    let (output, ran) = package(&auditor, &[]);
    assert_eq!(ran.status, 1);
    assert_eq!(
        ran.stderr,
        format!(
            "runner-secretsd: the policy {} is not beside the trail, and not in the package\n",
            hashes[1]
        )
    );
    assert_eq!(
        names(&format!("{output}/policies")),
        [format!("{}.txt", hashes[0])]
    );
    assert!(
        ran.stdout
            .contains("files 1, policies 1; the trail is intact"),
        "{}",
        ran.stdout
    );
}

#[test]
fn signatures_are_checked_where_the_key_is_given() {
    let mut chain = Chain::new();
    chain.key = Some(Key::new());
    let file = chain.file("audit.jsonl", 4, "");
    let auditor = Auditor::with(&[file]);
    let key = auditor.file("public.pem", chain.key.unwrap().public_pem());
    let (output, ran) = package(&auditor, &["--public-key", &key]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let verified = fs::read_to_string(format!("{output}/verify.txt")).unwrap();
    assert!(verified.contains("signatures checked"), "{verified}");
}

#[test]
fn nothing_is_written_over_and_nothing_half_made_stays() {
    let (_, files) = three();
    let auditor = Auditor::with(&files);
    fs::create_dir(auditor.path("package")).unwrap();
    let kept = auditor.file("package/kept", "kept");
    let (output, ran) = package(&auditor, &[]);
    assert_eq!((ran.status, ran.stdout.as_str()), (1, ""));
    assert!(ran.stderr.contains("File exists"), "{}", ran.stderr);
    assert_eq!(names(&output), ["kept"]);
    fs::remove_file(kept).unwrap();
    fs::remove_dir(&output).unwrap();
    let (_, ran) = package(&auditor, &["--until", "2020-01-01"]);
    assert_eq!(ran.status, 64);
    assert!(
        ran.stderr
            .ends_with("the files have no record of this period\n"),
        "{}",
        ran.stderr
    );
    let (_, ran) = package(&auditor, &["/nonexistent"]);
    assert_eq!(ran.status, 66);
    fs::create_dir(auditor.path("other")).unwrap();
    let twin = auditor.file(
        "other/audit.jsonl",
        fs::read(auditor.path("audit.jsonl")).unwrap(),
    );
    let (output, ran) = package(&auditor, &[&twin]);
    assert_eq!(ran.status, 64);
    assert!(
        ran.stderr
            .contains("two files have the name \"audit.jsonl\""),
        "{}",
        ran.stderr
    );
    assert!(!fs::exists(output).unwrap());
}
