//! Words for a POSIX shell: the one function that quotes what goes into an `eval`, and commands for
//! people to read and to paste. Branch names, subjects and names of secrets come from whoever can
//! push, so a word that could look like something else than it is has no form for people at all.

/// Appends `value` between single quotes, where nothing has a meaning but the single quote itself.
pub fn quote(script: &mut Vec<u8>, value: &[u8]) {
    script.push(b'\'');
    for (index, part) in value.split(|byte| *byte == b'\'').enumerate() {
        if index > 0 {
            script.extend_from_slice(b"'\\''");
        }
        script.extend_from_slice(part);
    }
    script.push(b'\'');
}

/// A word of a command for people.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// Exactly this text.
    Text(&'a str),
    /// What a shell variable holds, for what the reader knows and we do not say.
    Variable(&'static str),
    /// The same with a text after it.
    After(&'static str, &'a str),
}

/// Longer commands are not read in a job's log, and have no room in an answer's trailers.
const LONGEST: usize = 1800;

/// A command on one line; `None` where a word of it cannot be shown as it is.
#[must_use]
pub fn command(words: &[Word<'_>]) -> Option<String> {
    let words = words.iter().map(|word| match word {
        Word::Text(text) => shown(text),
        Word::Variable(name) => Some(format!("\"${name}\"")),
        Word::After(name, text) => Some(format!("\"${name}\"{}", shown(text)?)),
    });
    let line = words.collect::<Option<Vec<_>>>()?.join(" ");
    (line.len() <= LONGEST).then_some(line)
}

/// A text as a word, in quotes only where it needs them; `None` where it has characters that a
/// screen would not show as what they are.
#[must_use]
pub fn shown(text: &str) -> Option<String> {
    let visible = |c: char| matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1;
    if !text.chars().all(visible) {
        return None;
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return Some(text.to_owned());
    }
    let mut quoted = Vec::with_capacity(text.len() + 2);
    quote(&mut quoted, text.as_bytes());
    String::from_utf8(quoted).ok()
}

#[cfg(test)]
mod tests {
    use super::{Word, command, shown};

    #[test]
    fn words_are_what_they_look_like() {
        for (text, expected) in [
            ("", Some("''")),
            ("acme/shop", Some("acme/shop")),
            ("$(id)", Some("'$(id)'")),
            ("`id`", Some("'`id`'")),
            ("it's", Some("'it'\\''s'")),
            ("a\"b\\c", Some("'a\"b\\c'")),
            ("~/x", Some("'~/x'")),
            ("grüße", Some("'grüße'")),
            ("a\nb", None),
            ("a\u{1b}[31mb", None),
            ("a\u{202e}b", None),
            ("a\u{200b}b", None),
            ("a\0b", None),
        ] {
            assert_eq!(shown(text).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_command_is_whole_or_not_there() {
        let words = [
            Word::Text("az"),
            Word::Variable("ID"),
            Word::After("VAULT_ID", "/secrets/a b"),
        ];
        let expected = "az \"$ID\" \"$VAULT_ID\"'/secrets/a b'";
        assert_eq!(command(&words).as_deref(), Some(expected));
        assert_eq!(command(&[Word::Text("az"), Word::Text("\u{7}")]), None);
        assert_eq!(command(&[Word::Text(&"x".repeat(2000))]), None);
    }
}
