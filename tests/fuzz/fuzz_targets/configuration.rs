//! Any text as a configuration: read, or refused with problems that each have a line of the file
//! and a sentence on one line. What is read makes a policy that has a hash and can be listed. The
//! whole configuration and the cases of a policy read the same way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use runner_secrets::{
    config::{Config, Problem, rule},
    policy::{Defaults, Policy, cases},
};

fuzz_target!(|text: &str| {
    match rule::parse(text) {
        Ok((_, rules)) => {
            let policy = Policy::new(rules, Defaults::default());
            assert_eq!(policy.hash().len(), 64);
            let _ = policy.grants(None);
        }
        Err(problems) => check(text, &problems),
    }
    if let Err(problems) = cases::read(text) {
        check(text, &problems);
    }
    // This one reads files that the text names.
    if !text.contains("ca_file") {
        if let Err(problems) = Config::parse(text) {
            check(text, &problems);
        }
    }
});

fn check(text: &str, problems: &[Problem]) {
    assert!(!problems.is_empty());
    let lines = text.matches('\n').count() + 1;
    for problem in problems {
        assert!(problem.line <= lines, "{problem}");
    }
}
