//! Entra's documents and the token endpoint when all is well.

use azure_emulator::State;
use serde_json::json;

use crate::bench::{Bench, claims, header};

const AUDIENCE: &str = "api://AzureADTokenExchange";

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
async fn token_endpoint_answers_under_the_emulators_own_name() {
    let bench = Bench::new().await;
    let tenant = &bench.ready().tenant_id;
    let url = format!("{}/{tenant}/oauth2/v2.0/token", bench.ready().issuer_url);
    let answer = bench.post_form(&url, &bench.form(&bench.id_token())).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
