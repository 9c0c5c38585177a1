//! A job's payload as GitLab answers `jobs/request`: what the gateway reads of it, and the few
//! places that it changes. Everything else stays as it came, byte for byte. The rule for what
//! cannot be understood: an entry of `azure_key_vault` is never left for the runner's own resolver,
//! which would read the secret past policy and audit; whatever the runner could not decode either
//! is nobody's to mend.

mod json;
mod tokens;

use std::ops::Range;

use self::json::{Edits, Member, Value, last, quoted};
pub(super) use self::tokens::without_tokens;
use crate::name::VariableName;

/// A payload that was read.
pub(super) struct Payload<'a> {
    document: &'a str,
    members: Vec<Member<'a>>,
    variables: Vec<Variable>,
    secrets: Vec<Secrets<'a>>,
}

/// What is wrong with a part of the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// The part, as a path.
    pub(super) field: String,
    /// What is wrong with it, as the end of a sentence.
    pub(super) problem: String,
}

/// One of the job's variables.
pub(super) struct Variable {
    /// Its name.
    pub(super) key: String,
    /// Its value.
    pub(super) value: String,
    /// Whether the job gets a file.
    pub(super) file: bool,
    /// Whether the runner leaves dollar signs in it alone.
    pub(super) raw: bool,
}

/// A secret of Azure Key Vault among the payload's.
pub(super) struct Entry {
    /// The variable that is to have it.
    pub(super) variable: String,
    /// The secret's name, not yet expanded; so with the others.
    pub(super) name: String,
    /// Empty: the latest.
    pub(super) version: String,
    /// The vault.
    pub(super) url: String,
    /// The Entra tenant.
    pub(super) tenant_id: String,
    /// The client.
    pub(super) client_id: String,
    /// The ID token, or the variable that has it.
    pub(super) token: String,
    /// Whether the job gets a file.
    pub(super) file: bool,
}

/// A variable that the job gets.
pub(super) struct Given<'a> {
    /// Its name.
    pub(super) key: &'a VariableName,
    /// Its value.
    pub(super) value: &'a str,
    /// Whether as a file.
    pub(super) file: bool,
}

/// One object `secrets`; there is one unless somebody plays tricks.
struct Secrets<'a> {
    members: Vec<Member<'a>>,
}

impl<'a> Payload<'a> {
    /// Reads a payload; `None` for what no runner could take for a job.
    pub(super) fn read(document: &'a str) -> Option<Self> {
        let members = Value::first(document)?.members()?;
        let of = |name| members.iter().filter(move |member| member.is(name));
        let objects = of("secrets").filter_map(|member| member.value.members());
        let secrets = objects.map(|members| Secrets { members }).collect();
        let lists = of("variables").filter_map(|member| member.value.elements());
        let variables = lists.flatten().map(Variable::read).collect();
        Some(Self {
            document,
            members,
            variables,
            secrets,
        })
    }

    /// The job's id.
    pub(super) fn id(&self) -> Option<i64> {
        last(&self.members, "id")?.integer()
    }

    /// The job's own token, with which GitLab lets its state be changed.
    pub(super) fn token(&self) -> Option<String> {
        last(&self.members, "token")?.text()
    }

    /// The reasons for failing that GitLab knows.
    pub(super) fn failure_reasons(&self) -> Vec<String> {
        let features = last(&self.members, "features").and_then(Value::members);
        let features = features.unwrap_or_default();
        let reasons = last(&features, "failure_reasons").and_then(Value::elements);
        let reasons = reasons.unwrap_or_default().into_iter();
        reasons.filter_map(Value::text).collect()
    }

