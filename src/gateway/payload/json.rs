//! A JSON document as places in its own text: what stands where, and how to cut and insert without
//! touching a byte of anything else. Reads as the runner's decoder does (Go's `encoding/json`):
//! names without regard to case, of several equal ones the last, broken UTF-8 and lone surrogates
//! as replacement characters, and nothing after the first value. Nothing is built but strings that
//! somebody asked for, and depth costs no stack.

use std::{fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    document: &'a str,
    raw: &'a RawValue,
}

/// A member of an object.
pub(super) struct Member<'a> {
    /// Its name, as it was written.
    pub(super) name: String,
    pub(super) value: Value<'a>,
    /// Where the name begins.
    start: usize,
}

impl<'a> Value<'a> {
    /// The first value of a document; `None` when it begins with none.
    pub(super) fn first(document: &'a str) -> Option<Self> {
        let mut reader = serde_json::Deserializer::from_str(document);
        let raw = <&RawValue>::deserialize(&mut reader).ok()?;
        Some(Self { document, raw })
    }

    /// Its members in order, duplicates included; `None` when it is no object.
    pub(super) fn members(self) -> Option<Vec<Member<'a>>> {
        if !self.raw.get().starts_with('{') {
            return None;
        }
        let Members(members) = serde_json::from_str(self.raw.get()).ok()?;
        let mut end = self.span().start;
        let place = |(Name(name), raw): (Name, &'a RawValue)| {
            let value = Self { raw, ..self };
            // Between two members there are a comma and spaces, and then the name's quote.
            let start = end + self.document.get(end..)?.find('"')?;
            end = value.span().end;
            Some(Member { name, value, start })
        };
        members.into_iter().map(place).collect()
    }

    /// Its elements; `None` when it is no list.
    pub(super) fn elements(self) -> Option<Vec<Self>> {
        if !self.raw.get().starts_with('[') {
            return None;
        }
        let elements: Vec<&RawValue> = serde_json::from_str(self.raw.get()).ok()?;
        let value = |raw| Self { raw, ..self };
        Some(elements.into_iter().map(value).collect())
    }

    /// Its text; `None` when it is none.
    pub(super) fn text(self) -> Option<String> {
        if !self.raw.get().starts_with('"') {
            return None;
        }
        let Name(text) = serde_json::from_str(self.raw.get()).ok()?;
        Some(text)
    }

    pub(super) fn boolean(self) -> Option<bool> {
        serde_json::from_str(self.raw.get()).ok()
    }

    pub(super) fn integer(self) -> Option<i64> {
        serde_json::from_str(self.raw.get()).ok()
    }

    pub(super) fn is_null(self) -> bool {
        self.raw.get() == "null"
    }

    /// Where it stands in the document.
    pub(super) fn span(self) -> Range<usize> {
        // Both point into the same text.
        let start = self.raw.get().as_ptr().addr() - self.document.as_ptr().addr();
        start..start + self.raw.get().len()
    }
}

impl Member<'_> {
    /// Where name and value stand.
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.value.span().end
    }

    /// Whether the runner takes this for the field `name`, which is in lower case.
    pub(super) fn is(&self, name: &str) -> bool {
        folds_to(&self.name, name)
    }
}

/// The value of the last member that the runner takes for `name`.
pub(super) fn last<'a>(members: &[Member<'a>], name: &str) -> Option<Value<'a>> {
    let mut members = members.iter().rev();
    members
        .find(|member| member.is(name))
        .map(|member| member.value)
}

/// Go compares names of fields by simple folding: besides the case of ASCII, the long s is an s
/// and the sign for Kelvin a k.
fn folds_to(written: &str, name: &str) -> bool {
    let fold = |c: char| match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    written.chars().map(fold).eq(name.chars())
}

/// Changes to a document, which may touch but not overlap.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(Range<usize>, String)>);

impl Edits {
    pub(super) fn replace(&mut self, span: Range<usize>, text: impl Into<String>) {
        self.0.push((span, text.into()));
    }

    pub(super) fn insert(&mut self, at: usize, text: impl Into<String>) {
        self.replace(at..at, text);
    }

