//! What may reach a screen. Sentences, rule names and claims come from elsewhere, and people read
//! them in terminals and in the browser's view of a job's log: nothing of them may move the cursor,
//! colour what follows, or turn the direction of writing. The client and the daemon's commands
//! share this, so that both say `granted` and `denied` in one way.

use std::fmt;

use serde::Serialize;

/// Displays text with what could steer a screen as escapes, at most 4,000 characters of it.
#[derive(Clone, Copy, Debug)]
pub struct Plain<'a>(pub &'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A sentence; the longest that the daemon writes has a tenth of that.
        const LONGEST: usize = 4000;
        for (count, c) in self.0.chars().enumerate() {
            if count == LONGEST {
                return f.write_str("…");
            }
            put(f, c)?;
        }
        Ok(())
    }
}

/// All of a text in the same form, however long it is: for reports that may leave nothing out.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = text.chars().try_for_each(|c| put(&mut escaped, c));
    escaped
}

fn put(f: &mut impl fmt::Write, c: char) -> fmt::Result {
    if steers(c) {
        write!(f, "{}", c.escape_unicode())
    } else {
        f.write_char(c)
    }
}

/// Control characters, and those that turn the direction of writing or break a line.
fn steers(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// A line of JSON that reads back as `value` and is harmless on a screen all the same: JSON itself
/// lets half of the control characters stand.
pub fn json(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut harmless = json_escaped(&serde_json::to_string(value)?);
    harmless.push('\n');
    Ok(harmless)
}

/// The same for JSON that is there already.
#[must_use]
pub fn json_escaped(json: &str) -> String {
    use fmt::Write as _;

    let mut harmless = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if steers(c) {
            // In JSON they only stand in strings, and all of them have four digits.
            let _ = write!(harmless, "\\u{:04x}", u32::from(c));
        } else {
            harmless.push(c);
        }
    }
    harmless
}

/// The mark in front of a secret: a coloured tick or cross on a terminal, elsewhere a word, which
/// is easier to search for. Both words take the same room.
#[must_use]
pub fn mark(granted: bool, terminal: bool) -> &'static str {
    match (granted, terminal) {
        (true, true) => "\u{1b}[32m✓\u{1b}[0m",
        (false, true) => "\u{1b}[31m✗\u{1b}[0m",
        (true, false) => "granted",
        (false, false) => "denied ",
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, json};

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(
            Plain("a\r\nb\u{202e}c\u{9b}ä").to_string(),
            "a\\u{d}\\u{a}b\\u{202e}c\\u{9b}ä"
        );
        let long = "x".repeat(5000);
        assert_eq!(Plain(&long).to_string().chars().count(), 4001);
    }

    #[test]
    fn json_is_harmless_and_says_the_same() {
        let text = "\u{1b}[31m\n\"\\\u{9b}2K\u{202e}\u{7f}ä";
        let line = json(&text).unwrap();
        assert_eq!(line, "\"\\u001b[31m\\n\\\"\\\\\\u009b2K\\u202e\\u007fä\"\n");
        assert_eq!(serde_json::from_str::<String>(&line).unwrap(), text);
    }
}
