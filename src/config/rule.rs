//! `[policy]` and `[[rule]]`: what the operator lets which jobs read. Refuses rules that could not
//! do what they look like: that grant to every project without saying so, or can never match.

use std::collections::BTreeSet;

use toml::de::DeValue;

use super::{
    issuer::Issuer,
    raw::{self, Table, Value, expected},
};
use crate::{policy::pattern::Pattern, vault::Origin};

pub(crate) use claim::IDENTITY;

mod claim;
#[cfg(test)]
mod tests;

/// The policy as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether refusals are meant.
    pub mode: Mode,
    /// Refuse secrets that Key Vault says have expired, whichever rule grants them.
    pub refuse_expired: bool,
    /// In the order of the file: the first that is satisfied grants.
    pub rules: Vec<Rule>,
}

/// Whether refusals are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// What no rule grants is refused.
    #[default]
    Enforce,
    /// What no rule grants is recorded, and granted all the same.
    Audit,
}

/// Some secrets for some jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in messages and records; no other rule has it.
    pub name: String,
    /// Whose tokens it is for.
    pub issuer: String,
    /// Every one of these claims has to be there and match one of its patterns. Claims that say
    /// which project it is come first: they decide most cases, and who may see the rest.
    pub bound_claims: Vec<(String, Vec<Pattern>)>,
    /// The vaults that it is about.
    pub vaults: Vec<Origin>,
    /// The secrets in them, in lower case.
    pub secrets: Vec<Pattern>,
    /// What a job must name, or gets if it names none; in lower case.
    pub tenant_id: Option<String>,
    /// The same for the application.
    pub client_id: Option<String>,
    /// Whether a job must name the secret's version.
    pub require_version: bool,
    /// Whether pipelines of forks are meant too, when they run in another project than their own.
    pub allow_forks: bool,
    /// Refuse secrets that Key Vault says have expired.
    pub refuse_expired: bool,
}

/// Reads `[policy]` and every `[[rule]]`. Rules with mistakes are left out.
pub(crate) fn read(root: &mut Table<'_>, issuers: &[Issuer]) -> Rules {
    let mut policy = root.table("policy");
    let mode = policy.or("mode", Mode::default());
    let refuse_expired = policy.or("refuse_expired", false);
    drop(policy);
    let mut names = BTreeSet::new();
    let mut rules = Vec::new();
    for mut table in root.tables("rule") {
        let name = name(&mut table, &mut names);
        rules.extend(read_one(&mut table, name, issuers));
    }
    Rules {
        mode,
        refuse_expired,
        rules,
    }
}

/// Reads a text that has only the tables `[[issuer]]`, `[policy]` and `[[rule]]`.
pub fn parse(source: &str) -> Result<(Vec<Issuer>, Rules), Vec<raw::Problem>> {
    let problems = raw::Problems::new(source);
    let read = raw::parse(&problems, |mut root| {
        let issuers = super::issuer::read(&mut root);
        let rules = read(&mut root, &issuers);
        (issuers, rules)
    });
    let problems = problems.into_sorted();
    match read {
        Some(read) if problems.is_empty() => Ok(read),
        _ => Err(problems),
    }
}

impl Value for Mode {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "enforce" => Ok(Self::Enforce),
            "audit" => Ok(Self::Audit),
            other => Err(format!("{other:?} is neither \"enforce\" nor \"audit\"")),
        }
    }
}

fn name(table: &mut Table<'_>, names: &mut BTreeSet<String>) -> Option<String> {
    // Names are quoted in messages to jobs and are columns in reports.
    const LONGEST: usize = 100;
    let name: String = table.required("name")?;
    let problem = if name.trim() != name || name.is_empty() || name.chars().any(char::is_control) {
        "is empty, begins or ends with white space, or has a control character"
    } else if name.len() > LONGEST {
        "has more than 100 bytes"
    } else if names.insert(name.clone()) {
        return Some(name);
    } else {
        "is the name of another rule too"
    };
    table.problem("name", format!("{name:?} {problem}"));
    None
}

