//! `policy explain`: what the policy says to one job, with the whole account, which is the
//! operator's alone. The claims that it goes by are printed with what they are worth; the status
//! is the policy's word, whether or not anybody vouches for the token.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use runner_secrets_proto::Reason;
use serde::Serialize;

use super::{
    Error, Streams, policy_of,
    presented::{self, Presented},
    table::Table,
};
use crate::{
    client::Spec,
    config::{Config, rule::Mode},
    policy::{Asked, Explanation, Granted, Policy},
    screen, service,
    token::quoted::Quoted,
};

/// What most rules are about, and what tells one job from another.
const USUAL: [&str; 8] = [
    "iss",
    "project_path",
    "job_id",
    "ref",
    "ref_type",
    "ref_protected",
    "environment",
    "pipeline_source",
];

/// Explains what the job with the token in the file `token` gets of the spec in the file `spec`.
pub(super) async fn explain(
    config: &Config,
    token: &Path,
    spec: &Path,
    json: bool,
    streams: &mut Streams<'_>,
) -> Result<u8, Error> {
    let id_token = Arc::new(presented::read(token)?);
    let presented = presented::of(&id_token, token, &config.issuers).await?;
    let spec = Spec::in_file(spec, id_token)?;
    let secrets = spec.request(None).secrets.into_iter();
    let cloud = &config.azure.cloud;
    let asked = secrets.map(|(name, secret)| service::asked(cloud, &name, secret.source));
    let asked = asked.collect::<Result<Vec<Asked>, _>>()?;
    let policy = policy_of(config);
    let answer = Answer {
        explanations: policy.explain(&presented.claims, &asked),
        claims: claims(config, &presented),
        asked,
        presented,
        policy,
    };
    if answer.policy.mode() == Mode::Audit {
        streams.complain("policy.mode is \"audit\": what is denied here is granted all the same");
    }
    let text = if json {
        answer.json().map_err(|error| Error::Output(error.into()))?
    } else {
        answer.text(streams.colour)
    };
    streams.print(&text)?;
    Ok(if answer.all_granted() {
        0
    } else {
        Reason::PolicyDenied.exit()
    })
}

struct Answer {
    presented: Presented,
    claims: Vec<(String, Vec<String>)>,
    policy: Policy,
    asked: Vec<Asked>,
    explanations: Vec<Explanation>,
}

/// The claims that decide: the usual ones, then whatever else a rule is about.
fn claims(config: &Config, presented: &Presented) -> Vec<(String, Vec<String>)> {
    let bound = config
        .rules
        .rules
        .iter()
        .flat_map(|rule| &rule.bound_claims);
    let bound: BTreeSet<&str> = bound.map(|(name, _)| name.as_str()).collect();
    let others = bound.into_iter().filter(|name| !USUAL.contains(name));
    let names = USUAL.into_iter().chain(others);
    let found = |name: &str| presented.claims.bound(name).unwrap_or_default().to_vec();
    names.map(|name| (name.to_owned(), found(name))).collect()
}

impl Answer {
    fn all_granted(&self) -> bool {
        self.explanations.iter().all(|one| one.granted.is_some())
    }

    fn text(&self, colour: bool) -> String {
        let mut text = match &self.presented.problem {
            None => "the token is verified; of its claims, those that rules go by:\n".to_owned(),
            Some(problem) => {
                screen::escaped(&format!(
                    "the token is unverified: it {} ({}); the daemon would not ask the policy",
                    problem.says,
                    problem.reason.name()
                )) + "\nunverified claims, those that rules go by:\n"
            }
        };
        let mut table = Table::default();
        for (name, found) in &self.claims {
            let found: Vec<String> = found.iter().map(|one| Quoted(one).to_string()).collect();
            let shown = if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(", ")
            };
            table.row([name, &shown]);
        }
        text.push_str(&table.text("  "));
        for explanation in &self.explanations {
            text.push('\n');
            text.push_str(&self.verdict(explanation, colour));
        }
        text
    }

    /// The verdict, what the job is told, and every rule's word.
    fn verdict(&self, explanation: &Explanation, colour: bool) -> String {
        let mark = screen::mark(explanation.granted.is_some(), colour);
        let worth = match self.presented.problem {
            None => "",
            Some(_) => "  (by unverified claims)",
        };
        let told = screen::escaped(&explanation.sentence);
        let mut account = Table::default();
        for line in &explanation.account {
            account.row([&line.rule, &line.says]);
        }
        let (variable, account) = (&explanation.variable, account.text("    "));
        format!("{mark}  {variable}{worth}\n  {told}\n{account}")
    }

    fn json(&self) -> Result<String, serde_json::Error> {
        let claims = self.claims.iter();
        let problem = self.presented.problem.as_ref();
        let secrets = self.asked.iter().zip(&self.explanations);
        screen::json(&Document {
            verified: problem.is_none(),
            reason: problem.map(|problem| problem.reason.name()),
            problem: problem.map(|problem| problem.says.as_str()),
            claims: claims
                .filter(|(_, found)| !found.is_empty())
                .map(|(name, found)| (name.as_str(), found.as_slice()))
                .collect(),
            mode: self.policy.mode().to_string(),
            policy_hash: self.policy.hash(),
            granted: self.all_granted(),
            secrets: secrets.map(Secret::of).collect(),
        })
    }
}

#[derive(Serialize)]
struct Document<'a> {
    verified: bool,
    reason: Option<&'a str>,
    problem: Option<&'a str>,
    claims: BTreeMap<&'a str, &'a [String]>,
    mode: String,
    policy_hash: &'a str,
    granted: bool,
    secrets: Vec<Secret<'a>>,
}

#[derive(Serialize)]
struct Secret<'a> {
    variable: &'a str,
    name: &'a str,
    granted: bool,
    rule: Option<&'a str>,
    vault: Option<&'a str>,
    tenant_id: Option<&'a str>,
    client_id: Option<&'a str>,
    sentence: &'a str,
    account: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    rule: &'a str,
    says: &'a str,
}

impl<'a> Secret<'a> {
    fn of((asked, explanation): (&'a Asked, &'a Explanation)) -> Self {
        let granted = explanation.granted.as_ref();
        let lines = explanation.account.iter();
        Self {
            variable: explanation.variable.as_str(),
            name: asked.name.as_str(),
            granted: granted.is_some(),
            rule: granted.and_then(Granted::rule),
            vault: granted.map(|granted| granted.vault.as_str()),
            tenant_id: granted.and_then(|granted| granted.tenant_id.as_deref()),
            client_id: granted.and_then(|granted| granted.client_id.as_deref()),
            sentence: &explanation.sentence,
            account: lines
                .map(|line| Line {
                    rule: &line.rule,
                    says: &line.says,
                })
                .collect(),
        }
    }
}
