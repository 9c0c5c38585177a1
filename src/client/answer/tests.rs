use runner_secrets_proto::v1::{ResolveResponse, Variable, variable};

use super::{Answer, Content, Error, Spec};
use crate::client::Environment;

/// `A` is wanted as a file, `V` as a value.
fn spec() -> Spec {
    let text = "{A: {azure_key_vault: {name: a}, token: e30.e30.e30}, \
                V: {azure_key_vault: {name: v}, token: e30.e30.e30, file: false}}";
    let environment: Environment = [("RUNNER_SECRETS", text)].into_iter().collect();
    Spec::from_environment(&environment).unwrap().unwrap()
}

fn path(path: &str) -> Variable {
    Variable {
        file: true,
        content: Some(variable::Content::Path(path.into())),
        ..Variable::default()
    }
}

fn value(file: bool, value: &[u8]) -> Variable {
    Variable {
        file,
        content: Some(variable::Content::Value(value.into())),
        ..Variable::default()
    }
}

fn answer(variables: &[(&str, Variable)]) -> ResolveResponse {
    let pairs = variables.iter().cloned();
    ResolveResponse {
        lease_id: "0a1b".into(),
        variables: pairs
            .map(|(name, given)| (name.to_owned(), given))
            .collect(),
        ..ResolveResponse::default()
    }
}

fn check(answer: ResolveResponse) -> Result<Answer, Error> {
    Answer::check(&spec(), answer, String::new())
}

#[test]
fn exactly_what_was_asked_for_is_taken() {
    let mut warned = path("/run/leases/x-1_2.y/A");
    warned.warnings.push("expired\nin Key Vault".into());
    let taken = check(answer(&[("A", warned), ("V", value(false, b"v\0"))])).unwrap();
    let contents: Vec<&Content> = taken.variables.values().collect();
    assert!(matches!(contents[0], Content::Path(path) if path == "/run/leases/x-1_2.y/A"));
    assert!(matches!(contents[1], Content::Value(value) if value.expose() == b"v\0"));
    assert_eq!(taken.warnings, ["A: expired\\u{a}in Key Vault"]);
    assert_eq!(taken.lease.as_deref(), Some("0a1b"));

    let inline = answer(&[("A", value(true, b"a")), ("V", value(false, b"v"))]);
    let inline = check(inline).unwrap();
    assert!(matches!(
        inline.variables.values().next(),
        Some(Content::File(_))
    ));
}

#[test]
fn anything_else_is_refused() {
    let good = || ("V", value(false, b"v"));
    let nothing = Variable {
        file: true,
        ..Variable::default()
    };
    for (variables, expected) in [
        (vec![good()], "it leaves out A"),
        (
            vec![
                ("A", path("/x/A")),
                good(),
                ("LD_PRELOAD", path("/x/LD_PRELOAD")),
            ],
            "it adds LD_PRELOAD, which was not asked for",
        ),
        (
            vec![("A", value(false, b"a")), good()],
            "it makes A a value",
        ),
        (
            vec![("A", path("/x/A")), ("V", value(true, b"v"))],
            "it makes V a file",
        ),
        (vec![("A", nothing), good()], "it has nothing for A"),
        (
            vec![
                ("A", path("/x/A")),
                (
                    "V",
                    Variable {
                        file: false,
                        ..path("/x/V")
                    },
                ),
            ],
            "it gives a path as the value of V",
        ),
    ] {
        let error = check(answer(&variables)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the daemon's answer is refused: {expected}")
        );
        assert_eq!(error.exit(), 70);
    }
}

#[test]
fn only_plain_absolute_paths_to_the_variable_are_taken() {
    for bad in [
        "", "A", "x/A", "./A", "/x/../A", "/x/./A", "//x/A", "/x//A", "/x/A/", "/x/B", "/x/a",
        "/x y/A", "/x\n/A", "/x/A\n", "/$(id)/A", "/`id`/A", "/x'/A", "/x\"/A", "/x;/A", "/x\\/A",
        "/é/A", "/x\0/A", "~/A",
    ] {
        let error = check(answer(&[("A", path(bad)), ("V", value(false, b"v"))]));
        assert!(matches!(error, Err(Error::Answer { .. })), "{bad:?}");
    }
    let long = format!("/{}/A", "x/".repeat(3000));
    assert!(check(answer(&[("A", path(&long)), ("V", value(false, b"v"))])).is_err());
}

#[test]
fn a_lease_is_letters_and_digits() {
    for bad in [
        "file:/dev/shm/runner-secrets-0/x",
        "a b",
        "a'",
        "a\n",
        &"a".repeat(129),
    ] {
        let mut answer = answer(&[("A", path("/x/A")), ("V", value(false, b"v"))]);
        answer.lease_id = bad.into();
        assert!(check(answer).is_err(), "{bad:?}");
    }
}

#[test]
fn files_are_written_by_one_side() {
    let text = "{A: {azure_key_vault: {name: a}, token: e30.e30.e30}, \
                B: {azure_key_vault: {name: b}, token: e30.e30.e30}}";
    let environment: Environment = [("RUNNER_SECRETS", text)].into_iter().collect();
    let spec = Spec::from_environment(&environment).unwrap().unwrap();
    let mixed = answer(&[("A", path("/x/A")), ("B", value(true, b"b"))]);
    assert!(Answer::check(&spec, mixed, String::new()).is_err());
}
