//! Which version of a secret a job gets, and what it is told about it.

use azure_emulator::Attributes;

use crate::{call::ask, stage::Stage};

#[tokio::test]
async fn a_pinned_version_keeps_its_bytes_and_the_answer_names_the_version_read() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let token = stage.token();
    let old = stage.put("rotated", "the old one");
    let before = caller.resolve(ask(&token).value("LATEST", "rotated")).await;
    assert_eq!(before.unwrap().variables["LATEST"].version, old);

    let new = stage.put("rotated", "the new one");
    assert_ne!(old, new);
    let request = ask(&token)
        .pinned("OLD", "rotated", &old)
        .pinned("SHOUTED", "rotated", &old.to_uppercase())
        .pinned("NEW", "rotated", &new)
        .value("LATEST", "rotated")
        .file("FILE", "rotated");
    let answer = caller.resolve(request.clone()).await.unwrap();
    let bytes = caller.bytes(request).await;
    for (variable, value, version) in [
        ("OLD", "the old one", &old),
        ("SHOUTED", "the old one", &old),
        ("NEW", "the new one", &new),
        ("LATEST", "the new one", &new),
        ("FILE", "the new one", &new),
    ] {
        assert_eq!(bytes[variable], value.as_bytes(), "{variable}");
        assert_eq!(answer.variables[variable].version, *version, "{variable}");
        assert_eq!(answer.variables[variable].file, variable == "FILE");
        assert!(answer.variables[variable].warnings.is_empty());
    }
}

#[tokio::test]
async fn names_compare_without_case() {
    let stage = Stage::new().await;
    stage.put("Mixed-Case", "x");
    let request = ask(&stage.token()).value("A", "mIXED-cASE");
    assert_eq!(stage.caller().await.bytes(request).await["A"], b"x");
}

#[tokio::test]
async fn expired_and_early_secrets_are_given_with_a_warning() {
    let stage = Stage::new().await;
    let expired = Attributes {
        exp: Some(1_500_000_000),
        ..Attributes::default()
    };
    let early = Attributes {
        nbf: Some(4_000_000_000),
        ..Attributes::default()
    };
    stage.put_with("expired", "x", expired);
    stage.put_with("early", "y", early);
    let request = ask(&stage.token())
        .value("EXPIRED", "expired")
        .file("EARLY", "early");
    let caller = stage.caller().await;
    let answer = caller.resolve(request.clone()).await.unwrap();
    assert_eq!(
        answer.variables["EXPIRED"].warnings,
        ["expired in Key Vault on 2017-07-14"]
    );
    assert_eq!(
        answer.variables["EARLY"].warnings,
        ["is not valid in Key Vault before 2096-10-02"]
    );
    assert_eq!(caller.bytes(request).await["EXPIRED"], b"x");
}
