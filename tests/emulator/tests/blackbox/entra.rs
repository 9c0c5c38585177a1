//! Entra's documents and its token endpoint.

use azure_emulator::{FederatedCredential, IdTokenRequest, KeyChoice, State};
use serde_json::{Value, json};

use crate::bench::{Answer, Bench, claims, header, object};

const SUBJECT: &str = "project_path:acme/shop:ref_type:branch:ref:main";
const AUDIENCE: &str = "api://AzureADTokenExchange";

fn assert_refused(answer: &Answer, code: u32, status: u16, error: &str) {
    assert_eq!(answer.json["error_codes"], json!([code]), "{}", answer.text);
    assert_eq!(answer.status, status, "{code}");
    assert_eq!(answer.json["error"], error, "{code}");
    let description = answer.json["error_description"].as_str().unwrap();
    assert!(
        description.starts_with(&format!("AADSTS{code}: ")),
        "{description}"
    );
    for member in ["trace_id", "correlation_id", "timestamp"] {
        let value = answer.json[member].as_str().unwrap();
        assert!(description.contains(value), "{member} in {description}");
    }
    assert_eq!(answer.json["trace_id"], answer.header("x-ms-request-id"));
}

#[tokio::test]
async fn id_token_is_exchanged_for_an_access_token() {
    let bench = Bench::new().await;
    let answer = bench.exchange(&bench.id_token()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json["token_type"], "Bearer");
    assert_eq!(answer.json["expires_in"], 3599);
    assert_eq!(answer.json["ext_expires_in"], 3599);
    assert_eq!(answer.json.as_object().unwrap().len(), 4);
    assert_eq!(answer.header("cache-control"), "no-store, no-cache");
    let token = answer.json["access_token"].as_str().unwrap();
    let claims = claims(token);
    let tenant = &bench.ready().tenant_id;
    assert_eq!(claims["aud"], "https://vault.azure.net");
    assert_eq!(claims["iss"], format!("https://sts.windows.net/{tenant}/"));
    assert_eq!(claims["appid"], *bench.ready().client_id);
    assert_eq!(claims["oid"], claims["sub"]);
    assert_eq!(claims["ver"], "1.0");
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 3900);
    assert_eq!(header(token)["typ"], "JWT");
}

