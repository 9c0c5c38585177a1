//! A spec's text as a tree: YAML, and so JSON. Scalars stay the text that was written, because a
//! version of 32 digits is no number; what YAML can do beyond maps of scalars is refused with the
//! place where it stands. No message quotes a value: the text may hold an ID token.

use std::{collections::BTreeMap, rc::Rc};

use granit_parser::{Event, Parser, ScalarStyle};

/// GitLab's limit for all variables of a job together is of this order; a spec has 100 bytes for
/// each secret.
pub(super) const LARGEST: usize = 1024 * 1024;

/// A node of the tree. Aliases share their node, so that a text which doubles itself line by line
/// costs no more than its lines.
#[derive(Debug)]
pub(super) enum Node {
    Scalar { text: String, plain: bool },
    List,
    Map(Vec<(String, Rc<Node>)>),
}

impl Node {
    /// Whether YAML reads this as no value at all.
    pub(super) fn is_nothing(&self) -> bool {
        let Self::Scalar { text, plain: true } = self else {
            return false;
        };
        matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }
}

/// What is wrong, and in which line or at which path.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) place: String,
    pub(super) says: String,
    /// How it is written, where that helps.
    pub(super) lines: &'static str,
}

/// A secret as `secrets:` has it.
pub(super) const ENTRY: &str =
    "DB_PASSWORD:\n  token: $AZURE_JWT\n  azure_key_vault:\n    name: db-password\n";

/// The tree of a text, or `None` when there is nothing in it.
pub(super) fn parse(text: &str) -> Result<Option<Rc<Node>>, Problem> {
    if text.len() > LARGEST {
        return Err(Problem {
            place: String::new(),
            says: format!("is larger than {} MiB", LARGEST / 1024 / 1024),
            lines: "",
        });
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let problem = "is no YAML or JSON";
            at_line(error.marker().line(), problem)
        })?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.root.filter(|root| !root.is_nothing()))
}

fn at_line(line: usize, problem: &str) -> Problem {
    Problem {
        place: format!("line {line}"),
        says: problem.to_owned(),
        lines: ENTRY,
    }
}

/// What was opened and not yet closed.
enum Open {
    Map {
        entries: Vec<(String, Rc<Node>)>,
        key: Option<String>,
        anchor: usize,
    },
    List {
        anchor: usize,
    },
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    documents: u32,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Problem> {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(at_line(line, "a second document begins; a spec is one"));
                }
                Ok(())
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::MappingStart(_, _, Some(_))
            | Event::SequenceStart(_, _, Some(_)) => Err(at_line(
                line,
                "tags such as `!reference` cannot be followed here: write the value out",
            )),
            Event::Scalar(text, style, anchor, None) => {
                let plain = style == ScalarStyle::Plain;
                let text = text.into_owned();
                self.close(Node::Scalar { text, plain }, anchor, line)
            }
            Event::MappingStart(_, anchor, None) => {
                self.open.push(Open::Map {
                    entries: Vec::new(),
                    key: None,
                    anchor,
                });
                Ok(())
            }
            Event::SequenceStart(_, anchor, None) => {
                self.open.push(Open::List { anchor });
                Ok(())
            }
            Event::MappingEnd | Event::SequenceEnd => match self.open.pop() {
                Some(Open::Map {
                    entries, anchor, ..
                }) => self.close(Node::Map(entries), anchor, line),
                Some(Open::List { anchor }) => self.close(Node::List, anchor, line),
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => self.place(Rc::clone(node), line),
                None => Err(at_line(line, "an alias stands inside what it refers to")),
            },
            _ => Err(at_line(line, "is YAML of a kind that a spec cannot have")),
        }
    }

    /// Remembers a finished node under its anchor and puts it where it belongs.
    fn close(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), Problem> {
        let node = Rc::new(node);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.place(node, line)
    }

    /// Puts a node into what is open: as a key, a key's value, an item, or as the root.
    fn place(&mut self, node: Rc<Node>, line: usize) -> Result<(), Problem> {
        let path = self.path();
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { .. }) => {}
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some(name) => entries.push((name, node)),
                None => *key = Some(self::key(&node, entries, &path, line)?),
            },
        }
        Ok(())
    }

    /// The keys that lead to what is open.
    fn path(&self) -> String {
        let keys = self.open.iter().filter_map(|open| match open {
            Open::Map { key, .. } => key.as_deref(),
            Open::List { .. } => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }
}

/// Takes a node as the next key of a map.
fn key(
    node: &Node,
    entries: &[(String, Rc<Node>)],
    path: &str,
    line: usize,
) -> Result<String, Problem> {
    let Node::Scalar { text, .. } = node else {
        return Err(at_line(line, "a key is a list or a map"));
    };
    if text == "<<" {
        return Err(at_line(
            line,
            "`<<` is not merged here: write the keys out, or use an alias for the whole value",
        ));
    }
    if entries.iter().any(|(name, _)| name == text) {
        let dot = if path.is_empty() { "" } else { "." };
        return Err(Problem {
            place: format!("{path}{dot}{text}"),
            says: "is there twice".to_owned(),
            lines: "",
        });
    }
    Ok(text.clone())
}
