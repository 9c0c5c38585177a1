//! `setup azure --format terraform`, read by a parser of its language, and by its formatter.

use std::{collections::BTreeSet, io::Write as _, process::Stdio};

use super::{credential, printed, run};

#[tokio::test]
async fn terraform_says_what_the_commands_do() {
    for arguments in [
        &["--project", "acme/shop", "--branch", "main"][..],
        &["--group", "acme", "--branch", "*", "--protected"],
        &[
            "--project",
            "acme/shop",
            "--branch",
            "main",
            "--environment",
            "a",
            "--environment",
            "b",
            "--environment",
            "c",
        ],
        &["--project", "acme/shop", "--tag", "v*"],
        &[
            "--project",
            "acme/shop",
            "--branch",
            "it's-${x}-%{y}",
            "--managed-identity",
            "rg",
        ],
    ] {
        let usual = ["--vault", "demo", "--secret", "db-password"];
        let arguments = [arguments, &usual].concat();
        let (calls, _) = run(&printed(&arguments).await).await;
        let commands: BTreeSet<String> = calls
            .iter()
            .filter_map(|call| credential(call, "x"))
            .map(|one| one.subject.or(one.expression).unwrap())
            .collect();
        let text = printed(&[&arguments[..], &["--format", "terraform"]].concat()).await;
        formatted(&text);
        let body: hcl::Body =
            hcl::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let mut found = BTreeSet::new();
        for block in body
            .blocks()
            .filter(|block| block.identifier() == "resource")
        {
            for attribute in block.body().attributes() {
                if ["subject", "claims_matching_expression"].contains(&attribute.key()) {
                    found.insert(literal(attribute.expr()));
                }
            }
        }
        assert_eq!(found, commands, "{text}");
    }
}

/// The formatter of Terraform's language has nothing to change; the parser is always there.
fn formatted(text: &str) {
    let mut command = std::process::Command::new("hclfmt");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "hclfmt: {error}");
            println!("skipped: there is no hclfmt here");
            return;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
}

/// What a string stands for, which must not be a template.
fn literal(expression: &hcl::Expression) -> String {
    match expression {
        hcl::Expression::String(text) => text.clone(),
        hcl::Expression::TemplateExpr(template) => {
            let template = hcl::Template::from_expr(template).unwrap();
            let literal = |element: &hcl::template::Element| match element {
                hcl::template::Element::Literal(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            template.elements().iter().map(literal).collect()
        }
        other => panic!("{other:?}"),
    }
}
