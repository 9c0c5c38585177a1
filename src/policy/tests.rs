mod properties;

use super::{Asked, Defaults, Denied, Policy, cases};
use crate::{
    config::{
        Config,
        rule::{self, Mode, Rules},
    },
    name::{SecretName, SecretVersion, VariableName},
    token::Claims,
    vault::Origin,
};

const SAMPLE: &str = include_str!("../../deploy/config/config.toml");
const CASES: &str = include_str!("../../deploy/config/policy-cases.toml");

fn rules(text: &str) -> Rules {
    let issuer = "[[issuer]]\nurl = 'https://gitlab.test'\naudiences = ['a']\n";
    rule::parse(&format!("{issuer}{text}")).unwrap().1
}

fn policy(text: &str) -> Policy {
    Policy::new(rules(text), Defaults::default())
}

/// The claims of a job of `acme/shop`, with `more` members.
fn claims(more: &str) -> Claims {
    let common =
        r#""iss":"https://gitlab.test","sub":"s","aud":"a","exp":1,"project_id":"20","job_id":"1""#;
    let path = if more.contains("\"project_path\"") {
        ""
    } else {
        r#","project_path":"acme/shop""#
    };
    Claims::assume(&format!("{{{common}{path}{more}}}")).unwrap()
}

fn asked(variable: &str, secret: &str) -> Asked {
    Asked {
        variable: VariableName::parse(variable).unwrap(),
        name: SecretName::parse(secret).unwrap(),
        version: None,
        vault: None,
        tenant_id: None,
        client_id: None,
    }
}

const TWO: &str = "
[[rule]]
name = 'production'
bound_claims = { project_path = 'acme/shop', environment = 'production' }
vaults = ['https://prod.vault.azure.net']
secrets = ['db-*']
client_id = 'AAAAAAAA-1111-1111-1111-111111111111'
[[rule]]
name = 'somebody else'
bound_claims = { project_path = 'rich/bank' }
vaults = ['https://gold.vault.azure.net']
secrets = ['*']
";

fn denied(policy: &Policy, claims: &Claims, asked: &[Asked]) -> Denied {
    policy.authorise(claims, asked).unwrap_err()
}

