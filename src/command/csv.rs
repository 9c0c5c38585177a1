//! Comma-separated values (RFC 4180) for spreadsheets, which take a cell that begins like a formula
//! for one: such cells get an apostrophe in front, which makes them text. Control characters come
//! out as escapes, because people look at such files in terminals too.

use crate::screen::escaped;

/// One record, with its end of line.
pub(super) fn record<'a>(cells: impl IntoIterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.into_iter().map(cell).collect();
    format!("{}\r\n", cells.join(","))
}

fn cell(text: &str) -> String {
    let mut cell = escaped(text);
    // As OWASP lists them; what is escaped now began with one of these before.
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        cell.insert(0, '\'');
    }
    if cell.contains(['"', ',', '\r', '\n']) {
        return format!("\"{}\"", cell.replace('"', "\"\""));
    }
    cell
}

#[cfg(test)]
mod tests {
    use super::{cell, record};

    #[test]
    fn cells_are_text_and_nothing_else() {
        for (text, expected) in [
            ("", ""),
            ("db-*", "db-*"),
            ("a,b", "\"a,b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("=cmd()", "'=cmd()"),
            ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
            ("+1", "'+1"),
            ("-1,2", "\"'-1,2\""),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\\u{9}=1"),
            ("\r=1", "'\\u{d}=1"),
            ("a\nb", "a\\u{a}b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
        assert_eq!(record(["a", "=b", ""]), "a,'=b,\r\n");
    }
}
