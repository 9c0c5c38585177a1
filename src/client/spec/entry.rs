//! A spec's tree as what was written for each variable: the shape of `secrets:` in
//! .gitlab-ci.yml, checked field by field. Nothing is expanded or looked up yet.

use std::{collections::BTreeMap, rc::Rc};

use super::document::{self, ENTRY, Node, Problem};
use crate::name::VariableName;

/// What was written for one variable. Empty: not written.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) url: String,
    pub(super) tenant_id: String,
    pub(super) client_id: String,
    /// `None`: there is no such field.
    pub(super) token: Option<String>,
    pub(super) file: bool,
}

const AZURE: &str = "azure_key_vault";

/// Backends that the runner serves itself.
const ELSEWHERE: [&str; 5] = [
    "akeyless",
    "aws_secrets_manager",
    "gcp_secret_manager",
    "gitlab_secrets_manager",
    "vault",
];

/// Where their secrets stay.
const SECRETS: &str = "secrets:\n  DB_PASSWORD:\n    vault: shop/db/password@ops\n";

type Entries = Vec<(String, Rc<Node>)>;

/// Reads the text of one spec.
pub(super) fn read(text: &str) -> Result<BTreeMap<VariableName, Entry>, Problem> {
    let root = document::parse(text)?;
    let root = root.ok_or_else(|| problem("", "is empty: name secrets in it, or do not set it"))?;
    let mut secrets = BTreeMap::new();
    for (key, node) in block(&root)? {
        let variable = VariableName::parse(key).map_err(|error| {
            let lines = "";
            Problem {
                lines,
                ..problem(key, error.to_string())
            }
        })?;
        secrets.insert(variable, entry(key, node)?);
    }
    if secrets.is_empty() {
        return Err(problem("", "names no secret"));
    }
    Ok(secrets)
}

/// The map of variables: the root, or what stands under `secrets:` in it.
fn block(root: &Node) -> Result<&Entries, Problem> {
    let entries = match root {
        Node::Map(entries) => entries,
        Node::Scalar { text, .. } if text.starts_with('/') => {
            return Err(problem(
                "",
                "holds a path: use RUNNER_SECRETS_FILE for a spec in a file",
            ));
        }
        _ => return Err(problem("", "is no map of variables to their secrets")),
    };
    let under = entries
        .iter()
        .find(|(key, node)| key == "secrets" && !is_entry(node));
    match under {
        None => Ok(entries),
        Some(_) if entries.len() > 1 => Err(problem(
            "secrets",
            "has other keys beside it: only the `secrets:` block belongs here",
        )),
        Some((key, block)) => map(key, block),
    }
}

/// Whether this is a secret (of a variable named `secrets`, say) and not a map of them.
fn is_entry(node: &Node) -> bool {
    let Node::Map(entries) = node else {
        return false;
    };
    let backend = |key: &str| key == AZURE || ELSEWHERE.contains(&key);
    entries.iter().any(|(key, _)| backend(key))
}

fn entry(path: &str, node: &Node) -> Result<Entry, Problem> {
    let mut entry = Entry {
        file: true,
        ..Entry::default()
    };
    let mut azure = None;
    let mut server = None;
    for (key, node) in map(path, node)? {
        let path = format!("{path}.{key}");
        match key.as_str() {
            AZURE => azure = Some((path, node)),
            "file" => entry.file = boolean(&path, node)?,
            "server" => server = Some((path, node)),
            "token" => entry.token = Some(text(&path, node)?),
            other if ELSEWHERE.contains(&other) => return Err(elsewhere(&path)),
            _ => return Err(unknown(&path, "azure_key_vault, file, server and token")),
        }
    }
    let Some((azure_path, azure)) = azure else {
        let path = format!("{path}.{AZURE}");
        return Err(problem(&path, "is missing: it names the secret"));
    };
    for (key, node) in map(&azure_path, azure)? {
        let path = format!("{azure_path}.{key}");
        match key.as_str() {
            "name" => entry.name = text(&path, node)?,
            "version" => entry.version = text(&path, node)?,
            "server" if server.is_none() => server = Some((path, node)),
            "server" => {
                return Err(problem(
                    &path,
                    "is there twice, also beside azure_key_vault",
                ));
            }
            _ => return Err(unknown(&path, "name, server and version")),
        }
    }
    if entry.name.is_empty() {
        let path = format!("{azure_path}.name");
        return Err(problem(
            &path,
            "is missing: the name of the secret in Key Vault",
        ));
    }
    if let Some((path, node)) = server {
        read_server(&mut entry, &path, node)?;
    }
    Ok(entry)
}

fn read_server(entry: &mut Entry, path: &str, node: &Node) -> Result<(), Problem> {
    for (key, node) in map(path, node)? {
        let path = format!("{path}.{key}");
        let field = match key.as_str() {
            "client_id" => &mut entry.client_id,
            "tenant_id" => &mut entry.tenant_id,
            "url" => &mut entry.url,
            "jwt" => {
                let advice = "belongs into `token:`, beside azure_key_vault";
                return Err(problem(&path, advice));
            }
            _ => return Err(unknown(&path, "client_id, tenant_id and url")),
        };
        *field = text(&path, node)?;
    }
    Ok(())
}

fn map<'a>(path: &str, node: &'a Node) -> Result<&'a Entries, Problem> {
    match node {
        Node::Map(entries) => Ok(entries),
        Node::List => Err(problem(path, "is a list where a map belongs")),
        Node::Scalar { .. } if node.is_nothing() => {
            Err(problem(path, "is empty where a map belongs"))
        }
        Node::Scalar { .. } => Err(problem(path, "is a text where a map belongs")),
    }
}

fn text(path: &str, node: &Node) -> Result<String, Problem> {
    match node {
        _ if node.is_nothing() => Ok(String::new()),
        Node::Scalar { text, .. } => Ok(text.clone()),
        Node::List => Err(problem(path, "is a list where a text belongs")),
        Node::Map(_) => Err(problem(path, "is a map where a text belongs")),
    }
}

/// GitLab reads YAML 1.1, where `yes` and `on` are booleans too; in quotes nothing is.
fn boolean(path: &str, node: &Node) -> Result<bool, Problem> {
    let Node::Scalar { text, plain } = node else {
        return Err(problem(path, "is no scalar: write true or false"));
    };
    match (plain, text.to_ascii_lowercase().as_str()) {
        (true, "true" | "yes" | "on") => Ok(true),
        (true, "false" | "no" | "off") => Ok(false),
        (false, _) => Err(problem(
            path,
            "is a text, and GitLab takes booleans only: write true or false without quotes",
        )),
        _ => Err(problem(path, "is no boolean: write true or false")),
    }
}

fn unknown(path: &str, known: &str) -> Problem {
    problem(path, format!("is no field here; there are {known}"))
}

fn elsewhere(path: &str) -> Problem {
    let advice = "is not served here: leave this secret in `secrets:` of the job";
    Problem {
        lines: SECRETS,
        ..problem(path, advice)
    }
}

fn problem(path: &str, problem: impl Into<String>) -> Problem {
    Problem {
        place: path.to_owned(),
        says: problem.into(),
        lines: ENTRY,
    }
}
