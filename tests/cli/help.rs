//! What the programs say of themselves, and what shells complete, against the commands and options
//! that there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const DAEMON: &str = env!("CARGO_BIN_EXE_runner-secretsd");
const CLIENT: &str = env!("CARGO_BIN_EXE_runner-secrets");

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().output().unwrap()
}

fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

/// What `--help` prints, which is no error.
fn page(program: &str, words: &str) -> String {
    let mut arguments: Vec<&str> = words.split_whitespace().collect();
    arguments.push("--help");
    let output = run(program, &arguments);
    assert_eq!(output.status.code(), Some(0), "{words}");
    assert!(output.stderr.is_empty(), "{words}");
    text(&output.stdout)
}

/// The first words of the lines below `heading`, which are indented by two spaces.
fn entries(page: &str, heading: &str) -> BTreeSet<String> {
    let below = page.split(heading).nth(1).unwrap_or_default();
    let lines = below.lines().skip(1).take_while(|line| !line.is_empty());
    let lines = lines.filter_map(|line| line.strip_prefix("  "));
    let entries = lines.filter(|line| !line.starts_with(' '));
    let entries = entries.map(|line| line.split("  ").next().unwrap().to_owned());
    entries.collect()
}

/// The options of a page, without what they take.
fn options(page: &str) -> BTreeSet<String> {
    let options = entries(page, "Options:").into_iter();
    options
        .map(|option| option.split(' ').next().unwrap().to_owned())
        .collect()
}

/// The pages of all commands of the daemon, and of what they are grouped by.
fn pages() -> BTreeMap<String, String> {
    let top = page(DAEMON, "");
    let commands = entries(&top, "Commands:");
    let groups = commands
        .iter()
        .filter_map(|command| command.split_once(' '));
    let groups = groups.map(|(group, _)| group.to_owned());
    let groups: BTreeSet<String> = groups.filter(|group| group != "setup").collect();
    let words = commands.into_iter().chain(groups).chain([String::new()]);
    words
        .map(|words| (words.clone(), page(DAEMON, &words)))
        .collect()
}

#[test]
fn every_command_has_a_page_that_reads_well() {
    let pages = pages();
    assert!(pages.len() > 12, "{pages:?}");
    let mut seen = BTreeSet::new();
    for (words, page) in &pages {
        assert!(seen.insert(page), "{words} has the page of another command");
        let (about, rest) = page.split_once("\n\nUsage: runner-secretsd").unwrap();
        assert!(about.ends_with('.') && !about.contains("\n\n"), "{about}");
        let usage = rest.trim_start();
        assert!(usage.starts_with(words.as_str()), "{words}: {usage}");
        assert!(options(page).contains("--help"), "{page}");
        for line in page.lines() {
            assert!(line.chars().count() <= 100, "{line}");
            assert_eq!(line.trim_end(), line);
        }
        // Also after other arguments, and in short.
        let mut arguments: Vec<&str> = words.split_whitespace().collect();
        arguments.extend(["--config", "/nowhere", "-h"]);
        if options(page).contains("--config") {
            assert_eq!(text(&run(DAEMON, &arguments).stdout), *page);
        }
        // Each command of a group is on the group's page.
        let below = entries(page, "Commands:");
        for below in below.iter().filter(|_| !words.is_empty()) {
            assert!(pages.contains_key(&format!("{words} {below}")), "{below}");
        }
    }
    // A command that there is not has the page above, and is an error without it.
    assert_eq!(page(DAEMON, "policy nonsense"), pages["policy"]);
    assert_eq!(page(DAEMON, "nonsense"), pages[""]);
    assert_eq!(run(DAEMON, &["nonsense"]).status.code(), Some(64));
}

