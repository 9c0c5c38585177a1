//! The other half of a set-up: the rule for the daemon, and the lines for .gitlab-ci.yml. The ids
//! that exist only after everything was created stand as `{tenant}` and `{client}`.

use super::plan::Plan;

/// A string as TOML and YAML both have it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn one_or_list(texts: &[String]) -> String {
    match texts {
        [only] => quoted(only),
        several => {
            let several: Vec<String> = several.iter().map(|text| quoted(text)).collect();
            format!("[{}]", several.join(", "))
        }
    }
}

/// The tables for the daemon's configuration: one rule, or one for each environment.
pub(super) fn rules(plan: &Plan, tenant: &str, client: &str) -> Vec<String> {
    let environments = plan.environments.iter().map(Some);
    let environments: Vec<Option<&String>> = if plan.environments.is_empty() {
        vec![None]
    } else {
        environments.collect()
    };
    let rules = environments.into_iter();
    rules
        .flat_map(|environment| rule(plan, environment, tenant, client))
        .collect()
}

fn rule(plan: &Plan, environment: Option<&String>, tenant: &str, client: &str) -> Vec<String> {
    let projects = match &plan.group {
        Some(group) => vec![format!("{group}/**")],
        None => plan.projects.clone(),
    };
    // In an expression of Entra's, * goes on over a slash; here ** does.
    let names = |kind: &str| -> Vec<String> {
        let refs = plan.refs.iter().filter(|one| one.kind == kind);
        refs.map(|one| one.name.replace('*', "**")).collect()
    };
    let mut lines = Vec::new();
    for kind in ["branch", "tag"] {
        let refs = names(kind);
        if refs.is_empty() {
            continue;
        }
        let mut claims = vec![
            format!("project_path = {}", one_or_list(&projects)),
            format!("ref_type = {}", quoted(kind)),
            format!("ref = {}", one_or_list(&refs)),
        ];
        if plan.protected {
            claims.push("ref_protected = true".to_owned());
        }
        let mut name = format!("{} {kind}", plan.name);
        if let Some(environment) = environment {
            claims.push(format!("environment = {}", quoted(environment)));
            name = format!("{name} {environment}");
        }
        let secrets: Vec<String> = plan.secrets.iter().map(ToString::to_string).collect();
        let secrets = match secrets.as_slice() {
            [] => "[\"*\"]".to_owned(),
            several => {
                let several: Vec<String> = several.iter().map(|text| quoted(text)).collect();
                format!("[{}]", several.join(", "))
            }
        };
        lines.extend([
            "[[rule]]".to_owned(),
            format!("name = {}", quoted(&name)),
            format!("issuer = {}", quoted(&plan.gitlab)),
            format!("bound_claims = {{ {} }}", claims.join(", ")),
            format!("vaults = [{}]", quoted(plan.vault.as_str())),
            format!("secrets = {secrets}"),
            format!("tenant_id = \"{tenant}\""),
            format!("client_id = \"{client}\""),
            String::new(),
        ]);
    }
    lines
}

/// A job that asks for the secrets.
pub(super) fn job(plan: &Plan) -> Vec<String> {
    let mut lines = vec!["deploy:".to_owned()];
    if let Some(environment) = plan.environments.first() {
        lines.push(format!("  environment: {}", quoted(environment)));
    }
    lines.extend([
        "  id_tokens:".to_owned(),
        "    AZURE_JWT:".to_owned(),
        format!("      aud: {}", quoted(&plan.audience)),
        "  variables:".to_owned(),
        "    RUNNER_SECRETS: |".to_owned(),
    ]);
    let example = ["db-password".to_owned()];
    let wanted: Vec<String> = plan.secrets.iter().map(ToString::to_string).collect();
    let names = if wanted.is_empty() {
        &example[..]
    } else {
        &wanted
    };
    for name in names {
        let variable = name.to_ascii_uppercase().replace('-', "_");
        // No variable begins with a digit.
        let under = if variable.starts_with(|c: char| c.is_ascii_digit()) {
            "_"
        } else {
            ""
        };
        lines.extend([
            format!("      {under}{variable}:"),
            "        token: $AZURE_JWT".to_owned(),
            "        azure_key_vault:".to_owned(),
            format!("          name: {}", quoted(name)),
        ]);
    }
    lines
}

/// What has to be said besides.
pub(super) fn notes(plan: &Plan) -> Vec<String> {
    let mut notes = Vec::new();
    if plan.protected {
        notes.extend([
            "GitLab puts ref_protected into subjects where a project says so (GitLab 18.7):".to_owned(),
            "set ci_id_token_sub_claim_components of each project, by the projects API, to".to_owned(),
            "[\"project_path\", \"ref_type\", \"ref\", \"ref_protected\"]. Other projects' tokens are refused.".to_owned(),
        ]);
    }
    if !plan.environments.is_empty() {
        notes.extend([
            "A subject does not name the environment: to Entra all of them are one, and the"
                .to_owned(),
            "daemon's rules tell them apart. README.md says when that is a boundary.".to_owned(),
        ]);
    }
    notes.extend([
        "Entra has to reach GitLab from the internet; docs/azure.md has what a private one can do."
            .to_owned(),
        "A new credential or role takes some minutes to work.".to_owned(),
    ]);
    notes
}