    /// All variables in order; of several with one name the last counts.
    pub(super) fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The secrets of Azure Key Vault, or the first that cannot be understood.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Wrong> {
        let mut entries: Vec<Entry> = Vec::new();
        for member in self.secrets.iter().flat_map(|secrets| &secrets.members) {
            let Some(entry) = entry(member)? else {
                continue;
            };
            if entries.iter().any(|other| other.variable == entry.variable) {
                let field = format!("secrets.{}", entry.variable);
                return Err(wrong(&field, "is there twice"));
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The payload without its entries of Azure Key Vault and without the variables for which
    /// `drop` holds, and with `given` after all others.
    pub(super) fn rewritten(
        &self,
        drop: impl Fn(&Variable) -> bool,
        given: &[Given<'_>],
    ) -> String {
        let mut edits = Edits::default();
        for Secrets { members } in &self.secrets {
            let spans: Vec<_> = members.iter().map(Member::span).collect();
            let azure = |index: usize| members.get(index).is_some_and(is_azure);
            edits.remove(&spans, azure);
        }
        let given: Vec<String> = given.iter().map(Given::to_json).collect();
        self.rewrite_variables(&mut edits, drop, &given.join(","));
        edits.apply(self.document)
    }

    /// The job with nothing in it but `lines` for its log and a failure: what a runner gets when
    /// GitLab lets nobody else fail the job.
    pub(super) fn failing(&self, lines: &[String]) -> String {
        // `run` would take the place of the steps; the rest costs time or does harm.
        const GONE: [&str; 8] = [
            "artifacts",
            "cache",
            "dependencies",
            "hooks",
            "run",
            "secrets",
            "services",
            "steps",
        ];
        let no_git = r#"{"key":"GIT_STRATEGY","value":"none","public":true,"file":false,"masked":false,"raw":true}"#;
        // The same in every shell that runners have.
        let echo = |line: &String| format!("echo '{}'", line.replace('\'', "\u{2019}"));
        let script: Vec<String> = lines
            .iter()
            .map(echo)
            .chain(["exit 1".to_owned()])
            .collect();
        let script = serde_json::Value::from(script);
        let steps = format!(
            r#""steps":[{{"name":"script","script":{script},"timeout":60,"when":"on_success","allow_failure":false}}]"#
        );
        let mut edits = Edits::default();
        let spans: Vec<_> = self.members.iter().map(Member::span).collect();
        let gone = |member: &Member<'_>| GONE.iter().any(|name| member.is(name));
        edits.remove(&spans, |index| self.members.get(index).is_some_and(gone));
        self.add_member(&mut edits, &steps);
        self.rewrite_variables(&mut edits, |_| false, no_git);
        edits.apply(self.document)
    }

    /// Drops variables and appends what `given` says, which is the inside of a list.
    fn rewrite_variables(&self, edits: &mut Edits, drop: impl Fn(&Variable) -> bool, given: &str) {
        let lists: Vec<Value<'_>> = self
            .members
            .iter()
            .filter(|member| member.is("variables"))
            .map(|member| member.value)
            .collect();
        let mut variables = self.variables.iter();
        for (at, list) in lists.iter().enumerate() {
            let elements = list.elements().unwrap_or_default();
            let gone: Vec<bool> = variables.by_ref().take(elements.len()).map(&drop).collect();
            let spans: Vec<Range<usize>> = elements.iter().map(|value| value.span()).collect();
            edits.remove(&spans, |index| gone.get(index) == Some(&true));
            if given.is_empty() || at + 1 < lists.len() {
                continue;
            }
            if list.is_null() {
                edits.replace(list.span(), format!("[{given}]"));
            } else {
                let comma = if gone.contains(&false) { "," } else { "" };
                edits.insert(list.span().end - 1, format!("{comma}{given}"));
            }
        }
        if lists.is_empty() && !given.is_empty() {
            self.add_member(edits, &format!("\"variables\":[{given}]"));
        }
    }

    /// Adds a member after all others.
    fn add_member(&self, edits: &mut Edits, member: &str) {
        if let Some(last) = self.members.last() {
            edits.insert(last.span().end, format!(",{member}"));
        }
    }
}

impl Variable {
    /// As the runner reads it: what is missing or wrong is empty.
    fn read(value: Value<'_>) -> Self {
        let members = value.members().unwrap_or_default();
        let text = |name| last(&members, name).and_then(Value::text);
        let flag = |name| last(&members, name).and_then(Value::boolean);
        Self {
            key: text("key").unwrap_or_default(),
            value: text("value").unwrap_or_default(),
            file: flag("file").unwrap_or_default(),
            raw: flag("raw").unwrap_or_default(),
        }
    }
}

impl Given<'_> {
    /// What the runner itself makes of a secret that it resolved. `raw`, because a dollar sign in a
    /// password is one.
    fn to_json(&self) -> String {
        let (key, value, file) = (quoted(self.key.as_str()), quoted(self.value), self.file);
        format!(
            r#"{{"key":{key},"value":{value},"public":false,"file":{file},"masked":true,"raw":true}}"#
        )
    }
}

/// The members of a secret that name Azure Key Vault: more than one only if somebody plays tricks.
fn azure<'a>(secret: &[Member<'a>]) -> Option<Value<'a>> {
    last(secret, AZURE).filter(|value| !value.is_null())
}

const AZURE: &str = "azure_key_vault";

/// Whether the runner's own resolver would read this from Azure.
fn is_azure(member: &Member<'_>) -> bool {
    let secret = member.value.members().unwrap_or_default();
    secret
        .iter()
        .any(|member| member.is(AZURE) && !member.value.is_null())
}

/// Reads one of the secrets; `None` when it is another backend's.
fn entry(member: &Member<'_>) -> Result<Option<Entry>, Wrong> {
    if !is_azure(member) {
        return Ok(None);
    }
    let variable = member.name.clone();
    let path = format!("secrets.{variable}");
    let secret = member.value.members().unwrap_or_default();
    let azure = azure(&secret).and_then(Value::members);
    let azure_path = format!("{path}.{AZURE}");
    let azure = azure.ok_or_else(|| wrong(&azure_path, "is no object"))?;
    let server_path = format!("{azure_path}.server");
    let server = match last(&azure, "server") {
        Some(server) if !server.is_null() => server
            .members()
            .ok_or_else(|| wrong(&server_path, "is no object"))?,
        _ => Vec::new(),
    };
    let file = match last(&secret, "file") {
        Some(file) if !file.is_null() => file
            .boolean()
            .ok_or_else(|| wrong(&format!("{path}.file"), "is neither true nor false"))?,
        _ => true,
    };
    // GitLab makes one `server` for all secrets, with the first one's token; only what stands
    // beside it is this one's own.
    let mut token = text(&secret, "token", &path)?;
    if token.is_empty() {
        token = text(&server, "jwt", &server_path)?;
    }
    Ok(Some(Entry {
        name: text(&azure, "name", &azure_path)?,
        version: text(&azure, "version", &azure_path)?,
        url: text(&server, "url", &server_path)?,
        tenant_id: text(&server, "tenant_id", &server_path)?,
        client_id: text(&server, "client_id", &server_path)?,
        token,
        file,
        variable,
    }))
}

/// The text of a member; nothing when it is not there.
fn text(members: &[Member<'_>], name: &str, path: &str) -> Result<String, Wrong> {
    match last(members, name) {
        Some(value) if !value.is_null() => value
            .text()
            .ok_or_else(|| wrong(&format!("{path}.{name}"), "is no text")),
        _ => Ok(String::new()),
    }
}

fn wrong(field: &str, problem: &str) -> Wrong {
    Wrong {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
