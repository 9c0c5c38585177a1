use super::{Mode, parse};
use crate::config::issuer::KeySource;

const ISSUER: &str =
    "[[issuer]]\nurl = 'https://gitlab.example.com'\naudiences = ['api://AzureADTokenExchange']\n";
const RULE: &str = "[[rule]]\nname = 'r'\nbound_claims = { project_path = 'acme/shop' }\n\
                    vaults = ['https://a.vault.azure.net']\nsecrets = ['s']\n";

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

/// Checks that the only problem of the sample with `old` replaced by `new` begins like this.
fn one_problem(cases: &[(&str, &str, &str)]) {
    let good = format!("{ISSUER}{RULE}");
    parse(&good).unwrap();
    for (old, new, problem) in cases {
        assert!(good.contains(old), "{old}");
        let found = problems(&good.replacen(old, new, 1));
        assert_eq!(found.len(), 1, "{new}: {found:?}");
        assert!(found[0].contains(problem), "{new}: {found:?}");
    }
}

#[test]
fn everything_has_its_place() {
    let text = "
        [[issuer]]
        url = 'https://gitlab.example.com'
        audiences = ['a', 'b']
        jwks_url = 'https://keys.test/jwks'
        ca_file = '/etc/ca.pem'
        [[issuer]]
        url = 'https://example.com:8443/gitlab'
        audiences = ['a']
        [[issuer]]
        url = 'https://offline.test'
        audiences = ['a']
        jwks_file = '/etc/jwks.json'
        [policy]
        mode = 'audit'
        refuse_expired = true
        [[rule]]
        name = 'one'
        issuer = 'https://offline.test'
        vaults = ['HTTPS://A.vault.azure.net/']
        secrets = ['DB-*']
        tenant_id = 'Contoso.onmicrosoft.com'
        client_id = 'AAAAAAAA-1111-1111-1111-111111111111'
        require_version = true
        allow_forks = true
        refuse_expired = true
        [rule.bound_claims]
        ref_protected = true
        runner_id = [7, '8']
        project_path = ['acme/*', 'acme/**']";
    let (issuers, rules) = parse(text).unwrap();
    assert!(
        matches!(&issuers[0].keys, KeySource::Url(url) if url.as_str() == "https://keys.test/jwks")
    );
    assert!(matches!(&issuers[1].keys, KeySource::Discovery(url)
        if url.as_str() == "https://example.com:8443/gitlab/.well-known/openid-configuration"));
    assert!(matches!(&issuers[2].keys, KeySource::File(path) if path.ends_with("jwks.json")));
    assert_eq!((rules.mode, rules.refuse_expired), (Mode::Audit, true));
    let [rule] = rules.rules.as_slice() else {
        panic!("{rules:?}")
    };
    assert_eq!(rule.vaults[0].as_str(), "https://a.vault.azure.net");
    assert_eq!(rule.secrets[0].as_str(), "db-*");
    assert_eq!(rule.tenant_id.as_deref(), Some("contoso.onmicrosoft.com"));
    assert_eq!(
        rule.client_id.as_deref(),
        Some("aaaaaaaa-1111-1111-1111-111111111111")
    );
    assert!(rule.require_version && rule.allow_forks && rule.refuse_expired);
    let bound: Vec<(&str, Vec<&str>)> = rule
        .bound_claims
        .iter()
        .map(|(name, patterns)| (name.as_str(), patterns.iter().map(AsRef::as_ref).collect()))
        .collect();
    // What says which project it is comes first.
    assert_eq!(
        bound,
        [
            ("project_path", vec!["acme/*", "acme/**"]),
            ("ref_protected", vec!["true"]),
            ("runner_id", vec!["7", "8"]),
        ]
    );
}

