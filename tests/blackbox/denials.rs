//! What the policy denies: nobody is asked for it, the job hears of itself and of rules about its
//! own project, and the operator's log has the whole account.

use std::collections::BTreeMap;

use runner_secrets_proto::Reason;
use serde_json::{Value, json};

use crate::{
    call::{Refusal, ask},
    stage::Stage,
};

/// Ours, and one of each kind that is none of ours.
const RULES: &str = r#"
[[rule]]
name = "bank settlement"
bound_claims = { project_path = "bank/core", ref_protected = true }
vaults = ["https://goldreserve.vault.azure.net"]
secrets = ["swift-key"]

[[rule]]
name = "shop production"
bound_claims = { project_path = "acme/shop", environment = "production", ref_protected = true }
vaults = ["https://demo.vault.azure.net"]
secrets = ["db-*"]

[[rule]]
name = "tools of a sister"
bound_claims = { namespace_path = "sisters", ref = "trunk" }
vaults = ["https://sisterbox.vault.azure.net"]
secrets = ["**"]

[[rule]]
name = "break glass"
bound_claims = { project_path = "**", user_login = "chief-operator" }
vaults = ["https://glasshouse.vault.azure.net"]
secrets = ["*"]
"#;

/// Of rules that are not about the job: names, projects, claims, vaults and secrets.
const NEVER_TOLD: [&str; 12] = [
    "bank",
    "settlement",
    "goldreserve",
    "swift",
    "sister",
    "sisters",
    "sisterbox",
    "trunk",
    "glass",
    "glasshouse",
    "chief-operator",
    "user_login",
];

fn assert_discreet(told: &[u8], except: &[&str]) {
    let told = String::from_utf8_lossy(told);
    for never in NEVER_TOLD {
        if !except.iter().any(|except| except.contains(never)) {
            assert!(!told.contains(never), "{never}: {told}");
        }
    }
}

/// The lines of the log that belong to a request.
async fn account(stage: &mut Stage, refusal: &Refusal) -> String {
    let id = refusal.request_id.clone();
    stage.daemon.logs(&id).await;
    let log = stage.daemon.log();
    let lines = log.lines().filter(|line| line.contains(&id));
    lines.collect::<Vec<_>>().join("\n").replace('\\', "")
}

#[tokio::test]
async fn a_denial_asks_nobody_and_names_the_variable_and_the_claims_that_mattered() {
    let mut stage = Stage::with(|config| config.rules(RULES)).await;
    let caller = stage.caller().await;
    let stranger = json!({"project_path": "acme/other", "job_project_path": "acme/other", "sub": "x", "environment": null, "ref": "v1", "ref_type": "tag", "ref_protected": "false"});
    let cases: [(Value, &str, &str); 7] = [
        (
            json!({"environment": "staging"}),
            "db-password",
            "no rule grants the secret db-password (variable TOKEN): rule \"shop production\" \
             wants environment to be \"production\", and the token has \"staging\"",
        ),
        (
            json!({"environment": null}),
            "db-password",
            "no rule grants the secret db-password (variable TOKEN): rule \"shop production\" \
             wants environment to be \"production\", and the token has no such claim",
        ),
        (
            json!({"ref_protected": "false"}),
            "db-password",
            "no rule grants the secret db-password (variable TOKEN): rule \"shop production\" \
             wants ref_protected to be \"true\", and the token has \"false\"",
        ),
        (
            json!({}),
            "api-key",
            "no rule grants the secret api-key (variable TOKEN): rule \"shop production\" is for \
             the secrets \"db-*\", not for api-key",
        ),
        (
            json!({}),
            "swift-key",
            "no rule grants the secret swift-key (variable TOKEN): rule \"shop production\" is \
             for the secrets \"db-*\", not for swift-key",
        ),
        (
            stranger.clone(),
            "db-password",
            "no rule grants the secret db-password (variable TOKEN) to a job of \"acme/other\" \
             on the unprotected tag \"v1\" without an environment",
        ),
        (
            json!({"project_path": "sam/shop"}),
            "db-password",
            "no rule grants the secret db-password (variable TOKEN) to a job of \"sam/shop\" on \
             the protected branch \"main\" for the environment \"production\", a fork \
             whose pipeline runs in \"acme/shop\"",
        ),
    ];
    for (claims, name, sentence) in cases {
        let token = stage.token_but(claims.clone());
        let request = ask(&token).value("TOKEN", name);
        let refusal = caller.refused(request.clone()).await;
        assert_eq!(
            refusal.reason,
            Reason::PolicyDenied,
            "{claims}: {refusal:?}"
        );
        assert_eq!(refusal.message, sentence, "{claims}");
        assert_discreet(&refusal.raw, &[name]);
        // Explain says the same, and no more.
        let verdicts = caller.explain(request).await.unwrap();
        let verdict = &verdicts["TOKEN"];
        assert!(!verdict.granted, "{claims}");
        assert_eq!(
            (verdict.rule.as_str(), verdict.sentence.as_str()),
            ("", sentence)
        );
        // The operator sees every rule, and why it was not this one.
        let account = account(&mut stage, &refusal).await;
        for part in [
            "rule \"bank settlement\" wants project_path to be \"bank/core\", and the token has",
            "rule \"shop production\" ",
            "rule \"tools of a sister\" wants namespace_path to be \"sisters\", and the token has \"acme\"",
            "rule \"break glass\" wants user_login to be \"chief-operator\", and the token has \"sam\"",
        ] {
            // A fork is refused as such, before any claim that is not about the project.
            let fork = sentence.contains("a fork") && part.contains("break glass");
            assert!(
                fork || account.contains(part),
                "{claims}: {part}: {account}"
            );
        }
    }
    let sent = stage.sent();
    assert!(sent.is_empty(), "{sent:?}");
    assert!(stage.place.left().is_empty());
}

