//! `$NAME` and `${NAME}` in a spec, replaced as the runner does it in `secrets:` (Go's `os.Expand`
//! over the job's variables): an unset variable is nothing, `$$` is a dollar sign, `$1` and the
//! other special parameters are nothing, and a dollar sign that begins no name stays.

use super::environment::Environment;

/// Replaces every reference in `text`.
#[must_use]
pub(crate) fn expand(text: &str, environment: &Environment) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        let (reference, length) = reference(after);
        match reference {
            Reference::None | Reference::To("$") => expanded.push('$'),
            Reference::Broken => {}
            Reference::To(name) => expanded.push_str(environment.get(name).unwrap_or_default()),
        }
        rest = &after[length..];
    }
    expanded.push_str(rest);
    expanded
}

/// The variable that the whole of `text` refers to, if it is one reference and nothing else.
#[must_use]
pub(super) fn sole_reference(text: &str) -> Option<&str> {
    let after = text.strip_prefix('$')?;
    match reference(after) {
        (Reference::To(name), length) if length == after.len() && is_name(name) => Some(name),
        _ => None,
    }
}

enum Reference<'a> {
    /// The dollar sign begins nothing.
    None,
    /// `${}` or a brace that is never closed; what was read of it vanishes.
    Broken,
    To(&'a str),
}

/// What stands after a dollar sign, and how many bytes of it belong to the reference.
fn reference(after: &str) -> (Reference<'_>, usize) {
    if let Some(braced) = after.strip_prefix('{') {
        return match braced.find('}') {
            None => (Reference::Broken, 1),
            Some(0) => (Reference::Broken, 2),
            Some(end) => (Reference::To(&braced[..end]), end + 2),
        };
    }
    if after.starts_with(is_special) {
        return (Reference::To(&after[..1]), 1);
    }
    let end = after.find(|c| !is_part(c)).unwrap_or(after.len());
    if end == 0 {
        return (Reference::None, 0);
    }
    (Reference::To(&after[..end]), end)
}

/// The parameters of a shell that are one character long.
fn is_special(c: char) -> bool {
    matches!(c, '*' | '#' | '$' | '@' | '!' | '?' | '-' | '0'..='9')
}

fn is_part(c: char) -> bool {
    c == '_' || c.is_ascii_alphanumeric()
}

fn is_name(name: &str) -> bool {
    name.chars().all(is_part) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{expand, sole_reference};
    use crate::client::environment::Environment;

    #[test]
    fn references_are_replaced_as_the_runner_does() {
        let environment: Environment = [("A", "a"), ("A_B", "ab"), ("EMPTY", ""), ("1", "x")]
            .into_iter()
            .collect();
        for (text, expected) in [
            ("plain", "plain"),
            ("$A", "a"),
            ("${A}", "a"),
            ("x-$A-y", "x-a-y"),
            ("$A_B", "ab"),
            ("${A}_B", "a_B"),
            ("$A$A", "aa"),
            ("$EMPTY$UNSET.", "."),
            ("$$A", "$A"),
            ("$$", "$"),
            ("${$}", "$"),
            ("a$", "a$"),
            ("a$.b", "a$.b"),
            ("a${}b", "ab"),
            ("a${A", "aA"),
            ("$?", ""),
            ("€$A€", "€a€"),
        ] {
            assert_eq!(expand(text, &environment), expected, "{text}");
        }
        // Go's `$1` is a special parameter, never the variable of that name.
        assert_eq!(expand("[$@]", &environment), "[]");
    }

    #[test]
    fn one_reference_and_nothing_else_is_recognised() {
        for (text, expected) in [
            ("$A", Some("A")),
            ("${A_1}", Some("A_1")),
            ("$A$B", None),
            ("$A.", None),
            ("A", None),
            ("$", None),
            ("$$", None),
            ("$1", None),
            ("${a b}", None),
            ("", None),
        ] {
            assert_eq!(sole_reference(text), expected, "{text}");
        }
    }
}
