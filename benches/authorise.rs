//! What a request costs before anything leaves the machine: verifying its token and asking a policy
//! of 1,000 rules for ten secrets.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up should stop"
)]

use std::{
    fmt::Write as _,
    hint::black_box,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use criterion::{Criterion, criterion_group, criterion_main};
use runner_secrets::{
    config::{issuer::Issuer, rule},
    name::{SecretName, VariableName},
    policy::{Asked, Defaults, Policy},
    secret::IdToken,
    token::{self, KeySet},
};
use serde_json::json;

const RULES: usize = 1_000;
const NOW: u64 = 1_800_000_000;

/// A policy of many rules: for one project each, or for a group's projects each. The last is ours.
fn policy(project: impl Fn(usize) -> String) -> (Issuer, Policy) {
    let mut text =
        String::from("[[issuer]]\nurl = 'https://gitlab.example.com'\naudiences = ['a']\n");
    for rule in 1..=RULES {
        let bound = format!(
            "project_path = '{}', ref_protected = true, ref = ['main', 'release-*']",
            project(rule)
        );
        let vault = format!("https://vault-{rule}.vault.azure.net");
        write!(
            text,
            "[[rule]]\nname = 'rule {rule}'\nbound_claims = {{ {bound} }}\nvaults = ['{vault}']\nsecrets = ['db-*', 'key']\n"
        )
        .unwrap();
    }
    let (mut issuers, rules) = rule::parse(&text).unwrap();
    (issuers.remove(0), Policy::new(rules, Defaults::default()))
}

fn token(key: &KeyPair, project: &str) -> IdToken {
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k"});
    let claims = json!({
        "namespace_id": "2", "namespace_path": "acme", "project_id": "20", "project_path": project,
        "user_id": "5", "user_login": "ada", "user_email": "ada@example.com",
        "user_access_level": "developer", "pipeline_id": "100", "pipeline_source": "push",
        "job_id": "812", "ref": "release-1", "ref_type": "branch",
        "ref_path": "refs/heads/release-1", "ref_protected": "true", "environment": "production",
        "environment_protected": "true", "deployment_tier": "production", "runner_id": 7,
        "runner_environment": "self-hosted", "sha": "0123456789012345678901234567890123456789",
        "project_visibility": "private", "ci_config_ref_uri": "gitlab.example.com/acme/shop//.gitlab-ci.yml@refs/heads/release-1",
        "ci_config_sha": "0123456789012345678901234567890123456789",
        "jti": "00000000-0000-4000-8000-000000000000", "iat": NOW, "nbf": NOW - 5, "exp": NOW + 3600,
        "iss": "https://gitlab.example.com", "aud": "a",
        "sub": format!("project_path:{project}:ref_type:branch:ref:release-1"),
    });
    let part = |json: &serde_json::Value| BASE64.encode(json.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .unwrap();
    IdToken::new(format!("{text}.{}", BASE64.encode(signature)))
}

fn keys(key: &KeyPair) -> KeySet {
    let public = key.public_key();
    let n = BASE64.encode(public.modulus().big_endian_without_leading_zero());
    let e = BASE64.encode(public.exponent().big_endian_without_leading_zero());
    let set =
        json!({"keys": [{"kty": "RSA", "kid": "k", "use": "sig", "alg": "RS256", "n": n, "e": e}]});
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

fn ten_secrets(name: &str) -> Vec<Asked> {
    let one = |number| Asked {
        variable: VariableName::parse(&format!("SECRET_{number}")).unwrap(),
        name: SecretName::parse(&format!("{name}-{number}")).unwrap(),
        version: None,
        vault: None,
        tenant_id: None,
        client_id: None,
    };
    (0..10).map(one).collect()
}

fn requests(criterion: &mut Criterion) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let keys = keys(&key);
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let (granted, refused) = (ten_secrets("db"), ten_secrets("other"));
    // By project: found by an index. By group: every rule is looked at.
    let by_project = policy(|rule| format!("acme/project-{rule}"));
    let by_group = policy(|rule| format!("acme/group-{rule}/*"));
    let verify = |token: &IdToken, issuer: &Issuer, now: SystemTime| {
        token::check(black_box(token), &keys, issuer, now).unwrap()
    };
    for (shape, (issuer, policy), project) in [
        ("projects", by_project, "acme/project-1000"),
        ("groups", by_group, "acme/group-1000/shop"),
    ] {
        let token = token(&key, project);
        let claims = verify(&token, &issuer, now);
        assert!(policy.authorise(&claims, &granted).is_ok());
        assert!(policy.authorise(&claims, &refused).is_err());
        let mut group = criterion.benchmark_group(format!("1000 rules for {shape}"));
        group.bench_function("verify", |bench| {
            bench.iter(|| verify(&token, &issuer, now));
        });
        group.bench_function("authorise 10 secrets", |bench| {
            bench.iter(|| policy.authorise(black_box(&claims), &granted));
        });
        group.bench_function("refuse 10 secrets", |bench| {
            bench.iter(|| policy.authorise(black_box(&claims), &refused));
        });
        group.bench_function("verify and authorise 10 secrets", |bench| {
            bench.iter(|| policy.authorise(&verify(&token, &issuer, now), &granted));
        });
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
