//! The TOML as typed. A [`Table`] hands out its values by key, converted, and notes every mistake
//! (wrong type, missing, unknown) with its key and line instead of stopping at the first, so that
//! an operator sees them all at once. Knows nothing of what the keys mean.

mod scalar;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

pub(crate) use self::scalar::{Value, expected};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where, counted from 1; 0 when the mistake is that something is not there.
    pub line: usize,
    /// Which key, as `listen[0].socket_mode`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}: ", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

/// Collects the mistakes of one file.
#[derive(Debug)]
pub(crate) struct Problems<'a> {
    source: &'a str,
    found: RefCell<Vec<Problem>>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(source: &'a str) -> Self {
        Self {
            source,
            found: RefCell::default(),
        }
    }

    /// All mistakes in the order of the file.
    pub(crate) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort();
        found
    }

    fn note(&self, offset: Option<usize>, key: String, problem: String) {
        let line = offset.map_or(0, |offset| {
            let before = self.source.get(..offset).unwrap_or(self.source);
            before.matches('\n').count() + 1
        });
        self.found.borrow_mut().push(Problem { line, key, problem });
    }
}

/// Parses `problems`' source and passes its top-level table to `read`. Text that is no TOML is one
/// problem with its line, and `read` is not called.
pub(crate) fn parse<T>(problems: &Problems<'_>, read: impl FnOnce(Table<'_>) -> T) -> Option<T> {
    match DeTable::parse(problems.source) {
        Ok(table) => Some(read(Table {
            path: String::new(),
            offset: None,
            entries: Some(table.get_ref()),
            known: BTreeSet::new(),
            problems,
        })),
        Err(error) => {
            let offset = error.span().map(|span| span.start);
            problems.note(offset, String::new(), error.message().to_owned());
            None
        }
    }
}

/// A table, present or not. Keys that nobody asked for are noted as unknown when it is dropped.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    path: String,
    offset: Option<usize>,
    entries: Option<&'a DeTable<'a>>,
    known: BTreeSet<&'static str>,
    problems: &'a Problems<'a>,
}

