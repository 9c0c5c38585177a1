//! Patterns of rules. A pattern matches the whole of a text; `*` stands for any characters but
//! `/`, `**` for any at all, both for none as well, and nothing else has a meaning: `?`, `[`, `{`
//! and `\` are themselves. The texts are an attacker's choice (a branch's name), so matching takes
//! time in proportion to the lengths of both, never more; hence no glob library, whose further
//! syntax would have to be refused as well.

use std::fmt;

// Project paths and branches end at 255 characters. What a match costs is bounded by this.
const LONGEST: usize = 512;

/// Why text is no pattern, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Would match the empty text only.
    #[error("is empty")]
    Empty,
    /// Longer than anything it could match.
    #[error("has more than {LONGEST} bytes")]
    Long,
    /// Cannot be in anything that it could match.
    #[error("begins or ends with white space, or has a control character")]
    Invisible,
}

/// A pattern, taken apart once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// What comes before the first wildcard: all of it, if there is none.
    head: String,
    /// From the first wildcard on; empty if there is none.
    parts: Vec<Part>,
    /// What comes after the last wildcard, if there is one.
    tail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `*`
    Some,
    /// `**`
    Any,
}

impl Pattern {
    /// Takes the pattern apart.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::Empty);
        }
        if text.len() > LONGEST {
            return Err(Error::Long);
        }
        if text.trim() != text || text.chars().any(char::is_control) {
            return Err(Error::Invisible);
        }
        let (head, rest) = text.split_at(text.find('*').unwrap_or(text.len()));
        let (middle, tail) = rest.split_at(rest.rfind('*').map_or(0, |last| last + 1));
        Ok(Self {
            text: text.to_owned(),
            head: head.to_owned(),
            parts: parts(middle),
            tail: tail.to_owned(),
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches one text only.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.parts.is_empty()
    }

    /// Whether it matches the whole of `text`.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        if self.parts.is_empty() {
            return text == self.head;
        }
        // The ends decide nearly every case, and bytes are as good as characters: `/` and what
        // stands for itself are never part of another character.
        let middle = text
            .as_bytes()
            .strip_prefix(self.head.as_bytes())
            .and_then(|rest| rest.strip_suffix(self.tail.as_bytes()));
        match (middle, self.parts.as_slice()) {
            (None, _) => false,
            (Some(_), [Part::Any]) => true,
            (Some(middle), [Part::Some]) => !middle.contains(&b'/'),
            (Some(middle), parts) => walk(parts, middle),
        }
    }
}

impl AsRef<str> for Pattern {
    fn as_ref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Wildcards next to each other are one: the wider of them.
fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'*' {
            parts.push(Part::Byte(byte));
            continue;
        }
        let mut wildcard = Part::Some;
        while bytes.next_if_eq(&b'*').is_some() {
            wildcard = Part::Any;
        }
        parts.push(wildcard);
    }
    parts
}

/// Follows all ways through the pattern at once, one byte of the text after the other: `at[i]`
/// says whether the text so far can be matched by the first `i` parts. Each byte looks at each
/// part once.
fn walk(parts: &[Part], text: &[u8]) -> bool {
    let mut at = vec![false; parts.len() + 1];
    skip_wildcards(parts, &mut at, true);
    for byte in text {
        // `before` is what `at` was for the part on the left before this byte.
        let mut before = false;
        for (index, state) in at.iter_mut().enumerate() {
            let was = *state;
            let left = index.checked_sub(1).and_then(|left| parts.get(left));
            *state = match left {
                Some(Part::Byte(own)) => before && own == byte,
                // A wildcard takes the byte and stays where it is.
                Some(Part::Some) => was && *byte != b'/',
                Some(Part::Any) => was,
                None => false,
            };
            before = was;
        }
        skip_wildcards(parts, &mut at, false);
    }
    at.last().copied().unwrap_or(false)
}

