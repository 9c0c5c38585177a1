//! Cases of a policy as data: such a job, such a secret, such a verdict. An operator keeps them
//! beside the rules and lets `policy test` run them before a change goes live.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::{Asked, Explanation, Policy};
use crate::{
    config::raw::{self, Problem, Problems, Table, Value, expected},
    name::{SecretName, SecretVersion, VariableName},
    token::Claims,
    vault::Origin,
};

/// One case.
#[derive(Debug)]
pub struct Case {
    /// What it shows, as a sentence.
    pub name: String,
    claims: Claims,
    asked: Asked,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    /// By this rule, if it says one.
    Granted { rule: Option<String> },
    /// With this text in the operator's account, if it says one.
    Denied { because: Option<String> },
}

/// Reads the cases of a file:
///
/// ```toml
/// [claims]                             # of every job, unless a case says otherwise
/// iss = "https://gitlab.example.com"
/// project_path = "acme/shop"
///
/// [[case]]
/// name = "a deployment to production reads the database's password"
/// claims = { environment = "production" }
/// without = ["deployment_tier"]        # claims that this job does not have
/// secret = "db-password"               # and vault, version, tenant_id, client_id
/// expect = "granted"                   # or "denied"
/// rule = "shop production"             # the rule that grants; for a denial instead:
/// # because = "wants environment"      # what some line of the operator's account says
/// ```
pub fn read(source: &str) -> Result<Vec<Case>, Vec<Problem>> {
    let problems = Problems::new(source);
    let cases = raw::parse(&problems, |mut root| {
        let common = root.entries::<Claim>("claims");
        let tables = root.tables("case");
        let read = |mut table| case(&mut table, &common);
        tables.into_iter().filter_map(read).collect::<Vec<_>>()
    });
    let problems = problems.into_sorted();
    match cases {
        Some(cases) if problems.is_empty() => Ok(cases),
        _ => Err(problems),
    }
}

impl Case {
    /// Whether the policy says what the case expects; if not, what it says instead, in one
    /// line.
    pub fn check(&self, policy: &Policy) -> Result<(), String> {
        let mut explanations = policy.explain(&self.claims, std::slice::from_ref(&self.asked));
        let Some(explanation) = explanations.pop() else {
            return Err("the policy says nothing".to_owned());
        };
        let granted_by = explanation.granted.as_ref().map(super::Granted::rule);
        let right = match (&self.expected, granted_by) {
            (Expected::Granted { rule: None }, Some(_))
            | (Expected::Denied { because: None }, None) => true,
            (Expected::Granted { rule }, Some(by)) => rule.as_deref() == by,
            (
                Expected::Denied {
                    because: Some(text),
                },
                None,
            ) => says(&explanation, text),
            (Expected::Granted { .. }, None) | (Expected::Denied { .. }, Some(_)) => false,
        };
        if right {
            Ok(())
        } else {
            Err(account(&explanation))
        }
    }
}

fn says(explanation: &Explanation, text: &str) -> bool {
    let account = explanation.account.iter();
    account.into_iter().any(|line| line.says.contains(text))
}

fn account(explanation: &Explanation) -> String {
    let lines = explanation.account.iter();
    let lines = lines.map(|line| format!("rule {:?} {}", line.rule, line.says));
    let lines: Vec<String> = lines.collect();
    let told = &explanation.sentence;
    format!("{told}; rule by rule: {}", lines.join("; "))
}

fn case(table: &mut Table<'_>, common: &BTreeMap<String, Claim>) -> Option<Case> {
    let name = table.required("name");
    let claims = claims(table, common);
    let asked = asked(table);
    let expected = expected_verdict(table);
    Some(Case {
        name: name?,
        claims: claims?,
        asked: asked?,
        expected: expected?,
    })
}

fn claims(table: &mut Table<'_>, common: &BTreeMap<String, Claim>) -> Option<Claims> {
    let own = table.entries::<Claim>("claims");
    let without: Vec<String> = table.or("without", Vec::new());
    // What a token must have and rules are seldom about.
    let mut all = serde_json::Map::new();
    for (name, value) in [
        ("sub", "assumed".into()),
        ("aud", "assumed".into()),
        ("exp", u32::MAX.into()),
        ("project_id", "0".into()),
        ("job_id", "0".into()),
    ] {
        all.insert(name.to_owned(), value);
    }
    for (name, claim) in common.iter().chain(&own) {
        all.insert(name.clone(), claim.0.clone());
    }
    for name in &without {
        all.remove(name);
    }
    match Claims::assume(&serde_json::Value::from(all).to_string()) {
        Ok(claims) => Some(claims),
        Err(error) => {
            table.problem("claims", error.to_string());
            None
        }
    }
}

fn asked(table: &mut Table<'_>) -> Option<Asked> {
    let secret: Option<String> = table.required("secret");
    let vault: Option<String> = table.optional("vault");
    let version = table.or("version", String::new());
    let tenant_id = table.optional("tenant_id");
    let client_id = table.optional("client_id");
    let name = parsed(table, "secret", SecretName::parse(&secret?));
    let version = parsed(table, "version", SecretVersion::parse(&version));
    let vault = parsed(
        table,
        "vault",
        vault.as_deref().map(Origin::parse).transpose(),
    );
    Some(Asked {
        variable: VariableName::parse("SECRET").ok()?,
        name: name?,
        version: version?,
        vault: vault?,
        tenant_id,
        client_id,
    })
}

fn parsed<T, E: ToString>(table: &Table<'_>, key: &str, parsed: Result<T, E>) -> Option<T> {
    match parsed {
        Ok(value) => Some(value),
        Err(error) => {
            table.problem(key, error.to_string());
            None
        }
    }
}

fn expected_verdict(table: &mut Table<'_>) -> Option<Expected> {
    let rule = table.optional("rule");
    let because = table.optional("because");
    let expect: String = table.required("expect")?;
    match (expect.as_str(), because) {
        ("granted", None) => Some(Expected::Granted { rule }),
        ("denied", because) if rule.is_none() => Some(Expected::Denied { because }),
        ("granted" | "denied", _) => {
            let problem = "takes `rule` when granted and `because` when denied".to_owned();
            table.problem("expect", problem);
            None
        }
        (other, _) => {
            table.problem(
                "expect",
                format!("{other:?} is neither \"granted\" nor \"denied\""),
            );
            None
        }
    }
}

/// A claim as a token would have it.
struct Claim(serde_json::Value);

impl Value for Claim {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let value = match value {
            DeValue::String(text) => text.to_string().into(),
            DeValue::Boolean(yes) => (*yes).into(),
            DeValue::Integer(_) => u64::read(value)?.into(),
            DeValue::Array(elements) => {
                let read =
                    |element: &toml::Spanned<DeValue<'_>>| Ok(Self::read(element.get_ref())?.0);
                let elements: Result<Vec<_>, String> = elements.iter().map(read).collect();
                elements?.into()
            }
            other => return Err(expected("a string, a number, true, false or a list", other)),
        };
        Ok(Self(value))
    }
}
