//! The set-up as a script of `az` commands. Every value is a quoted word; what exists only after a
//! command has run is in a shell variable. The rule and the job are printed by the script, which
//! knows the ids by then.

use std::fmt::Write as _;

use super::{
    pipeline,
    plan::{Credential, Plan},
};
use crate::posix;

const HEAD: &str = "\
#!/bin/sh
# Made by `runner-secretsd setup azure`. Read it, then run it as somebody who may register
# applications in Entra and assign roles on the vault.
";

/// A word that the plan has found to be one that can be shown.
fn word(text: &str) -> String {
    posix::shown(text).unwrap_or_default()
}

pub(super) fn text(plan: &Plan) -> String {
    let mut script = HEAD.to_owned();
    for note in pipeline::notes(plan) {
        line(&mut script, &format!("# {note}"));
    }
    line(&mut script, "set -eu");
    match &plan.resource_group {
        Some(group) => managed_identity(&mut script, plan, group),
        None => application(&mut script, plan),
    }
    roles(&mut script, plan);
    line(
        &mut script,
        "tenant=$(az account show --query tenantId --output tsv)",
    );
    line(&mut script, "");
    line(&mut script, "# For the daemon's configuration:");
    for rule in pipeline::rules(plan, "{tenant}", "{client}") {
        printed(&mut script, &rule);
    }
    line(&mut script, "# For .gitlab-ci.yml:");
    for job in pipeline::job(plan) {
        printed(&mut script, &job);
    }
    script
}

fn line(script: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(script, "{line}");
}

/// A line that the script prints, with the ids that it knows.
fn printed(script: &mut String, text: &str) {
    let known = [("{tenant}", "\"$tenant\""), ("{client}", "\"$client\"")];
    let found = known
        .iter()
        .find(|(mark, _)| text.ends_with(&format!("\"{mark}\"")));
    let _ = match found {
        Some((mark, variable)) => {
            let format = word(&format!("{}\\n", text.replace(mark, "%s")));
            writeln!(script, "printf {format} {variable}")
        }
        None => writeln!(script, "printf '%s\\n' {}", word(text)),
    };
}

fn application(script: &mut String, plan: &Plan) {
    let name = word(&plan.name);
    line(
        script,
        &format!("client=$(az ad app create --display-name {name} --query appId --output tsv)"),
    );
    line(script, "az ad sp create --id \"$client\" --output none");
    line(
        script,
        "principal=$(az ad sp show --id \"$client\" --query id --output tsv)",
    );
    for credential in &plan.credentials {
        match credential {
            Credential::Exact(exact) => {
                let parameters = word(&exact.json());
                line(
                    script,
                    &format!(
                        "az ad app federated-credential create --id \"$client\" --parameters \
                         {parameters} --output none"
                    ),
                );
            }
            // Only Graph's beta knows expressions.
            Credential::Flexible { name, expression } => {
                let body = serde_json::json!({
                    "name": name, "issuer": plan.gitlab, "audiences": [plan.audience],
                    "claimsMatchingExpression": {"value": expression, "languageVersion": 1},
                });
                let uri = "\"https://graph.microsoft.com/beta/applications(appId='$client')/federatedIdentityCredentials\"";
                let body = word(&body.to_string());
                line(
                    script,
                    &format!("az rest --method POST --uri {uri} --body {body} --output none"),
                );
            }
        }
    }
}

fn managed_identity(script: &mut String, plan: &Plan, group: &str) {
    let (name, group) = (word(&plan.name), word(group));
    let identity = format!("--name {name} --resource-group {group}");
    line(
        script,
        &format!("az identity create {identity} --output none"),
    );
    for (variable, field) in [("client", "clientId"), ("principal", "principalId")] {
        line(
            script,
            &format!("{variable}=$(az identity show {identity} --query {field} --output tsv)"),
        );
    }
    for credential in &plan.credentials {
        // The plan has no others for a managed identity.
        let Credential::Exact(exact) = credential else {
            continue;
        };
        let [audience] = &exact.audiences;
        let values = [&exact.name, &exact.issuer, &exact.subject, audience];
        let [own, issuer, subject, audience] = values.map(|value| word(value));
        line(
            script,
            &format!(
                "az identity federated-credential create --name {own} --identity-name {name} \
                 --resource-group {group} --issuer {issuer} --subject {subject} --audiences \
                 {audience} --output none"
            ),
        );
    }
}

/// The narrowest role there is, on the secrets alone where they are named.
fn roles(script: &mut String, plan: &Plan) {
    let vault = word(plan.vault_name());
    line(
        script,
        &format!("vault=$(az keyvault show --name {vault} --query id --output tsv)"),
    );
    let scopes: Vec<String> = match plan.secrets.as_slice() {
        [] => vec!["\"$vault\"".to_owned()],
        secrets => {
            let scope = |secret| format!("\"$vault\"{}", word(&format!("/secrets/{secret}")));
            secrets.iter().map(scope).collect()
        }
    };
    for scope in scopes {
        line(
            script,
            &format!(
                "az role assignment create --role 'Key Vault Secrets User' --assignee-object-id \
                 \"$principal\" --assignee-principal-type ServicePrincipal --scope {scope} \
                 --output none"
            ),
        );
    }
}
