//! `runner-secretsd setup azure`: prints what to create in Entra and Key Vault so that some jobs get
//! some secrets, as commands of `az` or as Terraform, with the rule and the lines of .gitlab-ci.yml
//! that go with it. Changes nothing itself: what it prints is to be read before it is run.

use std::io::BufRead;

use lexopt::{Parser, prelude::*};

use super::{Asked, Command, Error, Streams, page};

mod az;
mod pipeline;
mod plan;
mod terraform;

pub use plan::Problem;

/// What was said on the command line. What is missing is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub(super) gitlab: Option<String>,
    pub(super) projects: Vec<String>,
    pub(super) group: Option<String>,
    pub(super) branches: Vec<String>,
    pub(super) tags: Vec<String>,
    pub(super) environments: Vec<String>,
    pub(super) protected: bool,
    pub(super) vault: Option<String>,
    pub(super) secrets: Vec<String>,
    pub(super) name: Option<String>,
    pub(super) audience: Option<String>,
    pub(super) resource_group: Option<String>,
    pub(super) terraform: bool,
}

/// Reads what follows `setup`.
pub fn arguments(parser: &mut Parser) -> Result<Asked, lexopt::Error> {
    match parser.next()? {
        Some(Value(cloud)) if cloud == "azure" => {}
        Some(Long("help") | Short('h')) => return Ok(page("setup")),
        Some(other) => return Err(other.unexpected()),
        None => return Err("setup needs the name of a cloud: azure".into()),
    }
    let mut wishes = Wishes::default();
    while let Some(argument) = parser.next()? {
        let option = match argument {
            Long("help") | Short('h') => return Ok(page("setup")),
            Long(option) => option.to_owned(),
            other => return Err(other.unexpected()),
        };
        wishes.take(&option, parser)?;
    }
    Ok(Command::Setup(wishes).into())
}

impl Wishes {
    fn take(&mut self, option: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        if option == "protected" {
            self.protected = true;
            return Ok(());
        }
        let value = parser.value()?.string()?;
        match option {
            "gitlab" => self.gitlab = Some(value),
            "project" => self.projects.push(value),
            "group" => self.group = Some(value),
            "branch" => self.branches.push(value),
            "tag" => self.tags.push(value),
            "environment" => self.environments.push(value),
            "vault" => self.vault = Some(value),
            "secret" => self.secrets.push(value),
            "name" => self.name = Some(value),
            "audience" => self.audience = Some(value),
            "managed-identity" => self.resource_group = Some(value),
            "format" => {
                self.terraform = match value.as_str() {
                    "terraform" => true,
                    "az" => false,
                    _ => return Err("--format is az or terraform".into()),
                }
            }
            _ => return Err(format!("there is no option --{option}").into()),
        }
        Ok(())
    }

    /// Asks for what is missing and has no default.
    fn complete(&mut self, ask: &mut impl FnMut(&str) -> Option<String>) {
        let list = |answer: String| -> Vec<String> {
            let words = answer.split_whitespace().map(str::to_owned);
            words.collect()
        };
        if self.gitlab.is_none() {
            self.gitlab = ask("GitLab's address, as in https://gitlab.example.com");
        }
        if self.projects.is_empty() && self.group.is_none() {
            let answer = ask("projects, as in acme/shop; nothing for all of a group");
            self.projects = answer.map(list).unwrap_or_default();
        }
        if self.projects.is_empty() && self.group.is_none() {
            self.group = ask("group, as in acme");
        }
        if self.branches.is_empty() && self.tags.is_empty() {
            let answer = ask("branches, as in main or release/*; nothing for tags");
            self.branches = answer.map(list).unwrap_or_default();
        }
        if self.branches.is_empty() && self.tags.is_empty() {
            let answer = ask("tags, as in v*");
            self.tags = answer.map(list).unwrap_or_default();
        }
        if self.vault.is_none() {
            self.vault = ask("vault, as in acme-prod");
            if self.secrets.is_empty() {
                let answer = ask("secrets; nothing for all of the vault");
                self.secrets = answer.map(list).unwrap_or_default();
            }
        }
    }
}

/// Prints what to create; `answers` are those of whoever is asked for what is missing.
pub(super) fn print(
    wishes: &Wishes,
    answers: &mut dyn BufRead,
    streams: &mut Streams<'_>,
) -> Result<u8, Error> {
    let mut wishes = wishes.clone();
    let mut ask = |question: &str| {
        streams.ask(question);
        let mut line = String::new();
        let read = answers.read_line(&mut line).ok()?;
        let line = line.trim();
        (read > 0 && !line.is_empty()).then(|| line.to_owned())
    };
    wishes.complete(&mut ask);
    let plan = plan::Plan::of(&wishes).map_err(Error::Setup)?;
    let text = if wishes.terraform {
        terraform::text(&plan)
    } else {
        az::text(&plan)
    };
    streams.print(&text).map(|()| 0)
}
