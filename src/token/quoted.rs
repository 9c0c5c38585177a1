//! How text that a caller chose appears in messages: quoted, escaped and cut, so that a claim can
//! neither forge a line of a log nor fill it.

use std::fmt;

// Longer than any project path that GitLab allows; nobody reads on after that, and a message has
// to fit into the trailers of a response.
const LONGEST: usize = 256;

/// Displays text in quotes, escaped, and cut when that has 256 bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        let mut left = LONGEST;
        for character in self.0.chars() {
            let escaped = match character {
                '\'' => "'".to_owned(),
                other => other.escape_debug().to_string(),
            };
            let Some(less) = left.checked_sub(escaped.len()) else {
                return f.write_str("…\"");
            };
            left = less;
            f.write_str(&escaped)?;
        }
        f.write_str("\"")
    }
}

// `groups_direct` can have 200; the first few show what kind of thing it is.
const MOST: usize = 4;

/// Displays several texts as `"a", "b" or "c"`, at most four of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnyOf<'a, T>(pub(crate) &'a [T]);

impl<T: AsRef<str>> fmt::Display for AnyOf<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, rest) = self.0.split_at(self.0.len().min(MOST));
        for (index, text) in shown.iter().enumerate() {
            match index {
                0 => {}
                last if last + 1 == self.0.len() => f.write_str(" or ")?,
                _ => f.write_str(", ")?,
            }
            write!(f, "{}", Quoted(text.as_ref()))?;
        }
        match rest.len() {
            0 if shown.is_empty() => f.write_str("none"),
            0 => Ok(()),
            more => write!(f, " or {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{AnyOf, Quoted};

    #[test]
    fn text_cannot_leave_its_quotes_or_its_line() {
        for (text, shown) in [
            ("main", "\"main\""),
            ("it's", "\"it's\""),
            ("a\"b\\c", r#""a\"b\\c""#),
            ("a\nb\u{1b}[31m", r#""a\nb\u{1b}[31m""#),
            ("a\u{202e}b", r#""a\u{202e}b""#),
        ] {
            assert_eq!(Quoted(text).to_string(), shown);
        }
        let long = Quoted(&"x".repeat(1000)).to_string();
        assert_eq!(long.chars().count(), 256 + 3);
        let long = Quoted(&"\u{202e}".repeat(1000)).to_string();
        assert!((248..=256 + 5).contains(&long.len()), "{}", long.len());
        let just = "x".repeat(256);
        assert_eq!(Quoted(&just).to_string(), format!("\"{just}\""));
    }

    #[test]
    fn lists_read_as_a_choice() {
        let list = |texts: &[&str]| AnyOf(texts).to_string();
        assert_eq!(list(&["a"]), "\"a\"");
        assert_eq!(list(&["a", "b", "c"]), "\"a\", \"b\" or \"c\"");
        assert_eq!(list(&[]), "none");
        let many = list(&["a"; 10]);
        assert!(many.ends_with("\"a\" or 6 more"), "{many}");
    }
}