/// Options that a page has are taken, and those that only others have are not.
#[test]
fn a_page_has_the_options_that_are_taken_and_no_others() {
    let pages = pages();
    let all: BTreeSet<String> = pages.values().flat_map(|page| options(page)).collect();
    assert!(all.len() > 25, "{all:?}");
    for (words, page) in &pages {
        let taken = options(page);
        for option in all
            .iter()
            .filter(|option| *option != "--help" && *option != "--version")
        {
            // What comes after it keeps the command from being run.
            let mut arguments: Vec<&str> = words.split_whitespace().collect();
            arguments.extend([option, "--no-such-option", "--no-such-option"]);
            let output = run(DAEMON, &arguments);
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{words} {option}: {said}");
            let unknown = [
                format!("invalid option '{option}'"),
                format!("there is no option {option}"),
            ];
            let refused = unknown.iter().any(|unknown| said.contains(unknown));
            // What these take says first that a word is missing.
            let wants_word = matches!(words.as_str(), "" | "completions");
            if !wants_word {
                assert_eq!(refused, !taken.contains(option), "{words} {option}: {said}");
            }
        }
    }
    // And every one that is read anywhere is on a page.
    for file in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command")) {
        let source = fs::read_to_string(&file).unwrap();
        for option in source.split("Long(\"").skip(1) {
            let option = format!("--{}", option.split('"').next().unwrap());
            assert!(all.contains(&option), "{option} of {}", file.display());
        }
    }
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn the_version_is_a_line() {
    for (program, name) in [(DAEMON, "runner-secretsd"), (CLIENT, "runner-secrets")] {
        for flag in ["--version", "-V"] {
            let said = text(&run(program, &[flag]).stdout);
            let version = said.strip_prefix(&format!("{name} ")).unwrap();
            assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{said}");
            assert_eq!(said.lines().count(), 1);
        }
    }
}

