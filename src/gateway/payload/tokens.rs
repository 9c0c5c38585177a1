//! The ID tokens of ours in a payload, and how to take every copy of them out: out of variables,
//! which vanish where a token was all of their value, and out of whatever else they were expanded
//! into. A token is one of ours by its audience; whether it is genuine does not matter here, for
//! nobody is to have it.

use std::{collections::BTreeSet, ops::Range};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use super::{
    Payload,
    json::{Edits, quoted},
};

/// The payload without any ID token that has one of `audiences`, and without those in `used`.
pub(in crate::gateway) fn without_tokens<'t>(
    document: &str,
    audiences: &[String],
    used: impl IntoIterator<Item = &'t str>,
) -> String {
    let mut tokens: BTreeSet<String> = used.into_iter().map(str::to_owned).collect();
    let texts = strings(document).into_iter();
    let texts = texts.map(|span| text(document, &span));
    tokens.extend(texts.filter(|text| is_token(text) && is_for(text, audiences)));
    tokens.remove("");
    let document = without_variables(document, &tokens);
    let mut edits = Edits::default();
    for span in strings(&document) {
        let text = text(&document, &span);
        if let Some(without) = without(&text, &tokens, audiences) {
            edits.replace(span, quoted(&without));
        }
    }
    edits.apply(&document)
}

/// The payload without the variables whose value is one of the tokens.
fn without_variables(document: &str, tokens: &BTreeSet<String>) -> String {
    let Some(payload) = Payload::read(document) else {
        return document.to_owned();
    };
    let mut edits = Edits::default();
    let whole = |variable: &super::Variable| tokens.contains(&variable.value);
    payload.rewrite_variables(&mut edits, whole, "");
    edits.apply(document)
}

/// A text without the tokens; `None` when it has none of them.
fn without(text: &str, tokens: &BTreeSet<String>, audiences: &[String]) -> Option<String> {
    let mut left = text.to_owned();
    for token in tokens {
        if left.contains(token.as_str()) {
            left = left.replace(token.as_str(), "");
        }
    }
    // One that stands nowhere by itself, only here. What follows it without a break may be another.
    let mut from = 0;
    while let Some(start) = next_token(&left, from) {
        let rest = left.get(start..).unwrap_or_default();
        let end = rest.bytes().position(|byte| !is_plain(byte));
        let ours = leading_token(rest).is_some_and(|token| is_for(token, audiences));
        if ours {
            left.replace_range(start..end.map_or(left.len(), |end| start + end), "");
        }
        from = if ours { start } else { start + 1 };
    }
    (left != text).then_some(left)
}

/// Where a JWT may begin: its header is an object.
fn next_token(text: &str, from: usize) -> Option<usize> {
    Some(from + text.get(from..)?.find("eyJ")?)
}

/// Whether all of a text has the form of a JWT.
fn is_token(text: &str) -> bool {
    leading_token(text).is_some_and(|token| token.len() == text.len())
}

/// What a JWT is written with.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

/// Where the strings of a document stand, quotes included, names of members as well.
fn strings(document: &str) -> Vec<Range<usize>> {
    let mut strings = Vec::new();
    let mut bytes = document.bytes().enumerate();
    while let Some((start, byte)) = bytes.next() {
        if byte != b'"' {
            continue;
        }
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'\\' => drop(bytes.next()),
                b'"' => {
                    strings.push(start..at + 1);
                    break;
                }
                _ => {}
            }
        }
    }
    strings
}

/// The text of a string; nothing when it is none.
fn text(document: &str, span: &Range<usize>) -> String {
    let written = document.get(span.clone()).unwrap_or_default();
    if written.contains('\\') {
        let value = super::Value::first(written);
        return value.and_then(super::Value::text).unwrap_or_default();
    }
    written.trim_matches('"').to_owned()
}

/// The JWT that a text begins with: three parts in base64url.
fn leading_token(text: &str) -> Option<&str> {
    let mut dots = 0;
    let end = text.bytes().position(|byte| {
        dots += u32::from(byte == b'.');
        dots > 2 || !is_plain(byte)
    });
    let token = text.get(..end.unwrap_or(text.len()))?;
    let parts = token.split('.').filter(|part| !part.is_empty());
    (parts.count() == 3).then_some(token)
}

/// Whether a JWT says that it is for one of `audiences`.
fn is_for(token: &str, audiences: &[String]) -> bool {
    let claims = token.split('.').nth(1);
    let claims = claims.and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims: Option<Claims> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    let ours = |audience: &String| audiences.contains(audience);
    match claims.map(|claims| claims.aud) {
        Some(Audience::One(audience)) => ours(&audience),
        Some(Audience::Several(several)) => several.iter().any(ours),
        None => false,
    }
}

#[derive(Deserialize)]
struct Claims {
    aud: Audience,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}