#[tokio::test]
async fn one_denied_secret_denies_them_all_before_any_is_asked_for() {
    let stage = Stage::with(|config| config.rules(RULES)).await;
    let caller = stage.caller().await;
    let good = ask(&stage.token())
        .file("A", "db-password")
        .value("B", "db-password");
    for (request, also) in [
        (good.clone().file("C", "swift-key"), ""),
        (
            good.clone().file("C", "x1").file("D", "x2").file("E", "x3"),
            "; also refused: ",
        ),
    ] {
        let refusal = caller.refused(request).await;
        assert_eq!(refusal.reason, Reason::PolicyDenied);
        assert!(refusal.message.contains(also), "{refusal:?}");
        assert!(stage.sent().is_empty());
    }
    // Another vault than the rule's, though it may be read there.
    let elsewhere = "https://goldreserve.vault.azure.net";
    let request = good.clone().server("B", elsewhere, "", "");
    let refusal = caller.refused(request).await;
    assert_eq!(
        refusal.message,
        "no rule grants the secret db-password (variable B): rule \"shop production\" is for the \
         vault \"https://demo.vault.azure.net\", not for https://goldreserve.vault.azure.net"
    );
    assert!(stage.sent().is_empty());
    // With a second token of the same job that may not: environments differ by job, not by token.
    let weaker = stage.token_but(json!({"environment": "staging"}));
    let request = good.clone().but("B", |secret| secret.id_token = weaker);
    let refusal = caller.refused(request).await;
    assert_eq!(refusal.reason, Reason::PolicyDenied);
    assert!(refusal.message.contains("variable B"), "{refusal:?}");
    assert!(stage.sent().is_empty());
    assert!(stage.place.left().is_empty());
    // What was refused in company is given alone.
    assert_eq!(caller.bytes(good).await.len(), 2);
}

/// No rule for it, or no such secret where a rule is: until a rule grants the name, both read alike.
#[tokio::test]
async fn a_denial_does_not_tell_what_exists() {
    let stage = Stage::with(|config| config.rules(RULES)).await;
    let caller = stage.caller().await;
    let denied = async |name: &str| {
        let refusal = caller.refused(ask(&stage.token()).value("A", name)).await;
        assert_eq!(refusal.reason, Reason::PolicyDenied, "{refusal:?}");
        refusal.message.replace(name, "NAME")
    };
    stage.put("there", "x");
    assert_eq!(denied("there").await, denied("not-there").await);
    assert!(stage.sent().is_empty());
    let missing = caller
        .refused(ask(&stage.token()).value("A", "db-none"))
        .await;
    assert_eq!(missing.reason, Reason::SecretNotFound, "the rule grants it");
}

/// Each pattern guards a secret of its own, so that one question asks all of them.
#[tokio::test]
async fn patterns_match_whole_paths_and_their_case() {
    let paths = [
        "group/app",
        "group/app-evil",
        "xgroup/app",
        "Group/App",
        "group/APP",
        "group/sub/app",
        "group/app/evil",
        "evil/group/app",
        "group",
        "group/",
        "app",
        "group/app\n",
        "group/app ",
        "",
    ];
    let patterns: [(&str, &[&str]); 8] = [
        ("group/app", &["group/app"]),
        (
            "group/*",
            &[
                "group/app",
                "group/app-evil",
                "group/APP",
                "group/",
                "group/app\n",
                "group/app ",
            ],
        ),
        (
            "group/**",
            &[
                "group/app",
                "group/app-evil",
                "group/APP",
                "group/sub/app",
                "group/app/evil",
                "group/",
                "group/app\n",
                "group/app ",
            ],
        ),
        ("*/app", &["group/app", "xgroup/app"]),
        (
            "**/app",
            &["group/app", "xgroup/app", "group/sub/app", "evil/group/app"],
        ),
        ("group/*/app", &["group/sub/app"]),
        (
            "group/app*",
            &["group/app", "group/app-evil", "group/app\n", "group/app "],
        ),
        ("Group/App", &["Group/App"]),
    ];
    let rule = |(index, (pattern, _)): (usize, &(&str, &[&str]))| {
        format!(
            "[[rule]]\nname = \"rule {index}\"\nbound_claims = {{ project_path = {pattern:?} }}\n\
             vaults = [\"https://demo.vault.azure.net\"]\nsecrets = [\"s{index}\"]\n"
        )
    };
    let rules: String = patterns.iter().enumerate().map(rule).collect();
    let stage = Stage::with(|config| config.rules(&rules)).await;
    let caller = stage.caller().await;
    let mut wrong = BTreeMap::new();
    for path in paths {
        let claims = json!({"project_path": path, "job_project_path": path});
        let token = stage.token_but(claims);
        let all = (0..patterns.len()).fold(ask(&token), |request, index| {
            request.value(&format!("V{index}"), &format!("s{index}"))
        });
        let verdicts = caller.explain(all).await.unwrap();
        for (index, (pattern, matching)) in patterns.iter().enumerate() {
            let granted = verdicts[&format!("V{index}")].granted;
            if granted != matching.contains(&path) {
                wrong.insert((pattern, path), granted);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(stage.sent().is_empty());
}