fn read_one(table: &mut Table<'_>, name: Option<String>, issuers: &[Issuer]) -> Option<Rule> {
    let issuer = issuer(table, issuers);
    let bound_claims = claim::read(table);
    let vaults = list(table, "vaults", |vault| {
        Origin::parse(vault).map_err(|error| error.to_string())
    });
    let secrets = list(table, "secrets", secret);
    let tenant_id = id(table, "tenant_id", is_tenant);
    let client_id = id(table, "client_id", is_guid);
    let require_version = table.or("require_version", false);
    let allow_forks = table.or("allow_forks", false);
    let refuse_expired = table.or("refuse_expired", false);
    Some(Rule {
        name: name?,
        issuer: issuer?,
        bound_claims: bound_claims?,
        vaults: vaults?,
        secrets: secrets?,
        tenant_id,
        client_id,
        require_version,
        allow_forks,
        refuse_expired,
    })
}

fn issuer(table: &mut Table<'_>, issuers: &[Issuer]) -> Option<String> {
    let named: Option<String> = match issuers {
        [_] => table.optional("issuer"),
        // With none there is a problem noted already.
        [] => return table.optional("issuer"),
        _ => Some(table.required("issuer")?),
    };
    let Some(named) = named else {
        return issuers.first().map(|only| only.url.clone());
    };
    if issuers.iter().any(|issuer| issuer.url == named) {
        return Some(named);
    }
    let known: Vec<&str> = issuers.iter().map(|issuer| issuer.url.as_str()).collect();
    let problem = format!("{named:?} is no [[issuer]]; there is {}", known.join(", "));
    table.problem("issuer", problem);
    None
}

/// A list of text with at least one element, each of which `parse` takes.
fn list<T>(
    table: &mut Table<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<Vec<T>> {
    let texts: Vec<String> = table.required(key)?;
    if texts.is_empty() {
        table.problem(key, "is empty, so the rule grants nothing".to_owned());
        return None;
    }
    let mut parsed = Vec::new();
    for text in &texts {
        match parse(text) {
            Ok(value) => parsed.push(value),
            Err(problem) => table.problem(key, format!("{text:?} {problem}")),
        }
    }
    (parsed.len() == texts.len()).then_some(parsed)
}

fn secret(text: &str) -> Result<Pattern, String> {
    let possible = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'*';
    if !text.bytes().all(possible) {
        let problem = "can never match: a secret's name has letters, digits and hyphens; \
                       the only wildcard is *";
        return Err(problem.to_owned());
    }
    // Key Vault's names compare without case; ours are in lower case from the start.
    Pattern::parse(&text.to_ascii_lowercase()).map_err(|error| error.to_string())
}

fn id(table: &mut Table<'_>, key: &'static str, is_right: fn(&str) -> bool) -> Option<String> {
    let text = table.optional::<String>(key)?.to_ascii_lowercase();
    if is_right(&text) {
        return Some(text);
    }
    let problem = format!("{text:?} is no id as in 11111111-2222-3333-4444-555555555555");
    table.problem(key, problem);
    None
}

fn is_guid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let digits = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    lengths == [8, 4, 4, 4, 12] && groups.iter().all(digits)
}

/// A tenant also has names: its verified domains.
fn is_tenant(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    is_guid(text) || (text.contains('.') && !text.contains("..") && text.bytes().all(plain))
}

/// One value or a list of values of a bound claim, as text, or what is wrong with it: the claim
/// counts as bound all the same.
struct Bound(Result<Vec<String>, String>);

impl Value for Bound {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let texts = match value {
            DeValue::Array(elements) if elements.is_empty() => {
                Err("is an empty list, which no job can match".to_owned())
            }
            DeValue::Array(elements) => elements
                .iter()
                .map(|element| scalar(element.get_ref()))
                .collect(),
            value => scalar(value).map(|text| vec![text]),
        };
        Ok(Self(texts))
    }
}

fn scalar(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        DeValue::Integer(_) => u64::read(value).map(|number| number.to_string()),
        other => Err(expected("a string, a number, true or false", other)),
    }
}
