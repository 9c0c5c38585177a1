use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Environment, Error, LONGEST, is_jwt, job_id, named, of_this_job};

fn jwt(claims: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256"}"#),
        part(claims),
        part("signature")
    )
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    pairs.iter().copied().collect()
}

#[test]
fn the_one_token_of_the_job_is_found_among_others() {
    let mine = jwt(r#"{"job_id":"812"}"#);
    let environment = environment(&[
        ("CI_JOB_ID", "812"),
        ("AZURE_JWT", &mine),
        ("ANOTHER_JOBS", &jwt(r#"{"job_id":"811"}"#)),
        ("CI_JOB_JWT", &jwt(r#"{"sub":"no job in it"}"#)),
        ("CI_JOB_TOKEN", "glcbt-64_x"),
        ("VERSION", "1.2.3"),
        ("NOT_JSON", "e30.e30x.e30"),
    ]);
    assert_eq!(of_this_job("A.token", "A", &environment).unwrap(), mine);
}

#[test]
fn a_job_id_may_be_a_number_and_one_token_may_have_two_names() {
    let mine = jwt(r#"{"job_id":812}"#);
    let environment = environment(&[("CI_JOB_ID", "812"), ("A_JWT", &mine), ("B_JWT", &mine)]);
    assert_eq!(of_this_job("A.token", "A", &environment).unwrap(), mine);
}

#[test]
fn no_token_and_several_tokens_show_the_lines_to_add() {
    let one = jwt(r#"{"job_id":"812","aud":"a"}"#);
    let two = jwt(r#"{"job_id":"812","aud":"b"}"#);
    for (pairs, problem, last) in [
        (
            vec![("CI_JOB_ID", "812")],
            "DB.token: no variable holds an ID token of job 812",
            "id_tokens:\n  AZURE_JWT:\n    aud: api://AzureADTokenExchange\n",
        ),
        (
            vec![("CI_JOB_ID", "812"), ("Z_JWT", &one), ("B_JWT", &two)],
            "DB.token: there are 2 ID tokens of job 812 (B_JWT, Z_JWT)",
            "DB:\n  token: $B_JWT\n",
        ),
        (
            vec![("Z_JWT", &one)],
            "DB.token: CI_JOB_ID is not set, so the job's ID token cannot be told",
            "DB:\n  token: $AZURE_JWT\n",
        ),
    ] {
        let error = of_this_job("DB.token", "DB", &environment(&pairs)).unwrap_err();
        assert_eq!(error.to_string(), problem);
        assert!(matches!(&error, Error::Token { lines, .. } if lines == last));
        assert_eq!(error.exit(), 64);
    }
}

#[test]
fn a_token_of_another_job_came_by_inheritance() {
    let parents = jwt(r#"{"job_id":"811"}"#);
    let environment = environment(&[("CI_JOB_ID", "812"), ("T", &parents)]);
    for (written, what) in [("$T", "$T"), (parents.as_str(), "it")] {
        let error = named("A.token", written, &environment).unwrap_err();
        let expected = format!(
            "A.token: {what} is the ID token of job 811, and this is job 812: child pipelines \
             inherit variables, but no ID tokens"
        );
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.exit(), 65);
    }
}

#[test]
fn a_token_is_named_by_a_variable_or_written_out() {
    let token = jwt("{}");
    let environment = environment(&[("T", &token), ("OTHER", "no token"), ("EMPTY", "")]);
    for written in ["$T", "${T}", &token] {
        assert_eq!(named("A.token", written, &environment).unwrap(), token);
    }
    for unset in ["$UNSET", "${EMPTY}"] {
        let error = named("A.token", unset, &environment).unwrap_err();
        assert!(matches!(error, Error::Token { .. }), "{unset}");
    }
    for bad in ["", "T", "$OTHER", "$T$T", "a.b", "Bearer x.y.z", "a..b"] {
        let error = named("A.token", bad, &environment).unwrap_err();
        assert!(matches!(error, Error::TokenInvalid { .. }), "{bad}");
        assert_eq!(error.exit(), 65);
    }
}

#[test]
fn what_only_resembles_a_token_is_passed_over() {
    for bad in ["", "..", "a.b", "a.b.c.d", "a.b!.c", "a.b.c\n", " a.b.c"] {
        assert!(!is_jwt(bad), "{bad:?}");
    }
    assert!(!is_jwt(&format!("a.{}.c", "b".repeat(LONGEST))));
    for claims in ["[]", "{}", r#"{"job_id":null}"#, r#"{"job_id":[1]}"#, "x"] {
        assert_eq!(job_id(&jwt(claims)), None, "{claims}");
    }
}
