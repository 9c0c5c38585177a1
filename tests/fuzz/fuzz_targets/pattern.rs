//! A pattern and a text, with a line break in between: matching says what the definition says,
//! worked out by a table of all prefixes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runner_secrets::policy::pattern::Pattern;

fuzz_target!(|input: &str| {
    let Some((pattern, text)) = input.split_once('\n') else {
        return;
    };
    let Ok(parsed) = Pattern::parse(pattern) else {
        return;
    };
    let expected = reference(pattern.as_bytes(), text.as_bytes());
    assert_eq!(parsed.matches(text), expected, "{pattern:?} {text:?}");
    assert_eq!(parsed.is_literal(), !pattern.contains('*'));
});

/// `table[i][j]`: whether the pattern from `i` on matches the text from `j` on.
fn reference(pattern: &[u8], text: &[u8]) -> bool {
    let mut table = vec![vec![false; text.len() + 1]; pattern.len() + 1];
    table[pattern.len()][text.len()] = true;
    for i in (0..pattern.len()).rev() {
        for j in (0..=text.len()).rev() {
            let more = j < text.len();
            table[i][j] = match &pattern[i..] {
                [b'*', b'*', ..] => table[i + 2][j] || (more && table[i][j + 1]),
                [b'*', ..] => table[i + 1][j] || (more && text[j] != b'/' && table[i][j + 1]),
                [own, ..] => more && text[j] == *own && table[i + 1][j + 1],
                [] => false,
            };
        }
    }
    table[0][0]
}
