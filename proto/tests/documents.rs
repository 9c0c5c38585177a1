//! The README's table of reasons is the table of reasons.

use std::fs;

use runner_secrets_proto::reason::TABLE;

#[test]
fn the_readme_lists_every_reason_as_it_is() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).unwrap();
    for row in TABLE {
        let code = row.code.map_or("–".to_owned(), |code| format!("{code:?}"));
        let line = format!("| `{}` | {code} | {} | {} |", row.name, row.exit, row.line);
        assert!(readme.contains(&line), "the README has no line {line}");
    }
}
