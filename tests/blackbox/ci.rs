//! `.gitlab-ci.yml` as GitLab makes jobs of it, as far as the samples go: `extends`, `variables`,
//! `parallel: matrix`, a child pipeline.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value};

use crate::tree;

/// A job.
#[derive(Clone, Debug)]
pub(crate) struct Ci {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) id_tokens: Vec<String>,
    pub(crate) environment: String,
    /// `secrets:`, as it is written, which is for the gateway.
    pub(crate) secrets: Value,
    pub(crate) script: String,
    pub(crate) after_script: String,
}

/// What is no job at the top.
const KEYWORDS: [&str; 6] = [
    "default",
    "image",
    "include",
    "stages",
    "variables",
    "workflow",
];

/// The jobs of a file, and those of the child pipelines that it starts.
pub(crate) fn jobs(directory: &Path, name: &str) -> Vec<Ci> {
    let read = |name: &str| tree::yaml(&fs::read_to_string(directory.join(name)).unwrap());
    let file = read(name);
    let mut jobs = of(&file, &BTreeMap::new());
    for job in file.as_object().unwrap().values() {
        if let Some(child) = job["trigger"]["include"].as_str() {
            assert_eq!(job["trigger"]["forward"]["yaml_variables"], true);
            let mut handed = strings(&file["variables"]);
            handed.extend(strings(&job["variables"]));
            jobs.extend(of(&read(child), &handed));
        }
    }
    assert!(!jobs.is_empty(), "{name}");
    jobs
}

/// The jobs of a pipeline that was handed these variables.
pub(crate) fn of(file: &Value, handed: &BTreeMap<String, String>) -> Vec<Ci> {
    let file = file.as_object().unwrap();
    let mut jobs = Vec::new();
    for (name, job) in file {
        if name.starts_with('.') || KEYWORDS.contains(&name.as_str()) || !job["trigger"].is_null() {
            continue;
        }
        let job = extended(file, job);
        let mut variables = handed.clone();
        variables.extend(file.get("variables").map(strings).unwrap_or_default());
        variables.extend(strings(&job["variables"]));
        for more in combinations(&job["parallel"]["matrix"]) {
            let mut variables = variables.clone();
            variables.extend(more);
            jobs.push(Ci {
                variables,
                id_tokens: keys(&job["id_tokens"]),
                environment: text(&job["environment"]),
                secrets: job["secrets"].clone(),
                script: lines(&job["script"]),
                after_script: lines(&job["after_script"]),
            });
        }
    }
    jobs
}

/// Maps are merged, key by key; whatever else the job has takes the template's place.
fn extended(file: &Map<String, Value>, job: &Value) -> Value {
    let Some(template) = job["extends"].as_str() else {
        return job.clone();
    };
    let mut merged = extended(file, &file[template]);
    merge(&mut merged, job);
    merged
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Each combination of a matrix; one without variables where there is none.
fn combinations(matrix: &Value) -> Vec<BTreeMap<String, String>> {
    let Some(entries) = matrix.as_array() else {
        return vec![BTreeMap::new()];
    };
    let mut all = Vec::new();
    for entry in entries {
        let mut made = vec![BTreeMap::new()];
        for (name, values) in entry.as_object().unwrap() {
            let values = values.as_array().cloned();
            let values = values.unwrap_or_else(|| vec![entry[name].clone()]);
            let each = |with: &BTreeMap<String, String>| {
                let with = with.clone();
                let values = values.clone().into_iter();
                let name = name.clone();
                values.map(move |value| {
                    let mut with = with.clone();
                    with.insert(name.clone(), text(&value));
                    with
                })
            };
            made = made.iter().flat_map(each).collect();
        }
        all.extend(made);
    }
    all
}

/// Variables in variables, as GitLab expands them before a job has them.
pub(crate) fn expanded(variables: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut expanded = variables.clone();
    for value in expanded.values_mut() {
        for (name, is) in variables.iter().rev() {
            *value = value.replace(&format!("${{{name}}}"), is);
            *value = value.replace(&format!("${name}"), is);
        }
    }
    expanded
}

fn strings(map: &Value) -> BTreeMap<String, String> {
    let entries = map.as_object().into_iter().flatten();
    entries
        .map(|(key, value)| (key.clone(), text(value)))
        .collect()
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn keys(map: &Value) -> Vec<String> {
    let entries = map.as_object().into_iter().flatten();
    entries.map(|(key, _)| key.clone()).collect()
}

fn lines(script: &Value) -> String {
    let lines = script.as_array().into_iter().flatten();
    lines.map(text).collect::<Vec<_>>().join("\n")
}
