//! What holds for all rules and jobs.

use proptest::{prelude::*, sample};

use super::{asked, claims, rules};
use crate::{
    config::rule::Rules,
    policy::{Asked, Defaults, Policy},
    vault::Origin,
};

/// A small world, so that rules and jobs meet often.
fn a_rule() -> impl Strategy<Value = String> {
    let path = sample::select(vec![
        "'a/x'",
        "'a/*'",
        "'**'",
        "'b/**'",
        "['a/y', 'a/x', 'a/y']",
        "['a/x', 'b/**']",
    ]);
    let claim = sample::select(vec![
        "ref = 'main'",
        "ref = ['main', 'r/**']",
        "environment = '*'",
        "ref_protected = true",
    ]);
    let vault = sample::select(vec![
        "'https://v.test'",
        "'https://w.test'",
        "'https://v.test', 'https://w.test'",
    ]);
    let secrets = sample::select(vec!["s", "t", "*"]);
    let flags = sample::select(vec!["", "allow_forks = true", "require_version = true"]);
    (path, claim, vault, secrets, flags).prop_map(|(path, claim, vault, secrets, flags)| {
        format!("bound_claims = {{ project_path = {path}, {claim} }}\nvaults = [{vault}]\nsecrets = ['{secrets}']\n{flags}\n")
    })
}

fn a_policy() -> impl Strategy<Value = Rules> {
    proptest::collection::vec(a_rule(), 0..6).prop_map(|bodies| {
        let numbered = bodies.iter().enumerate();
        let text = numbered.map(|(index, body)| format!("[[rule]]\nname = 'r{index}'\n{body}"));
        rules(&text.collect::<String>())
    })
}

fn a_job() -> impl Strategy<Value = String> {
    let path = sample::select(vec!["a/x", "a/y", "b/c/d"]);
    let more = sample::subsequence(
        vec![
            r#","ref":"main""#,
            r#","environment":"prod""#,
            r#","ref_protected":"true""#,
            r#","job_project_path":"a/x""#,
        ],
        0..=4,
    );
    (path, more).prop_map(|(path, more)| format!(r#","project_path":"{path}"{}"#, more.concat()))
}

fn an_asked() -> impl Strategy<Value = Asked> {
    let secret = sample::select(vec!["s", "t", "u"]);
    let vault = sample::select(vec![None, Some("https://v.test"), Some("https://w.test")]);
    (secret, vault).prop_map(|(secret, vault)| Asked {
        vault: vault.map(|vault| Origin::parse(vault).unwrap()),
        ..asked("V", secret)
    })
}

/// Who grants, and what: everything that a verdict says.
fn verdict(rules: &Rules, job: &str, asked: &Asked) -> Option<(Option<String>, String)> {
    let policy = Policy::new(rules.clone(), Defaults::default());
    let grant = policy
        .authorise(&claims(job), std::slice::from_ref(asked))
        .ok()?;
    let granted = &grant.secrets[0];
    Some((granted.rule().map(str::to_owned), granted.vault.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_claim_that_no_rule_names_never_changes_a_verdict(
        rules in a_policy(),
        job in a_job(),
        asked in an_asked(),
        name in "[a-z_]{1,12}",
        value in sample::select(vec!["\"true\"", "\"a/x\"", "7", "[\"main\"]", "null", "{\"a\":1}"]),
    ) {
        // What the daemon itself gives a meaning to is as good as named.
        let named = ["ref", "environment", "ref_protected", "iss", "sub", "aud", "exp"];
        let typed = format!("{:?}", claims("")).contains(&format!("{name}:"));
        prop_assume!(!named.contains(&name.as_str()) && !typed);
        let more = format!(r#"{job},"{name}":{value}"#);
        prop_assert_eq!(verdict(&rules, &job, &asked), verdict(&rules, &more, &asked));
    }

    #[test]
    fn removing_a_rule_never_turns_a_denial_into_a_grant(
        rules in a_policy(),
        job in a_job(),
        asked in an_asked(),
        index in any::<sample::Index>(),
    ) {
        prop_assume!(!rules.rules.is_empty());
        let before = verdict(&rules, &job, &asked);
        let mut fewer = rules.clone();
        fewer.rules.remove(index.index(rules.rules.len()));
        let after = verdict(&fewer, &job, &asked);
        prop_assert!(before.is_some() || after.is_none());
    }

    #[test]
    fn explaining_and_authorising_agree_and_the_index_changes_nothing(
        rules in a_policy(),
        job in a_job(),
        asked in an_asked(),
    ) {
        let policy = Policy::new(rules.clone(), Defaults::default());
        let explained = policy.explain(&claims(&job), std::slice::from_ref(&asked));
        let by_verdict = verdict(&rules, &job, &asked).and_then(|(rule, _)| rule);
        let by_explain = explained[0].granted.as_ref().and_then(|one| one.rule());
        prop_assert_eq!(by_verdict.as_deref(), by_explain);
        // The account walks through all rules in file order, without the index.
        let by_account = explained[0].account.iter().find(|line| line.says == "grants it");
        prop_assert_eq!(by_account.map(|line| line.rule.as_str()), by_explain);
    }
}