    /// Takes items out of their list or object, each with the comma that is then too many.
    pub(super) fn remove(&mut self, items: &[Range<usize>], gone: impl Fn(usize) -> bool) {
        let mut kept = false;
        let mut before = None;
        let mut items_left = items.iter().enumerate().peekable();
        while let Some((index, item)) = items_left.next() {
            if !gone(index) {
                kept = true;
            } else if let (true, Some(before)) = (kept, before) {
                self.replace(before..item.end, "");
            } else {
                let end = items_left.peek().map_or(item.end, |(_, next)| next.start);
                self.replace(item.start..end, "");
            }
            before = Some(item.end);
        }
    }

    /// The document with all changes made.
    pub(super) fn apply(mut self, document: &str) -> String {
        self.0.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = self.0.iter().map(|(_, text)| text.len()).sum();
        let mut edited = String::with_capacity(document.len() + added);
        let mut at = 0;
        for (span, text) in &self.0 {
            edited.push_str(document.get(at..span.start).unwrap_or_default());
            edited.push_str(text);
            at = span.end;
        }
        edited.push_str(document.get(at..).unwrap_or_default());
        edited
    }
}

/// A text as JSON writes it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Decodes a string as bytes first, because that is how the decoder lets lone surrogates through.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Lossy;

        impl Visitor<'_> for Lossy {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Name, E> {
                Ok(Name(text.to_owned()))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Name, E> {
                Ok(Name(String::from_utf8_lossy(bytes).into_owned()))
            }
        }

        deserializer.deserialize_bytes(Lossy)
    }
}

struct Members<'a>(Vec<(Name, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(Name, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Edits, Value, last};

    fn spans(document: &str) -> Vec<String> {
        let members = Value::first(document).unwrap().members().unwrap();
        let text = |member: &super::Member<'_>| document[member.span()].to_owned();
        members.iter().map(text).collect()
    }

    #[test]
    fn members_are_found_where_they_stand() {
        let document = " {\"a\\\"\" : 1 ,\n\"b\":{\"c\":[ ]} , \"a\": \"\\ud800\"} more";
        assert_eq!(
            spans(document),
            [r#""a\"" : 1"#, r#""b":{"c":[ ]}"#, r#""a": "\ud800""#]
        );
        let members = Value::first(document).unwrap().members().unwrap();
        assert_eq!(members[0].name, "a\"");
        assert!(last(&members, "a").unwrap().text().is_some());
        assert!(spans("{}").is_empty());
    }

    #[test]
    fn names_are_taken_as_go_takes_them() {
        let document = "{\"SecretS\":1,\"\u{17f}ecrets\":2,\"to\u{212a}en\":3,\"secret\":4}";
        let members = Value::first(document).unwrap().members().unwrap();
        assert_eq!(last(&members, "secrets").unwrap().integer(), Some(2));
        assert_eq!(last(&members, "token").unwrap().integer(), Some(3));
    }

    #[test]
    fn what_is_no_json_has_no_value() {
        for text in [
            "",
            "nul",
            "{",
            "[1,",
            "\"a",
            "{\"a\" 1}",
            "{'a':1}",
            "\u{1}",
        ] {
            assert!(Value::first(text).is_none(), "{text:?}");
        }
        for text in ["1", "null", "[]", "\"{}\""] {
            assert!(Value::first(text).unwrap().members().is_none(), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = 1_000_000;
        let document = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let members = Value::first(&document).unwrap().members().unwrap();
        assert_eq!(members[0].value.span(), 5..5 + 2 * depth);
    }

    #[test]
    fn items_go_with_their_commas_and_nothing_else() {
        let document = r"[ 0 , 1,2 ,3 ]";
        for (gone, left) in [
            (&[][..], "[ 0 , 1,2 ,3 ]"),
            (&[0], "[ 1,2 ,3 ]"),
            (&[1], "[ 0,2 ,3 ]"),
            (&[3], "[ 0 , 1,2 ]"),
            (&[0, 1], "[ 2 ,3 ]"),
            (&[0, 2], "[ 1 ,3 ]"),
            (&[1, 2], "[ 0 ,3 ]"),
            (&[2, 3], "[ 0 , 1 ]"),
            (&[0, 1, 2], "[ 3 ]"),
            (&[0, 1, 2, 3], "[  ]"),
        ] {
            let elements = Value::first(document).unwrap().elements().unwrap();
            let spans: Vec<_> = elements.iter().map(|element| element.span()).collect();
            let mut edits = Edits::default();
            edits.remove(&spans, |index| gone.contains(&index));
            assert_eq!(edits.apply(document), left, "{gone:?}");
        }
    }
}
