//! The claims of a job's ID token, with GitLab's types: ids are strings, `runner_id` is a number,
//! and what looks like a boolean is the string "true" or "false".

use serde_json::{Map, Value, json};

/// How long a token lives: the default job timeout, which GitLab makes its lifetime.
const LIFETIME_SECONDS: i64 = 3600;

/// A protected job on main of acme/shop, deploying to production.
pub(super) fn of_a_job(issuer: &str, now: i64) -> Map<String, Value> {
    let host = issuer.trim_start_matches("https://");
    let ci_config = format!("{host}/acme/shop//.gitlab-ci.yml@refs/heads/main");
    let claims = json!({
        "namespace_id": "72",
        "namespace_path": "acme",
        "project_id": "20",
        "project_path": "acme/shop",
        "user_id": "1",
        "user_login": "sam",
        "user_email": "sam@example.com",
        "user_access_level": "developer",
        "pipeline_id": "574",
        "pipeline_source": "push",
        "job_id": "812",
        "ref": "main",
        "ref_type": "branch",
        "ref_path": "refs/heads/main",
        "ref_protected": "true",
        "environment": "production",
        "environment_protected": "true",
        "deployment_tier": "production",
        "environment_action": "start",
        "runner_id": 1,
        "runner_environment": "self-hosted",
        "sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "project_visibility": "private",
        "ci_config_ref_uri": ci_config,
        "ci_config_sha": "714a629c0b401fdce83e847fc9589983fc6f46bc",
        "job_project_id": "20",
        "job_project_path": "acme/shop",
        "job_namespace_id": "72",
        "job_namespace_path": "acme",
        "job_source": "push",
        "jti": uuid::Uuid::new_v4().to_string(),
        "iat": now,
        "nbf": now - 5,
        "exp": now + LIFETIME_SECONDS,
        "iss": issuer,
        "sub": "project_path:acme/shop:ref_type:branch:ref:main",
        "aud": "api://AzureADTokenExchange",
    });
    match claims {
        Value::Object(claims) => claims,
        _ => Map::new(),
    }
}