#[test]
fn sample_policy_says_what_its_cases_expect() {
    let config = Config::parse(SAMPLE).unwrap();
    let policy = Policy::new(config.rules, config.defaults);
    let cases = cases::read(CASES).unwrap();
    assert!(cases.len() >= 60, "{}", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, case.check(&policy).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_of_the_sample_grants_in_some_case() {
    let all = Config::parse(SAMPLE).unwrap().rules;
    let cases = cases::read(CASES).unwrap();
    for index in 0..all.rules.len() {
        let mut without = all.clone();
        let removed = without.rules.remove(index);
        let policy = Policy::new(without, Defaults::default());
        let needed = cases.iter().any(|case| case.check(&policy).is_err());
        assert!(needed, "no case needs {}", removed.name);
    }
}

#[test]
fn rule_fills_in_what_the_job_leaves_open() {
    let claims = claims(r#","environment":"production""#);
    let grant = policy(TWO)
        .authorise(&claims, &[asked("A", "db-a")])
        .unwrap();
    let [granted] = grant.secrets.as_slice() else {
        panic!("{grant:?}")
    };
    assert_eq!(granted.rule(), Some("production"));
    assert_eq!(granted.vault.as_str(), "https://prod.vault.azure.net");
    assert_eq!(
        granted.client_id.as_deref(),
        Some("aaaaaaaa-1111-1111-1111-111111111111")
    );
    assert_eq!(granted.tenant_id, None);
    assert!(grant.would_deny().is_none());
}

#[test]
fn defaults_come_after_job_and_rule_and_only_within_the_rule() {
    let text = "
        [[rule]]
        name = 'r'
        bound_claims = { project_path = '**' }
        vaults = ['https://a.vault.azure.net', 'https://b.vault.azure.net']
        secrets = ['*']";
    let with = |vault: &str| Defaults {
        vault: Some(Origin::parse(vault).unwrap()),
        tenant_id: Some("t".into()),
        client_id: None,
    };
    let claims = claims("");
    let ask = |vault, asked: Asked| {
        let policy = Policy::new(rules(text), with(vault));
        policy
            .authorise(&claims, &[asked])
            .map(|grant| grant.secrets[0].clone())
    };
    let granted = ask("https://b.vault.azure.net", asked("A", "a")).unwrap();
    assert_eq!(granted.vault.as_str(), "https://b.vault.azure.net");
    assert_eq!(granted.tenant_id.as_deref(), Some("t"));
    assert!(ask("https://c.vault.azure.net", asked("A", "a")).is_err());
    let named = Asked {
        vault: Some(Origin::parse("https://a.vault.azure.net").unwrap()),
        tenant_id: Some("MINE".into()),
        ..asked("A", "a")
    };
    let granted = ask("https://b.vault.azure.net", named).unwrap();
    assert_eq!(granted.vault.as_str(), "https://a.vault.azure.net");
    assert_eq!(granted.tenant_id.as_deref(), Some("mine"));
}

#[test]
fn each_secret_is_granted_by_the_first_rule_or_all_are_refused() {
    let text = "
        [[rule]]
        name = 'first'
        bound_claims = { project_path = 'acme/*' }
        vaults = ['https://a.vault.azure.net']
        secrets = ['a']
        [[rule]]
        name = 'second'
        bound_claims = { project_path = 'acme/shop' }
        vaults = ['https://b.vault.azure.net']
        secrets = ['a', 'b']
        refuse_expired = true";
    let policy = policy(text);
    let claims = claims("");
    let both = [asked("A", "a"), asked("B", "b")];
    let grant = policy.authorise(&claims, &both).unwrap();
    let rules: Vec<_> = grant
        .secrets
        .iter()
        .map(|one| (one.rule(), one.refuse_expired))
        .collect();
    assert_eq!(rules, [(Some("first"), false), (Some("second"), true)]);
    let three = [asked("A", "a"), asked("C", "c"), asked("B", "b")];
    let denied = denied(&policy, &claims, &three);
    assert_eq!(denied.refusals().len(), 1);
    assert_eq!(denied.refusals()[0].variable.as_str(), "C");
}

#[test]
fn job_hears_of_rules_about_its_project_only() {
    let policy = policy(TWO);
    let own = denied(
        &policy,
        &claims(r#","environment":"staging""#),
        &[asked("DB", "db-a")],
    );
    assert_eq!(
        own.to_string(),
        "no rule grants the secret db-a (variable DB): rule \"production\" wants environment to be \
         \"production\", and the token has \"staging\""
    );
    let stranger = claims(
        r#","project_path":"evil/shop","ref":"main","ref_type":"branch","ref_protected":"false""#,
    );
    let foreign = denied(&policy, &stranger, &[asked("DB", "db-a"), asked("X", "x")]);
    assert_eq!(
        foreign.to_string(),
        "no rule grants the secret db-a (variable DB) to a job of \"evil/shop\" on the \
         unprotected branch \"main\" without an environment; also refused: X"
    );
    let account: Vec<String> = foreign
        .account()
        .iter()
        .map(|line| format!("{} {}", line.rule, line.says))
        .collect();
    assert_eq!(
        account,
        [
            "production wants project_path to be \"acme/shop\", and the token has \"evil/shop\"",
            "somebody else wants project_path to be \"rich/bank\", and the token has \"evil/shop\"",
        ]
    );
}

#[test]
fn nobody_hears_of_rules_for_every_project() {
    for path in ["'**'", "'*/**'", "['acme/shop', '**']"] {
        let text = format!(
            "[[rule]]
            name = 'by hand'
            bound_claims = {{ project_path = {path}, groups_direct = 'acme/operators' }}
            vaults = ['https://gold.vault.azure.net']
            secrets = ['break-glass']"
        );
        for more in ["", r#","groups_direct":["acme/operators"]"#] {
            let denied = denied(&policy(&text), &claims(more), &[asked("X", "x")]);
            assert!(!denied.to_string().contains("by hand"), "{path}: {denied}");
            assert_eq!(denied.account().len(), 1);
        }
    }
}

#[test]
fn sentences_stay_short_whatever_the_claims() {
    let long = "x".repeat(300);
    let rule = |name: usize| {
        format!(
            "[[rule]]
            name = 'r{name}'
            bound_claims = {{ project_path = 'acme/*', environment = ['{long}1', '{long}2', '{long}3', '{long}4'] }}
            vaults = ['https://a.vault.azure.net']
            secrets = ['a']\n"
        )
    };
    let text: String = (0..9).map(rule).collect();
    let more = format!(
        r#","environment":"{}","project_path":"acme/{}""#,
        "ä".repeat(3_000),
        "\\u202e".repeat(400)
    );
    let asked: Vec<Asked> = (0..50)
        .map(|number| asked(&format!("V{number}"), "a"))
        .collect();
    let denied = denied(&policy(&text), &claims(&more), &asked);
    assert!(denied.to_string().len() < 1_200, "{denied}");
    let few = self::denied(&policy(TWO), &claims(&more), &asked);
    assert!(few.to_string().len() < 1_500, "{few}");
}

#[test]
fn fork_hears_of_no_rule_of_the_project_it_runs_in() {
    let text = "
        [[rule]]
        name = 'of the target'
        bound_claims = { job_project_path = 'acme/shop', environment = 'x' }
        vaults = ['https://a.vault.azure.net']
        secrets = ['a']";
    let fork = claims(r#","project_path":"evil/shop","job_project_path":"acme/shop""#);
    let denied = denied(&policy(text), &fork, &[asked("A", "a")]);
    assert!(!denied.to_string().contains("of the target"), "{denied}");
    assert!(
        denied
            .to_string()
            .ends_with("a fork whose pipeline runs in \"acme/shop\""),
        "{denied}"
    );
    assert!(denied.account()[0].says.starts_with("does not allow forks"));
}

#[test]
fn explaining_gives_both_views_and_the_same_verdict() {
    let policy = policy(TWO);
    let claims = claims(r#","environment":"production""#);
    let explained = policy.explain(&claims, &[asked("A", "db-a"), asked("B", "other")]);
    assert_eq!(
        explained[0].granted.as_ref().unwrap().rule(),
        Some("production")
    );
    assert_eq!(
        explained[0].sentence,
        "rule \"production\" grants the secret db-a of https://prod.vault.azure.net (variable A)"
    );
    assert_eq!(explained[0].account.len(), 1);
    assert_eq!(explained[0].account[0].says, "grants it");
    assert!(explained[1].granted.is_none());
    assert_eq!(
        explained[1].sentence,
        "no rule grants the secret other (variable B): rule \"production\" is for the secrets \
         \"db-*\", not for other"
    );
    assert_eq!(explained[1].account.len(), 2);
}

#[test]
fn audit_mode_denies_nothing_and_says_what_it_would() {
    let policy = policy(&format!("[policy]\nmode = 'audit'\n{TWO}"));
    assert_eq!(policy.mode(), Mode::Audit);
    let claims = claims(r#","environment":"production""#);
    let foreign = Asked {
        vault: Some(Origin::parse("https://other.vault.azure.net").unwrap()),
        client_id: Some("MINE".into()),
        ..asked("B", "other")
    };
    let grant = policy
        .authorise(&claims, &[asked("A", "db-a"), foreign])
        .unwrap();
    let rules: Vec<_> = grant.secrets.iter().map(super::Granted::rule).collect();
    assert_eq!(rules, [Some("production"), None]);
    assert_eq!(
        grant.secrets[1].vault.as_str(),
        "https://other.vault.azure.net"
    );
    assert_eq!(grant.secrets[1].client_id.as_deref(), Some("mine"));
    assert_eq!(
        grant.would_deny().unwrap().refusals()[0].variable.as_str(),
        "B"
    );
    // Nobody says which vault it would be in.
    assert!(policy.authorise(&claims, &[asked("B", "other")]).is_err());
}

#[test]
fn expired_secrets_are_refused_where_rule_or_policy_say_so() {
    let claims = claims(r#","environment":"production""#);
    let refuses = |text: &str| {
        let grant = policy(text).authorise(&claims, &[asked("A", "db-a")]);
        grant.unwrap().secrets[0].refuse_expired
    };
    assert!(!refuses(TWO));
    assert!(refuses(
        &TWO.replace("client_id", "refuse_expired = true\nclient_id")
    ));
    assert!(refuses(&format!("[policy]\nrefuse_expired = true\n{TWO}")));
}

#[test]
fn version_is_required_where_the_rule_says_so() {
    let policy = policy(&TWO.replace("client_id", "require_version = true\nclient_id"));
    let claims = claims(r#","environment":"production""#);
    assert!(policy.authorise(&claims, &[asked("A", "db-a")]).is_err());
    let pinned = Asked {
        version: SecretVersion::parse(&"0".repeat(32)).unwrap(),
        ..asked("A", "db-a")
    };
    assert!(policy.authorise(&claims, &[pinned]).is_ok());
}

#[test]
fn access_review_lists_who_could_read_a_secret() {
    let policy = policy(TWO);
    let all: Vec<_> = policy
        .grants(None)
        .iter()
        .map(|one| (one.vault.clone(), one.secret.clone()))
        .collect();
    assert_eq!(
        all,
        [
            ("https://gold.vault.azure.net".to_owned(), "*".to_owned()),
            ("https://prod.vault.azure.net".to_owned(), "db-*".to_owned()),
        ]
    );
    let other = policy.grants(Some(&SecretName::parse("other").unwrap()));
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].rule, "somebody else");
}

#[test]
fn hash_follows_the_meaning_not_the_text() {
    let hash = |text: &str| policy(text).hash().to_owned();
    let one = hash(TWO);
    assert_eq!(one.len(), 64);
    assert_eq!(
        one,
        hash(&format!("# a comment\n{}", TWO.replace("'db-*'", "'DB-*'")))
    );
    for other in [
        TWO.replace("acme/shop", "acme/shops"),
        TWO.replace("secrets = ['*']", "secrets = ['*', '*']"),
        TWO.replace("name = 'production'", "name = 'production '")
            .replace("production '", "prod'"),
        TWO.replace("client_id", "allow_forks = true\nclient_id"),
        format!("[policy]\nmode = 'audit'\n{TWO}"),
    ] {
        assert_ne!(one, hash(&other), "{other}");
    }
    // Defaults can choose among a rule's vaults, and name the client.
    let defaults = Defaults {
        client_id: Some("c".into()),
        ..Defaults::default()
    };
    assert_ne!(one, Policy::new(rules(TWO), defaults).hash());
}
