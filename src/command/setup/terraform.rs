//! The set-up as Terraform, in the form that `terraform fmt` gives it. The rule and the job are
//! comments at its end: Terraform prints the ids.

use std::fmt::Write as _;

use super::{
    pipeline,
    plan::{Credential, Plan},
};

/// A string of HCL: that of JSON, without the two ways to begin a template.
fn string(text: &str) -> String {
    pipeline::quoted(text)
        .replace("${", "$${")
        .replace("%{", "%%{")
}

const HEAD: &str = "\
# Made by `runner-secretsd setup azure --format terraform`. Read it, then plan and apply it.
";

pub(super) fn text(plan: &Plan) -> String {
    let mut text = HEAD.to_owned();
    for note in pipeline::notes(plan) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# {note}");
    }
    text.push_str("\nterraform {\n");
    let provider = if plan.resource_group.is_some() {
        "  required_providers {\n    azurerm = { source = \"hashicorp/azurerm\" }\n  }\n}\n"
    } else {
        "  required_providers {\n    azuread = { source = \"hashicorp/azuread\" }\n    azurerm = { source = \"hashicorp/azurerm\" }\n  }\n}\n"
    };
    text.push_str(provider);
    let identity = match &plan.resource_group {
        Some(group) => managed_identity(&mut text, plan, group),
        None => application(&mut text, plan),
    };
    roles(&mut text, plan, identity.1);
    block(
        &mut text,
        "output \"client_id\"",
        &[("value", identity.0.to_owned())],
    );
    text.push_str("\n# For the daemon's configuration:\n#\n");
    let lines = pipeline::rules(plan, "the tenant's id", "the output client_id");
    let job = ["For .gitlab-ci.yml:".to_owned(), String::new()];
    for line in lines.into_iter().chain(job).chain(pipeline::job(plan)) {
        let _ = writeln!(text, "{}", format!("# {line}").trim_end());
    }
    text
}

/// A block of attributes, with the signs under each other.
fn block(text: &mut String, head: &str, attributes: &[(&str, String)]) {
    let width = attributes.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let _ = writeln!(text, "\n{head} {{");
    for (name, value) in attributes {
        let _ = writeln!(text, "  {name:width$} = {value}");
    }
    text.push_str("}\n");
}

/// The references to the client's id and to the principal's.
type Identity = (&'static str, &'static str);

fn application(text: &mut String, plan: &Plan) -> Identity {
    const APPLICATION: &str = "azuread_application.runner_secrets";
    let named = [("display_name", string(&plan.name))];
    block(
        text,
        "resource \"azuread_application\" \"runner_secrets\"",
        &named,
    );
    let of = [("client_id", format!("{APPLICATION}.client_id"))];
    block(
        text,
        "resource \"azuread_service_principal\" \"runner_secrets\"",
        &of,
    );
    for (at, credential) in plan.credentials.iter().enumerate() {
        let owner = ("application_id", format!("{APPLICATION}.id"));
        let audience = string(&plan.audience);
        match credential {
            Credential::Exact(exact) => block(
                text,
                &format!(
                    "resource \"azuread_application_federated_identity_credential\" \"subject_{at}\""
                ),
                &[
                    owner,
                    ("display_name", string(&exact.name)),
                    ("audiences", format!("[{audience}]")),
                    ("issuer", string(&exact.issuer)),
                    ("subject", string(&exact.subject)),
                ],
            ),
            Credential::Flexible { name, expression } => block(
                text,
                &format!(
                    "resource \"azuread_application_flexible_federated_identity_credential\" \"subject_{at}\""
                ),
                &[
                    owner,
                    ("display_name", string(name)),
                    ("audience", audience),
                    ("issuer", string(&plan.gitlab)),
                    ("claims_matching_expression", string(expression)),
                ],
            ),
        }
    }
    (
        "azuread_application.runner_secrets.client_id",
        "azuread_service_principal.runner_secrets.object_id",
    )
}

fn managed_identity(text: &mut String, plan: &Plan, group: &str) -> Identity {
    const IDENTITY: &str = "azurerm_user_assigned_identity.runner_secrets";
    let named = [("name", string(group))];
    block(
        text,
        "data \"azurerm_resource_group\" \"runner_secrets\"",
        &named,
    );
    let of = "data.azurerm_resource_group.runner_secrets";
    block(
        text,
        "resource \"azurerm_user_assigned_identity\" \"runner_secrets\"",
        &[
            ("name", string(&plan.name)),
            ("resource_group_name", format!("{of}.name")),
            ("location", format!("{of}.location")),
        ],
    );
    for (at, credential) in plan.credentials.iter().enumerate() {
        // The plan has no others for a managed identity.
        if let Credential::Exact(exact) = credential {
            block(
                text,
                &format!("resource \"azurerm_federated_identity_credential\" \"subject_{at}\""),
                &[
                    ("name", string(&exact.name)),
                    ("resource_group_name", format!("{of}.name")),
                    ("parent_id", format!("{IDENTITY}.id")),
                    ("audience", format!("[{}]", string(&plan.audience))),
                    ("issuer", string(&exact.issuer)),
                    ("subject", string(&exact.subject)),
                ],
            );
        }
    }
    (
        "azurerm_user_assigned_identity.runner_secrets.client_id",
        "azurerm_user_assigned_identity.runner_secrets.principal_id",
    )
}

/// The narrowest role there is, on the secrets alone where they are named.
fn roles(text: &mut String, plan: &Plan, principal: &str) {
    block(
        text,
        "variable \"vault_id\"",
        &[
            ("type", "string".to_owned()),
            (
                "description",
                string(&format!(
                    "az keyvault show --name {} --query id --output tsv",
                    plan.vault_name()
                )),
            ),
        ],
    );
    let scopes: Vec<String> = match plan.secrets.as_slice() {
        [] => vec!["var.vault_id".to_owned()],
        secrets => {
            let scope = |secret| format!("\"${{var.vault_id}}/secrets/{secret}\"");
            secrets.iter().map(scope).collect()
        }
    };
    for (at, scope) in scopes.into_iter().enumerate() {
        block(
            text,
            &format!("resource \"azurerm_role_assignment\" \"secrets_{at}\""),
            &[
                ("scope", scope),
                ("role_definition_name", string("Key Vault Secrets User")),
                ("principal_id", principal.to_owned()),
            ],
        );
    }
}
