//! The sample pipelines for the gateway, as GitLab would send their jobs, through a gateway with
//! the sample's rules: with `secrets:` where the licence has it, and with the variable where not.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use crate::{
    ci,
    gitlab::{GitLab, State},
    runner::Seen,
    site::{Site, payload, variable},
    tree,
};

/// What GitLab makes of `secrets:` with the variables of the job.
fn as_sent(job: &ci::Ci) -> Value {
    let of = |name: &str| job.variables.get(name).cloned().unwrap_or_default();
    let Some(secrets) = job.secrets.as_object() else {
        return Value::Null;
    };
    let entry = |entry: &Value| {
        let mut sent = entry.clone();
        let vault = &mut sent["azure_key_vault"];
        vault["version"] = Value::Null;
        vault["server"] = json!({
            "url": of("AZURE_KEY_VAULT_SERVER_URL"), "jwt": entry["token"],
            "tenant_id": of("AZURE_TENANT_ID"), "client_id": of("AZURE_CLIENT_ID"),
        });
        sent
    };
    let entries = secrets.iter().map(|(name, is)| (name.clone(), entry(is)));
    Value::Object(entries.collect::<Map<_, _>>())
}

#[tokio::test]
async fn every_sample_pipeline_for_the_gateway_runs() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/config");
    let daemon = fs::read_to_string(samples.join("gateway.toml")).unwrap();
    let strips = tree::toml(&daemon)["gateway"][0]["strip_id_tokens"] == true;
    let rules = &daemon[daemon.find("[[rule]]").unwrap()..];
    let site = Site::before(
        GitLab::new().await,
        &format!("strip_id_tokens = {strips}"),
        |config| {
            let issuer = config.value("issuer.url");
            let rules = rules.replace("\"https://gitlab.example.com\"", &issuer);
            config.rules(&rules).unset("azure.vault_url")
        },
    )
    .await;
    let runner = site.runner();
    let site = site.ready(&runner).await;
    for name in ["db-password", "stripe-key"] {
        site.put_in("acme-prod", name, &format!("value of {name}"));
    }
    for (id, sample) in [(7, "gateway"), (8, "gateway-free")] {
        let name = format!("{sample}.gitlab-ci.yml");
        let [job] = &ci::jobs(&samples.join("pipelines"), &name)[..] else {
            panic!("{name} has one job");
        };
        let claims = json!({
            "job_id": id.to_string(), "project_path": "acme/shop", "ref_protected": "true",
            "environment": job.environment,
        });
        let token = site.token_but(claims);
        let given = job.id_tokens.iter().map(|name| variable(name, &token));
        let given = given.chain(job.variables.iter().map(|(name, is)| variable(name, is)));
        let sent = payload(given.collect(), as_sent(job));
        site.gitlab.job(id, sent);
        let work = runner.ask().await.job();
        let seen = work.environment();
        let password = "value of db-password".to_owned();
        assert_eq!(seen["DB_PASSWORD"], Seen::File(password), "{name}");
        let key = "value of stripe-key".to_owned();
        assert_eq!(seen["STRIPE_KEY"], Seen::Value(key), "{name}");
        assert!(!seen.contains_key("AZURE_JWT") && !seen.contains_key("RUNNER_SECRETS"));
        assert!(work.left_to_resolve().is_empty());
        runner.run(&work).await;
        assert_eq!(site.gitlab.state(id), State::Success);
        assert!(site.gitlab.trace(id).contains("DB_PASSWORD=[MASKED]\n"));
    }
}