impl<'a> Table<'a> {
    /// Whether the file has this key; does not make it known.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries
            .is_some_and(|entries| entries.contains_key(key))
    }

    /// The value of `key`, if it is there and right.
    pub(crate) fn optional<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        match T::read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(problem) => {
                self.problem(key, problem);
                None
            }
        }
    }

    /// The value of `key`; its absence is a mistake.
    pub(crate) fn required<T: Value>(&mut self, key: &'static str) -> Option<T> {
        if !self.has(key) {
            self.known.insert(key);
            let (offset, key) = (self.offset, self.key(key));
            self.problems.note(offset, key, "is missing".to_owned());
            return None;
        }
        self.optional(key)
    }

    /// The value of `key`, or `default` when it is absent (or wrong, and noted).
    pub(crate) fn or<T: Value>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Makes `key` known as one that must not be here; if it is, `problem` says why.
    pub(crate) fn refuse(&mut self, key: &'static str, problem: &str) {
        if self.value(key).is_some() {
            self.problem(key, problem.to_owned());
        }
    }

    /// The table `[key]`, which may be absent.
    pub(crate) fn table(&mut self, key: &'static str) -> Table<'a> {
        let value = self.value(key);
        let entries = value.and_then(|value| value.get_ref().as_table());
        if value.is_some() && entries.is_none() {
            self.problem(key, format!("is no table; write [{}]", self.key(key)));
        }
        self.child(self.key(key), value, entries)
    }

    /// The tables `[[key]]`, in the order of the file.
    pub(crate) fn tables(&mut self, key: &'static str) -> Vec<Table<'a>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(elements) = value.get_ref() else {
            self.problem(
                key,
                format!("is no list of tables; write [[{}]]", self.key(key)),
            );
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let path = format!("{}[{index}]", self.key(key));
            match element.get_ref() {
                DeValue::Table(entries) => {
                    tables.push(self.child(path, Some(element), Some(entries)));
                }
                _ => self
                    .problems
                    .note(Some(element.span().start), path, "is no table".to_owned()),
            }
        }
        tables
    }

    /// The entries of the table `key`, whose keys are the operator's own.
    pub(crate) fn entries<T: Value>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let Some(value) = self.value(key) else {
            return BTreeMap::new();
        };
        let DeValue::Table(entries) = value.get_ref() else {
            self.problem(key, "is no table".to_owned());
            return BTreeMap::new();
        };
        let mut read = BTreeMap::new();
        for (name, value) in entries {
            match T::read(value.get_ref()) {
                Ok(value) => {
                    read.insert(name.get_ref().to_string(), value);
                }
                Err(problem) => {
                    let key = format!("{}.{}", self.key(key), name.get_ref());
                    self.problems.note(Some(value.span().start), key, problem);
                }
            }
        }
        read
    }

    /// Notes a mistake in the value of `key`, at its line.
    pub(crate) fn problem(&self, key: &str, problem: String) {
        let value = self.entries.and_then(|entries| entries.get(key));
        let offset = value.map(|value| value.span().start).or(self.offset);
        self.problems.note(offset, self.key(key), problem);
    }

    /// Notes a mistake in the entry `name` of the table `key`, at the entry's line.
    pub(crate) fn problem_in(&self, key: &str, name: &str, problem: String) {
        let entry = self
            .entries
            .and_then(|entries| entries.get(key)?.get_ref().as_table()?.get(name));
        let offset = entry.map(|value| value.span().start).or(self.offset);
        let key = format!("{}.{name}", self.key(key));
        self.problems.note(offset, key, problem);
    }

    /// The value of `key`, which is known from now on.
    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.entries?.get(key)
    }

    fn child(
        &self,
        path: String,
        value: Option<&'a Spanned<DeValue<'a>>>,
        entries: Option<&'a DeTable<'a>>,
    ) -> Table<'a> {
        Table {
            path,
            offset: value.map(|value| value.span().start),
            entries,
            known: BTreeSet::new(),
            problems: self.problems,
        }
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }
}

impl Drop for Table<'_> {
    fn drop(&mut self) {
        let Some(entries) = self.entries else { return };
        for name in entries.keys() {
            if !self.known.contains(name.get_ref().as_ref()) {
                let known: Vec<&str> = self.known.iter().copied().collect();
                self.problems.note(
                    Some(name.span().start),
                    self.key(name.get_ref()),
                    format!("is no key of this table; it has: {}", known.join(", ")),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Problems, Table, parse};

    fn problems(source: &str, read: impl FnOnce(Table<'_>)) -> Vec<String> {
        let problems = Problems::new(source);
        parse(&problems, read);
        problems
            .into_sorted()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn every_mistake_is_noted_with_its_key_and_line() {
        let source = "a = 1\nb = 'x'\n[t]\nc = '0s'\nd = 2\n[[l]]\n[[l]]\ne = ['x', 1]\n";
        let found = problems(source, |mut root| {
            root.optional::<String>("a");
            root.required::<u32>("z");
            root.table("t").optional::<Duration>("c");
            for mut table in root.tables("l") {
                table.required::<Vec<String>>("e");
            }
        });
        assert_eq!(
            found,
            [
                "z: is missing",
                "line 1: a: expected a string, found integer",
                "line 2: b: is no key of this table; it has: a, l, t, z",
                "line 4: t.c: is zero",
                "line 5: t.d: is no key of this table; it has: c",
                "line 6: l[0].e: is missing",
                "line 8: l[1].e: [1]: expected a string, found integer",
            ]
        );
    }

    #[test]
    fn text_that_is_no_toml_is_one_problem() {
        let found = problems("a = 1\na = 2\n", |_| panic!("there is no table"));
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("line 2: "), "{found:?}");
    }

    #[test]
    fn absent_tables_give_defaults_and_no_problem() {
        let found = problems("", |mut root| {
            let mut table = root.table("t");
            assert!(table.or("yes", true));
        });
        assert!(found.is_empty(), "{found:?}");
    }
}