#[tokio::test]
async fn what_sign_in_libraries_add_is_ignored() {
    let bench = Bench::new().await;
    let mut form = bench.form(&bench.id_token());
    form[1].1 = "https://vault.azure.net/.default openid offline_access profile".into();
    form.push(("client_info", "1".into()));
    form.push((
        "claims",
        r#"{"access_token":{"xms_cc":{"values":["CP1"]}}}"#.into(),
    ));
    let url = format!("{}?client-request-id=1", bench.token_url());
    let answer = bench.post_form(&url, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn first_version_of_the_endpoint_writes_numbers_as_strings() {
    let bench = Bench::new().await;
    let mut form = bench.form(&bench.id_token());
    form[1] = ("resource", "https://vault.azure.net".into());
    let url = bench.token_url().replace("/v2.0", "");
    let answer = bench.post_form(&url, &form).await;
    assert_eq!(answer.json["expires_in"], "3599", "{}", answer.text);
    assert_eq!(answer.json["resource"], "https://vault.azure.net");
}

#[tokio::test]
async fn tenant_may_be_named_by_its_domain() {
    let bench = Bench::new().await;
    let url = bench
        .token_url()
        .replace(&bench.ready().tenant_id, "acme.onmicrosoft.com");
    let answer = bench.post_form(&url, &bench.form(&bench.id_token())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn assertion_is_refused_with_the_code_of_what_is_wrong_with_it() {
    let bench = Bench::new().await;
    let client_id = bench.ready().client_id.clone();
    let none = json!({});
    for (claims, header, code, status, error) in [
        (
            json!({"iss": "https://gitlab.com"}),
            none.clone(),
            700_211,
            401,
            "invalid_client",
        ),
        (
            json!({"aud": "https://gitlab.com"}),
            none.clone(),
            700_212,
            401,
            "invalid_client",
        ),
        (
            json!({"sub": "project_path:a/b"}),
            none.clone(),
            700_213,
            401,
            "invalid_client",
        ),
        (
            json!({"sub": SUBJECT.to_uppercase()}),
            none.clone(),
            7_002_138,
            401,
            "invalid_client",
        ),
        (
            json!({"aud": [AUDIENCE]}),
            none.clone(),
            50027,
            400,
            "invalid_request",
        ),
        (
            json!({"iss": " https://gitlab.com"}),
            none.clone(),
            50027,
            400,
            "invalid_request",
        ),
        (
            json!({"iss": null}),
            none.clone(),
            90014,
            400,
            "invalid_request",
        ),
        (
            json!({"sub": null}),
            none.clone(),
            90014,
            400,
            "invalid_request",
        ),
        (
            json!({"aud": null}),
            none.clone(),
            90014,
            400,
            "invalid_request",
        ),
        (
            json!({"iss": client_id, "sub": client_id}),
            none.clone(),
            700_027,
            401,
            "invalid_client",
        ),
        (
            json!({"iss": "me", "sub": "me"}),
            none.clone(),
            700_021,
            401,
            "invalid_client",
        ),
        (
            json!({"iss": "https://login.microsoftonline.com/t/v2.0"}),
            none.clone(),
            700_222,
            401,
            "invalid_client",
        ),
        (
            json!({"exp": 1_000_000}),
            none.clone(),
            700_024,
            401,
            "invalid_client",
        ),
        (
            json!({"exp": null}),
            none.clone(),
            700_024,
            401,
            "invalid_client",
        ),
        (
            json!({"nbf": 9_999_999_999_u64}),
            none.clone(),
            700_024,
            401,
            "invalid_client",
        ),
        (
            none.clone(),
            json!({"typ": "at+jwt"}),
            5_002_727,
            400,
            "invalid_request",
        ),
        (
            none.clone(),
            json!({"kid": null}),
            5_002_723,
            400,
            "invalid_request",
        ),
        (
            none.clone(),
            json!({"alg": "none"}),
            5_002_738,
            400,
            "invalid_request",
        ),
        (
            none.clone(),
            json!({"alg": "HS256"}),
            5_002_738,
            400,
            "invalid_request",
        ),
        (
            none.clone(),
            json!({"alg": "ES256"}),
            5_002_738,
            400,
            "invalid_request",
        ),
        (
            none.clone(),
            json!({"alg": "RS512"}),
            7_000_274,
            401,
            "invalid_client",
        ),
        (
            none.clone(),
            json!({"kid": "nobody"}),
            7_000_272,
            401,
            "invalid_client",
        ),
    ] {
        let answer = bench.exchange(&bench.id_token_with(&claims, &header)).await;
        assert_refused(&answer, code, status, error);
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn request_is_refused_with_the_code_of_what_is_wrong_with_it() {
    let bench = Bench::new().await;
    let token = bench.id_token();
    let cases: [(&str, Option<&str>, u32, u16, &str); 13] = [
        ("client_id", None, 900_144, 400, "invalid_request"),
        ("grant_type", None, 900_144, 400, "invalid_request"),
        ("scope", None, 900_144, 400, "invalid_request"),
        (
            "grant_type",
            Some("password"),
            70003,
            400,
            "unsupported_grant_type",
        ),
        (
            "client_id",
            Some("00000000-0000-4000-8000-000000000000"),
            700_016,
            400,
            "unauthorized_client",
        ),
        ("client_assertion", None, 7_000_216, 401, "invalid_client"),
        (
            "client_assertion_type",
            None,
            7_000_216,
            401,
            "invalid_client",
        ),
        (
            "client_assertion",
            Some("$GITLAB_TOKEN"),
            50027,
            400,
            "invalid_request",
        ),
        (
            "client_assertion",
            Some("a.b.c"),
            50027,
            400,
            "invalid_request",
        ),
        ("client_secret", Some("s"), 7_000_215, 401, "invalid_client"),
        (
            "scope",
            Some("https://vault.azure.net"),
            1_002_012,
            400,
            "invalid_scope",
        ),
        ("scope", Some("openid"), 70011, 400, "invalid_scope"),
        (
            "scope",
            Some("https://vault.usgovcloudapi.net/.default"),
            500_011,
            400,
            "invalid_resource",
        ),
    ];
    for (field, value, code, status, error) in cases {
        let mut form = bench.form(&token);
        form.retain(|(name, _)| *name != field);
        form.extend(value.map(|value| (field, value.to_owned())));
        let answer = bench.post_form(&bench.token_url(), &form).await;
        assert_refused(&answer, code, status, error);
    }
}

#[tokio::test]
async fn tenant_that_does_not_exist_is_refused() {
    let bench = Bench::new().await;
    let form = bench.form(&bench.id_token());
    for (tenant, code) in [
        ("00000000-0000-4000-8000-000000000000", 90002),
        ("nobody.onmicrosoft.com", 90002),
        ("$AZURE_TENANT_ID", 900_023),
        ("common", 9_001_023),
    ] {
        let url = bench.token_url().replace(&bench.ready().tenant_id, tenant);
        let answer = bench.post_form(&url, &form).await;
        assert_refused(&answer, code, 400, "invalid_request");
    }
}

#[tokio::test]
async fn texts_quote_the_request_as_published() {
    let bench = Bench::new().await;
    let answer = bench
        .exchange(&bench.id_token_with(&json!({"sub": "project_path:g/p"}), &json!({})))
        .await;
    let description = answer.json["error_description"].as_str().unwrap();
    assert!(
        description.starts_with(
            "AADSTS700213: No matching federated identity record found for presented assertion \
             subject 'project_path:g/p'. Check your federated identity credential Subject, \
             Audience and Issuer against the presented assertion. \
             https://learn.microsoft.com/entra/workload-id/workload-identity-federation \
             Trace ID: "
        ),
        "{description}"
    );
    assert_eq!(answer.json["error_uri"], Value::Null);
    let answer = bench
        .exchange(&bench.id_token_with(&json!({"exp": 1_717_496_446, "nbf": null}), &json!({})))
        .await;
    let description = answer.json["error_description"].as_str().unwrap();
    assert!(
        description.contains(
            "assertion valid from 1970-01-01T00:00:00.0000000Z, expiry time of assertion \
             2024-06-04T10:20:46.0000000Z. Review the documentation at"
        ),
        "{description}"
    );
    let uri = "https://login.microsoftonline.com/error?code=700024";
    assert_eq!(answer.json["error_uri"], uri);
}

#[tokio::test]
async fn application_is_refused_for_its_own_state() {
    for (change, code, status) in [
        (json!({"enabled": false}), 7_000_112, 400),
        (json!({"service_principal": false}), 7_000_229, 401),
        (json!({"blocked": true}), 53003, 400),
    ] {
        let mut state = State::default();
        let mut application = serde_json::to_value(&state.applications[0]).unwrap();
        let changed = application.as_object_mut().unwrap();
        changed.extend(object(&change));
        state.applications = vec![serde_json::from_value(application).unwrap()];
        let bench = Bench::with(state).await;
        let answer = bench.exchange(&bench.id_token()).await;
        assert_eq!(answer.json["error_codes"], json!([code]), "{}", answer.text);
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn keys_decide_about_the_signature() {
    let bench = Bench::new().await;
    for (key, code) in [
        (KeyChoice::Unknown, 7_000_272),
        (KeyChoice::Wrong, 7_000_274),
    ] {
        let wanted = IdTokenRequest {
            key,
            ..IdTokenRequest::default()
        };
        let token = bench.emulator.id_token(&wanted).unwrap();
        let answer = bench.exchange(&token).await;
        assert_refused(&answer, code, 401, "invalid_client");
    }
    let old = bench.id_token();
    bench.emulator.rotate_keys(true).unwrap();
    assert_eq!(bench.exchange(&old).await.status, 200);
    let old = bench.id_token();
    bench.emulator.rotate_keys(false).unwrap();
    assert_refused(
        &bench.exchange(&old).await,
        7_000_272,
        401,
        "invalid_client",
    );
    assert_eq!(bench.exchange(&bench.id_token()).await.status, 200);
}

#[tokio::test]
async fn federated_credentials_can_be_replaced() {
    let bench = Bench::new().await;
    bench
        .control("PUT", "/federated-credentials", &json!([]))
        .await;
    let answer = bench.exchange(&bench.id_token()).await;
    assert_refused(&answer, 70025, 401, "invalid_client");
    let client_id = &bench.ready().client_id;
    let credential = json!([{
        "client_id": client_id, "issuer": bench.ready().issuer_url,
        "subject": "project_path:acme/web", "audience": "web",
    }]);
    bench
        .control("PUT", "/federated-credentials", &credential)
        .await;
    let changed = json!({"sub": "project_path:acme/web", "aud": "web"});
    let answer = bench
        .exchange(&bench.id_token_with(&changed, &json!({})))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn flexible_credential_matches_by_expression() {
    let bench = Bench::new().await;
    let with = |issuer: Option<&str>, expression: &str| {
        bench
            .emulator
            .set_federated_credentials(vec![FederatedCredential {
                client_id: bench.ready().client_id.clone(),
                issuer: issuer.map(str::to_owned),
                audience: AUDIENCE.into(),
                expression: Some(expression.into()),
                ..FederatedCredential::default()
            }]);
    };
    with(
        None,
        "claims['sub'] matches 'project_path:acme/shop:ref_type:branch:ref:*'",
    );
    assert_eq!(bench.exchange(&bench.id_token()).await.status, 200);
    with(
        None,
        "claims['sub'] matches 'project_path:acme/*' and claims['sub'] eq 'x'",
    );
    let answer = bench.exchange(&bench.id_token()).await;
    assert_refused(&answer, 7_002_131, 401, "invalid_client");
    with(None, "sub like 'x'");
    let answer = bench.exchange(&bench.id_token()).await;
    assert_refused(&answer, 700_233, 401, "invalid_client");
    with(Some("https://git.acme.example"), "claims['sub'] eq 'x'");
    let elsewhere = json!({"iss": "https://git.acme.example"});
    let answer = bench
        .exchange(&bench.id_token_with(&elsewhere, &json!({})))
        .await;
    assert_refused(&answer, 7_002_241, 401, "invalid_client");
}

#[tokio::test]
async fn audience_lists_are_taken_where_the_state_says_so() {
    let state = State {
        accept_audience_arrays: true,
        ..State::default()
    };
    let bench = Bench::with(state).await;
    let list = json!({"aud": ["other", AUDIENCE]});
    let answer = bench
        .exchange(&bench.id_token_with(&list, &json!({})))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn time_of_a_token_is_told_by_the_emulators_clock() {
    let bench = Bench::new().await;
    let token = bench.id_token();
    for (offset, expected) in [
        (3600 + 299, 200),
        (3600 + 310, 401),
        (-299, 200),
        (-310, 401),
    ] {
        let shift = json!({"offset_seconds": offset});
        bench.control("PUT", "/clock", &shift).await;
        assert_eq!(bench.exchange(&token).await.status, expected, "{offset}");
    }
}

#[tokio::test]
async fn discovery_documents_are_those_of_the_host_that_was_asked() {
    let bench = Bench::new().await;
    let tenant = &bench.ready().tenant_id;
    for host in [
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.chinacloudapi.cn",
    ] {
        let authorize = format!("https://{host}/{tenant}/oauth2/v2.0/authorize");
        let instance = format!(
            "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1\
             &authorization_endpoint={authorize}"
        );
        let document = bench.get(&instance, "").await;
        let endpoint = document.json["tenant_discovery_endpoint"].as_str().unwrap();
        let expected = format!("https://{host}/{tenant}/v2.0/.well-known/openid-configuration");
        assert_eq!(endpoint, expected);
        assert!(document.json["metadata"].as_array().unwrap().len() >= 4);
        // Go's library leaves a bare question mark behind.
        let document = bench.get(&format!("{endpoint}?"), "").await;
        let expected = format!("https://{host}/{tenant}/oauth2/v2.0/token");
        assert_eq!(document.json["token_endpoint"], expected);
        assert_eq!(
            document.json["issuer"],
            format!("https://{host}/{tenant}/v2.0")
        );
        let keys = document.json["jwks_uri"].as_str().unwrap();
        let keys = bench.get(keys, "").await;
        let token = bench.access_token().await;
        assert_eq!(keys.json["keys"][0]["kid"], header(&token)["kid"]);
    }
}

#[tokio::test]
async fn discovery_of_what_does_not_exist_is_refused() {
    let bench = Bench::new().await;
    let base = &bench.ready().authority_host;
    let nobody = "00000000-0000-4000-8000-000000000000";
    let url = format!("{base}/{nobody}/v2.0/.well-known/openid-configuration");
    assert_refused(&bench.get(&url, "").await, 90002, 400, "invalid_tenant");
    let url = format!(
        "{base}/common/discovery/instance?api-version=1.1\
         &authorization_endpoint=https://login.example.com/x/oauth2/v2.0/authorize"
    );
    assert_refused(&bench.get(&url, "").await, 50049, 400, "invalid_instance");
}

#[tokio::test]
async fn token_endpoint_answers_under_the_emulators_own_name() {
    let bench = Bench::new().await;
    let tenant = &bench.ready().tenant_id;
    let url = format!("{}/{tenant}/oauth2/v2.0/token", bench.ready().issuer_url);
    let answer = bench.post_form(&url, &bench.form(&bench.id_token())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
