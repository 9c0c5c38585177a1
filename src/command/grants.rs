//! `policy grants`: the rules turned round, for whoever has to answer who could read what. Nothing
//! is cut short here, however long a list of claims is: a review goes by what is in the report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Error, Form, Streams, csv, policy_of, table::Table};
use crate::{
    config::{Config, rule::Mode},
    name::SecretName,
    policy::{Access, Policy},
    screen,
};

/// Prints every way to every secret, or to `secret`.
pub(super) fn grants(
    config: &Config,
    secret: Option<&SecretName>,
    form: Form,
    streams: &mut Streams<'_>,
) -> Result<u8, Error> {
    let policy = policy_of(config);
    let grants = policy.grants(secret);
    if policy.mode() == Mode::Audit {
        streams.complain(
            "policy.mode is \"audit\": what no rule grants is recorded, and granted all the same",
        );
    }
    let text = match form {
        Form::Table if grants.is_empty() => "no rule grants it to anybody\n".to_owned(),
        Form::Table => table(&grants, config.issuers.len() > 1),
        Form::Csv => records(&grants),
        Form::Json => json(&policy, &grants)?,
    };
    streams.print(&text).map(|()| 0)
}

/// With the widest column last. The issuer is only of interest where there is another.
fn table(grants: &[Access], several_issuers: bool) -> String {
    let mut table = Table::default();
    table.row(["VAULT", "SECRET", "RULE", "AS", "IF", "JOBS"]);
    for access in grants {
        let mut jobs = bound_claims(access);
        if several_issuers {
            jobs = format!("{jobs}, of {}", access.issuer);
        }
        table.row([
            &access.vault,
            &access.secret,
            &access.rule,
            &identity(access),
            &conditions(access),
            &jobs,
        ]);
    }
    table.text("")
}

fn records(grants: &[Access]) -> String {
    let header = [
        "vault",
        "secret",
        "rule",
        "issuer",
        "bound_claims",
        "tenant_id",
        "client_id",
        "require_version",
        "allow_forks",
        "refuse_expired",
    ];
    let word = |yes: bool| if yes { "true" } else { "false" };
    let mut text = csv::record(header);
    for access in grants {
        text.push_str(&csv::record([
            access.vault.as_str(),
            &access.secret,
            &access.rule,
            &access.issuer,
            &bound_claims(access),
            access.tenant_id.as_deref().unwrap_or_default(),
            access.client_id.as_deref().unwrap_or_default(),
            word(access.require_version),
            word(access.allow_forks),
            word(access.refuse_expired),
        ]));
    }
    text
}

fn json(policy: &Policy, grants: &[Access]) -> Result<String, Error> {
    let report = Report {
        mode: policy.mode().to_string(),
        policy_hash: policy.hash(),
        grants: grants.iter().map(Line::of).collect(),
    };
    screen::json(&report).map_err(|error| Error::Output(error.into()))
}

fn bound_claims(access: &Access) -> String {
    let claim = |(name, patterns): &(String, Vec<String>)| {
        let patterns: Vec<String> = patterns.iter().map(|text| format!("{text:?}")).collect();
        format!("{name} = {}", patterns.join(" or "))
    };
    let claims: Vec<String> = access.bound_claims.iter().map(claim).collect();
    claims.join(", ")
}

fn identity(access: &Access) -> String {
    match (&access.tenant_id, &access.client_id) {
        (_, Some(client)) => client.clone(),
        (Some(tenant), None) => format!("any client of {tenant}"),
        (None, None) => "any client".to_owned(),
    }
}

fn conditions(access: &Access) -> String {
    let conditions = [
        (access.require_version, "version named"),
        (access.allow_forks, "even forks"),
        (access.refuse_expired, "not expired"),
    ];
    let said = conditions.into_iter().filter(|(is_so, _)| *is_so);
    let said: Vec<&str> = said.map(|(_, words)| words).collect();
    if said.is_empty() {
        "-".to_owned()
    } else {
        said.join(", ")
    }
}

#[derive(Serialize)]
struct Report<'a> {
    mode: String,
    policy_hash: &'a str,
    grants: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    vault: &'a str,
    secret: &'a str,
    rule: &'a str,
    issuer: &'a str,
    bound_claims: BTreeMap<&'a str, &'a [String]>,
    tenant_id: Option<&'a str>,
    client_id: Option<&'a str>,
    require_version: bool,
    allow_forks: bool,
    refuse_expired: bool,
}

impl<'a> Line<'a> {
    fn of(access: &'a Access) -> Self {
        let claims = access.bound_claims.iter();
        Self {
            vault: &access.vault,
            secret: &access.secret,
            rule: &access.rule,
            issuer: &access.issuer,
            bound_claims: claims
                .map(|(name, patterns)| (name.as_str(), patterns.as_slice()))
                .collect(),
            tenant_id: access.tenant_id.as_deref(),
            client_id: access.client_id.as_deref(),
            require_version: access.require_version,
            allow_forks: access.allow_forks,
            refuse_expired: access.refuse_expired,
        }
    }
}
