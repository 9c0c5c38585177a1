//! What the documents say of the repository: links lead somewhere, tests that are named exist,
//! blocks are what they say they are, and the README stays short.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::tree;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the repository, with its text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    let mut directories = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && !matches!(name, "target" | ".git" | "node_modules") {
                directories.push(path);
            } else if path.extension().is_some_and(|kind| kind == "md") {
                let text = fs::read_to_string(&path).unwrap();
                pages.push((path, text));
            }
        }
    }
    assert!(pages.len() > 10, "{pages:?}");
    pages
}

/// The blocks of a page in this language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let blocks = page.split(&fence).skip(1);
    blocks
        .filter_map(|block| block.split("```").next())
        .collect()
}

/// A page without its blocks and what stands in backticks.
fn prose(page: &str) -> String {
    let outside = page.split("```").step_by(2);
    let lines: String = outside.collect();
    lines.split('`').step_by(2).collect()
}

/// The anchors that a page has: its headings, as GitLab and GitHub make them, and its own.
fn anchors(page: &str) -> BTreeSet<String> {
    let outside: String = page.split("```").step_by(2).collect();
    let headings = outside.lines().filter(|line| line.starts_with('#'));
    let slug = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = text
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    let own = page.split("<a id=\"").skip(1);
    let own = own.map(|rest| rest.split('"').next().unwrap().to_owned());
    headings.map(slug).chain(own).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for (path, text) in pages() {
        for link in prose(&text).split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                path.clone()
            } else {
                path.parent().unwrap().join(file)
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                assert!(anchors.contains(anchor), "{}: {link}", path.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "{followed}");
}

/// SECURITY.md names a test for each mitigation: it is there, and is one.
#[test]
fn every_test_that_is_named_exists() {
    let page = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let mut found = 0;
    for word in page.split('`').filter(|word| word.contains(".rs::")) {
        let (file, name) = word.split_once("::").unwrap();
        let text = fs::read_to_string(root().join(file));
        let text = text.unwrap_or_else(|error| panic!("{file}: {error}"));
        let at = text.find(&format!("fn {name}("));
        let before = &text[..at.unwrap_or_else(|| panic!("{word} does not exist"))];
        let attributes = before.rsplit("\n\n").next().unwrap();
        let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
        assert!(is_test && !attributes.contains("#[ignore"), "{word}");
        found += 1;
    }
    assert!(found > 50, "{found}");
    // Every threat has one.
    let threats = page.split("## Threats").nth(1).unwrap();
    let threats = threats.split("## Smaller guards").next().unwrap();
    let rows = threats.lines().filter(|line| line.starts_with("| "));
    for row in rows.filter(|row| !row.starts_with("| ---") && !row.starts_with("| threat |")) {
        assert!(row.contains(".rs::"), "nothing shows: {row}");
    }
}

/// Blocks in a language are in that language; those in a list are moved to the margin first.
#[test]
fn every_block_is_what_it_says() {
    let mut read = 0;
    for (path, text) in pages() {
        let text: String = text.lines().map(|line| unlisted(line) + "\n").collect();
        for block in blocks(&text, "toml") {
            println!("{}", path.display());
            tree::toml(block);
            read += 1;
        }
        for block in blocks(&text, "yaml") {
            println!("{}", path.display());
            tree::yaml(block);
            read += 1;
        }
    }
    assert!(read > 15, "{read}");
}

/// Three spaces are the indentation of a block in a numbered list.
fn unlisted(line: &str) -> String {
    let fence = line
        .strip_prefix("   ")
        .filter(|rest| rest.starts_with("```"));
    fence.unwrap_or(line).to_owned()
}

#[test]
fn the_readme_is_short_and_its_configuration_is_the_sample() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let lines = readme.lines().count();
    assert!((200..=300).contains(&lines), "{lines} lines");
    let minimal = fs::read_to_string(root().join("deploy/config/minimal.toml")).unwrap();
    let (_, sample) = minimal.split_once("\n\n").unwrap();
    assert!(blocks(&readme, "toml").contains(&sample), "{sample}");
}