#[test]
fn issuer_and_mode_have_defaults() {
    let (_, rules) = parse(&format!("{ISSUER}{RULE}")).unwrap();
    assert_eq!(rules.rules[0].issuer, "https://gitlab.example.com");
    assert_eq!((rules.mode, rules.refuse_expired), (Mode::Enforce, false));
    assert!(parse(ISSUER).unwrap().1.rules.is_empty());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
fn mistaken_issuers_are_problems() {
    let url = "url = 'https://gitlab.example.com'";
    let audiences = "audiences = ['api://AzureADTokenExchange']";
    one_problem(&[
        (url, "", "line 1: issuer[0].url: is missing"),
        (
            url,
            "url = 'http://gitlab.example.com'",
            "line 2: issuer[0].url: \"http://gitlab.example.com\" does not begin with https://",
        ),
        (
            url,
            "url = 'https://gitlab.example.com/'",
            "ends with a slash",
        ),
        (url, "url = 'gitlab.example.com'", "is no URL"),
        (
            url,
            "url = 'https://ada@gitlab.example.com'",
            "is not as an issuer writes it",
        ),
        (
            url,
            "url = 'https://gitlab.example.com?x=1'",
            "is not as an issuer writes it",
        ),
        (
            url,
            "url = 'https://gitlab.example.com/a/../b'",
            "is not as an issuer writes it",
        ),
        (
            url,
            "url = ' https://gitlab.example.com'",
            "is not as an issuer writes it",
        ),
        (audiences, "", "issuer[0].audiences: is missing"),
        (audiences, "audiences = []", "issuer[0].audiences: is empty"),
        (
            audiences,
            "audiences = ['']",
            "issuer[0].audiences: is empty",
        ),
        (
            audiences,
            "audiences = ['a']\njwks_url = 'http://a.test'",
            "line 4: issuer[0].jwks_url: \"http://a.test\" is no https:// URL",
        ),
        (
            audiences,
            "audiences = ['a']\njwks_url = 'https://a.test'\njwks_file = '/a'",
            "excludes jwks_file",
        ),
        (
            audiences,
            "audiences = ['a']\njwks_file = 'a'",
            "is no absolute path",
        ),
        (
            audiences,
            "audiences = ['a']\nurls = 1",
            "line 4: issuer[0].urls: is no key of this table",
        ),
    ]);
    assert_eq!(
        problems(&format!("{ISSUER}{ISSUER}")),
        ["line 5: issuer[1].url: is the issuer of another table too"]
    );
    assert!(problems("")[0].starts_with("issuer: is missing"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table, one row a case")]
fn mistaken_rules_are_problems() {
    let claims = "bound_claims = { project_path = 'acme/shop' }";
    let vaults = "vaults = ['https://a.vault.azure.net']";
    let secrets = "secrets = ['s']";
    one_problem(&[
        ("name = 'r'", "", "line 4: rule[0].name: is missing"),
        ("name = 'r'", "name = ''", "rule[0].name: \"\" is empty"),
        (
            "name = 'r'",
            "name = ' r'",
            "begins or ends with white space",
        ),
        (
            "name = 'r'",
            "name = 'r'\nissuer = 'https://other.test'",
            "line 6: rule[0].issuer: \"https://other.test\" is no [[issuer]]; there is https://gitlab.example.com",
        ),
        (claims, "", "rule[0].bound_claims: is missing"),
        (
            claims,
            "bound_claims = {}",
            "rule[0].bound_claims: binds no project",
        ),
        (
            claims,
            "bound_claims = { ref_protected = true }",
            "binds no project",
        ),
        (
            claims,
            "bound_claims = { project_path = [] }",
            "is an empty list",
        ),
        (
            claims,
            "bound_claims = { project_path = 1.5 }",
            "expected a string, a number, true or false, found float",
        ),
        (
            claims,
            "bound_claims = { project_path = ['a/b', ['c/d']] }",
            "expected a string, a number",
        ),
        (vaults, "", "rule[0].vaults: is missing"),
        (
            vaults,
            "vaults = []",
            "rule[0].vaults: is empty, so the rule grants nothing",
        ),
        (
            vaults,
            "vaults = ['http://a.vault.azure.net']",
            "\"http://a.vault.azure.net\" is no vault's address",
        ),
        (
            vaults,
            "vaults = ['https://a.vault.azure.net/secrets']",
            "is no vault's address",
        ),
        (secrets, "", "rule[0].secrets: is missing"),
        (
            secrets,
            "secrets = []",
            "is empty, so the rule grants nothing",
        ),
        (
            secrets,
            "secrets = ['db_password']",
            "\"db_password\" can never match",
        ),
        (secrets, "secrets = ['db-?']", "can never match"),
        (secrets, "secrets = ['']", "is empty"),
        (
            secrets,
            "secrets = ['s']\nclient_id = 'x'",
            "rule[0].client_id: \"x\" is no id",
        ),
        (
            secrets,
            "secrets = ['s']\ntenant_id = 'contoso'",
            "rule[0].tenant_id: \"contoso\" is no id",
        ),
        (
            secrets,
            "secrets = ['s']\nrequire_versions = true",
            "is no key of this table",
        ),
        (
            secrets,
            "secrets = ['s']\n[policy]\nmode = 'off'",
            "policy.mode: \"off\" is neither",
        ),
    ]);
    assert_eq!(
        problems(&format!("{ISSUER}{RULE}{RULE}")),
        ["line 10: rule[1].name: \"r\" is the name of another rule too"]
    );
    let two = ISSUER.replace("example", "two");
    assert_eq!(
        problems(&format!("{ISSUER}{two}{RULE}")),
        ["line 7: rule[0].issuer: is missing"]
    );
}

#[test]
fn claims_that_cannot_be_meant_are_problems() {
    for (claim, problem) in [
        (
            "ref_protected = 'yes'",
            "line 6: rule[0].bound_claims.ref_protected: \"yes\" can never match",
        ),
        (
            "environment_protected = [true, 'True']",
            "\"True\" can never match",
        ),
        (
            "user_email = 'a@b.test'",
            "this claim is not kept; bind user_login or user_id",
        ),
        ("user_identities = 'x'", "this claim is not kept"),
        ("job_config = 'x'", "this claim is an object"),
        ("project_id = '12*'", "is no id: digits, without wildcards"),
        ("runner_id = 'x'", "is no id"),
        ("namespace_id = -1", "is no whole number"),
        ("job_project_path = 'acme'", "a project's path has a group"),
        ("job_project_path = 'acme*'", "a project's path has a group"),
        ("job_project_path = '*'", "a project's path has a group"),
        (
            "job_project_path = '/acme/shop'",
            "neither begins nor ends with a slash",
        ),
        (
            "job_project_path = 'acme/'",
            "neither begins nor ends with a slash",
        ),
        ("namespace_path = 'acme//x'", "nor has two"),
        (
            "namespace_path = 'acme*'",
            "would match other people's groups",
        ),
        (
            "job_project_path = 'acme**'",
            "would match other people's groups: write acme/**, not acme**",
        ),
        (
            "job_project_path = '*acme/shop'",
            "would match other people's groups",
        ),
        ("ref = 'refs/heads/main'", "ref is the bare name"),
        ("ref_path = 'main'", "ref_path begins with refs/heads/"),
        ("environment = ''", "\"\" is empty"),
        (
            "environment = 'production '",
            "begins or ends with white space",
        ),
        ("environment = ['a', \"b\\n\"]", "has a control character"),
    ] {
        let text =
            format!("{ISSUER}{RULE}").replace("'acme/shop'", &format!("'acme/shop', {claim}"));
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{claim}: {found:?}");
        assert!(found[0].contains(problem), "{claim}: {found:?}");
    }
    for claim in [
        "job_project_path = '**'",
        "job_project_path = '*/shop'",
        "job_project_path = '**/shop'",
        "job_project_path = 'acme/team-*'",
        "job_project_path = 'acme/**/shop'",
        "namespace_path = ['acme', 'acme/**']",
        "project_id = [1, '2']",
        "ref_protected = false",
        "ref_path = ['refs/tags/v*', '**']",
        "ref = 'a?[b]'",
        "sub = 'project_path:acme/*:ref_type:branch:ref:main'",
        "some_claim_of_tomorrow = 'x'",
    ] {
        let text =
            format!("{ISSUER}{RULE}").replace("'acme/shop'", &format!("'acme/shop', {claim}"));
        assert!(parse(&text).is_ok(), "{claim}: {:?}", problems(&text));
    }
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    let text =
        format!("{ISSUER}[policy]\nmode = 1\n[[rule]]\nname = 'r'\nsecrets = []\nvault = 'x'\n");
    assert_eq!(
        problems(&text),
        [
            "line 5: policy.mode: expected a string, found integer",
            "line 6: rule[0].bound_claims: is missing: without it the rule would grant to every job of the instance",
            "line 6: rule[0].vaults: is missing",
            "line 8: rule[0].secrets: is empty, so the rule grants nothing",
            "line 9: rule[0].vault: is no key of this table; it has: allow_forks, bound_claims, client_id, issuer, name, refuse_expired, require_version, secrets, tenant_id, vaults",
        ]
    );
}