/// Shells with what makes each print the candidates for the last of its arguments; `FILE` is the
/// script. In zsh, what belongs to its line editor is replaced.
const SHELLS: [(&str, &[&str], &str); 3] = [
    (
        "bash",
        &["--norc", "--noprofile", "-c"],
        r#". "$FILE" || exit 9; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _${1//-/_}
        ((${#COMPREPLY[@]})) && printf '%s\n' "${COMPREPLY[@]}"; exit 0"#,
    ),
    (
        "zsh",
        &["-f", "-c"],
        r#"_describe() { print -rl -- ${${(P)2}%%:*} }
        compadd() { shift; print -rl -- "$@" }
        _files() { print -rl -- *(N) }
        _normal() { print -r -- "${words[CURRENT]}..." }
        words=("$@") CURRENT=$# service=$1; . "$FILE"; exit 0"#,
    ),
    (
        "fish",
        &["--no-config", "-c"],
        r#"source "$FILE"; or exit 9; complete -C "$(string join ' ' -- $argv[2..-1])" | string replace -r '\t.*' ''; true"#,
    ),
];

/// What a shell offers for the last of these words, in a directory with a file `here`; `None` where
/// the machine does not have the shell.
fn offered(shell: usize, words: &[&str]) -> Option<BTreeSet<String>> {
    let (name, flags, script) = SHELLS[shell];
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("here"), "").unwrap();
    let completions = text(&run(DAEMON, &["completions", name]).stdout);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("completions");
    fs::write(&file, completions).unwrap();
    let mut command = Command::new(name);
    command.args(flags).arg(script).arg(name).args(words);
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("FILE", &file).env("HOME", home.path());
    let Ok(output) = command.current_dir(directory.path()).output() else {
        assert!(std::env::var_os("CI").is_none(), "CI has to have {name}");
        println!("skipped: there is no {name}");
        return None;
    };
    let said = text(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    let candidates = text(&output.stdout);
    Some(candidates.lines().map(str::to_owned).collect())
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn shells_complete_the_daemons_commands_and_options() {
    let pages = pages();
    let commands = entries(&pages[""], "Commands:");
    for (shell, (name, ..)) in SHELLS.iter().enumerate() {
        for (words, page) in &pages {
            let mut typed = vec!["runner-secretsd"];
            typed.extend(words.split_whitespace());
            let typing = |last: &'static str| [&typed[..], &[last]].concat();
            let Some(given) = offered(shell, &typing("--")) else {
                break;
            };
            assert_eq!(given, options(page), "{name}: {words} --");
            let below = |command: &String| {
                let rest = command.strip_prefix(words.as_str())?;
                let rest = if words.is_empty() {
                    Some(rest)
                } else {
                    rest.strip_prefix(' ')
                };
                Some(rest?.split(' ').next()?.to_owned())
            };
            let mut expected: BTreeSet<String> = commands.iter().filter_map(below).collect();
            if words == "completions" {
                expected = set(&["bash", "zsh", "fish"]);
            }
            if words == "policy test" || words.starts_with("audit ") {
                expected = set(&["here"]);
            }
            let given = offered(shell, &typing("")).unwrap();
            assert_eq!(given, expected, "{name}: {words}");
        }
    }
}

#[test]
fn shells_know_which_words_are_values() {
    let cases: [(&[&str], &[&str]); 6] = [
        (&["setup", "azure", "--format", ""], &["az", "terraform"]),
        (&["audit", "query", "--config", ""], &["here"]),
        (&["audit", "query", "--since", ""], &[]),
        (&["--config", "policy", "chec"], &["check-config"]),
        (&["--config", "x", "policy", "gr"], &["grants"]),
        (&["audit", "verify", "x", "--pub"], &["--public-key"]),
    ];
    for (shell, (name, ..)) in SHELLS.iter().enumerate() {
        for (typed, expected) in cases {
            let Some(mut given) = offered(shell, &[&["runner-secretsd"], typed].concat()) else {
                break;
            };
            // What zsh is told it matches itself.
            given.retain(|word| word.starts_with(typed.last().unwrap()));
            assert_eq!(given, set(expected), "{name}: {typed:?}");
        }
    }
}

#[test]
fn shells_complete_the_clients_commands_and_options() {
    let page = page(CLIENT, "");
    let commands = entries(&page, "Usage: runner-secrets COMMAND\n");
    let first = |line: &String| line.split([' ', ',']).next().unwrap().to_owned();
    let commands: BTreeSet<String> = commands.iter().map(first).collect();
    let commands: BTreeSet<String> = commands
        .into_iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    assert_eq!(commands.len(), 6, "{commands:?}");
    for (shell, (name, ..)) in SHELLS.iter().enumerate() {
        let Some(given) = offered(shell, &["runner-secrets", ""]) else {
            continue;
        };
        let given: BTreeSet<String> = given
            .into_iter()
            .filter(|word| !word.starts_with('-'))
            .collect();
        assert_eq!(given, commands, "{name}");
        for command in &commands {
            let typed = ["runner-secrets", command, "--"];
            let mut given = offered(shell, &typed).unwrap();
            given.remove("--");
            if *name == "fish" && command == "exec" {
                // Options there are those of the command that is run.
                continue;
            }
            let expected: &[&str] = match command.as_str() {
                "doctor" | "explain" => &["--help", "--json"],
                _ => &["--help"],
            };
            assert_eq!(given, set(expected), "{name}: {command}");
            for option in expected {
                let known = run(CLIENT, &[command, option, "--help"]);
                assert_eq!(known.status.code(), Some(0), "{command} {option}");
            }
        }
        let given = offered(shell, &["runner-secrets", "-"]).unwrap();
        let given: BTreeSet<String> = given
            .into_iter()
            .filter(|word| word.starts_with("--"))
            .collect();
        assert_eq!(given, set(&["--help", "--version"]), "{name}");
        let given = offered(shell, &["runner-secrets", "exec", "--", "ls", "h"]).unwrap();
        assert!(!given.is_empty(), "{name}: a command's own arguments");
    }
}

/// zsh finds the script by its first line, for both programs.
#[test]
fn zsh_finds_its_script() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/completions");
    let script = r#"fpath=("$DIR" $fpath); autoload -Uz compinit; compinit -u -D
        print -r -- $_comps[runner-secretsd] $_comps[runner-secrets]"#;
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", script]).env_clear();
    command.env("DIR", directory).env("PATH", "/usr/bin:/bin");
    match command.output() {
        Ok(output) => assert_eq!(text(&output.stdout), "_runner-secrets _runner-secrets\n"),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI has to have zsh");
            println!("skipped: zsh: {error}");
        }
    }
}