/// A wildcard may stand for nothing: whoever is before it is also behind it.
fn skip_wildcards(parts: &[Part], at: &mut [bool], start: bool) {
    let mut reached = start;
    for (index, state) in at.iter_mut().enumerate() {
        let left = index.checked_sub(1).and_then(|left| parts.get(left));
        *state = match left {
            None => *state || start,
            Some(Part::Byte(_)) => *state,
            Some(Part::Some | Part::Any) => *state || reached,
        };
        reached = *state;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Error, Pattern};

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn patterns_match_whole_texts() {
        for (text, matches, does_not) in [
            (
                "group/app",
                &["group/app"][..],
                &[
                    "group/app-evil",
                    "xgroup/app",
                    "Group/App",
                    "group/app/",
                    "",
                ][..],
            ),
            (
                "group/*",
                &["group/app", "group/", "group/a.b-c"],
                &["group/sub/app", "group", "xgroup/app"],
            ),
            (
                "group/**",
                &["group/app", "group/sub/app"],
                &["group", "groupie/app"],
            ),
            ("*/app", &["group/app", "/app"], &["a/b/app", "group/apps"]),
            ("**/app", &["a/b/app", "group/app"], &["app", "a/b/app/c"]),
            ("db-*", &["db-", "db-password"], &["db", "xdb-a"]),
            ("*", &["a", ""], &["a/b", "/"]),
            ("**", &["a", "a/b", ""], &[]),
            (
                "a*b*c",
                &["abc", "aXbYc", "abbcc", "abcbc"],
                &["ab/c", "acb", "abcd"],
            ),
            ("a*b**c", &["abc", "aXbY/Zc", "abb/cc"], &["a/bc", "a/b/c"]),
            ("a**b*c", &["abc", "a/b/bc", "a/xbyc"], &["ab/c", "a/b/c"]),
            ("**a*", &["x/ya", "a", "x/ayz"], &["a/", "b"]),
            ("***", &["a/b"], &[]),
            ("a?b[c]{d,e}\\", &["a?b[c]{d,e}\\"], &["axbcd\\"]),
            ("münchen/*", &["münchen/ä"], &["mÜnchen/ä"]),
        ] {
            for yes in matches {
                assert!(pattern(text).matches(yes), "{text} {yes}");
            }
            for no in does_not {
                assert!(!pattern(text).matches(no), "{text} {no}");
            }
        }
    }

    #[test]
    fn what_could_match_nothing_is_refused() {
        let long = "a".repeat(513);
        for (text, error) in [
            ("", Error::Empty),
            (long.as_str(), Error::Long),
            (" a", Error::Invisible),
            ("a\n", Error::Invisible),
            ("a\0b", Error::Invisible),
        ] {
            assert_eq!(Pattern::parse(text), Err(error));
        }
    }

    #[test]
    fn hostile_texts_take_no_longer_than_others() {
        let hostile = pattern(&"*a**a".repeat(100));
        let text = "a".repeat(12_000);
        let start = std::time::Instant::now();
        assert!(!hostile.matches(&format!("{text}b")));
        assert!(hostile.matches(&text));
        // Far above what it takes, far below what backtracking would.
        assert!(start.elapsed() < std::time::Duration::from_secs(5));
    }

    /// The definition, word for word, by trying everything.
    fn reference(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', '*', rest @ ..] => (0..=text.len()).any(|taken| reference(rest, &text[taken..])),
            ['*', rest @ ..] => (0..=text.len())
                .take_while(|taken| !text[..*taken].contains(&'/'))
                .any(|taken| reference(rest, &text[taken..])),
            [own, rest @ ..] => text.first() == Some(own) && reference(rest, &text[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn matching_is_as_defined(text in "[ab/]{0,8}", pattern in "[ab/*]{1,8}") {
            let characters = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                Pattern::parse(&pattern).unwrap().matches(&text),
                reference(&characters(&pattern), &characters(&text))
            );
        }

        #[test]
        fn without_wildcards_matching_is_equality(text in "\\PC{1,20}", other in "\\PC{0,20}") {
            let text = text.replace('*', "x");
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert!(pattern.is_literal());
                prop_assert!(pattern.matches(&text));
                prop_assert_eq!(pattern.matches(&other), text == other);
            }
        }
    }
}
