//! The GitLab issuer.

use serde_json::{Value, json};

use crate::bench::{Bench, claims, header, read};

#[tokio::test]
async fn discovery_document_names_the_key_set() {
    let bench = Bench::new().await;
    let issuer = &bench.ready().issuer_url;
    let url = format!("{issuer}/.well-known/openid-configuration");
    let document = read(bench.direct.get(url).send().await.unwrap()).await;
    assert_eq!(document.status, 200);
    assert_eq!(document.json["issuer"], **issuer);
    let keys = document.json["jwks_uri"].as_str().unwrap();
    assert_eq!(keys, format!("{issuer}/oauth/discovery/keys"));
    let keys = read(bench.direct.get(keys).send().await.unwrap()).await;
    assert_eq!(
        keys.header("cache-control"),
        "public, max-age=86400, must-revalidate, no-transform"
    );
    let keys = keys.json["keys"].as_array().unwrap().clone();
    assert!(keys.len() >= 2);
    for key in keys {
        assert_eq!(key["kty"], "RSA");
        assert_eq!(key["use"], "sig");
        assert_eq!(key["alg"], "RS256");
        assert_eq!(key["e"], "AQAB");
    }
}

#[tokio::test]
async fn claims_have_the_types_that_gitlab_gives_them() {
    let bench = Bench::new().await;
    let token = bench.id_token();
    let claims = claims(&token);
    for name in [
        "project_id",
        "job_id",
        "pipeline_id",
        "user_id",
        "namespace_id",
    ] {
        assert!(claims[name].is_string(), "{name}");
    }
    assert!(claims["runner_id"].is_number());
    assert_eq!(claims["ref_protected"], "true");
    assert_eq!(claims["environment_protected"], "true");
    assert_eq!(claims["iss"], *bench.ready().issuer_url);
    assert_eq!(
        claims["sub"],
        "project_path:acme/shop:ref_type:branch:ref:main"
    );
    let issued = claims["iat"].as_i64().unwrap();
    assert_eq!(claims["nbf"], issued - 5);
    assert_eq!(claims["exp"], issued + 3600);
    assert_eq!(header(&token)["typ"], "JWT");
    assert_eq!(header(&token)["alg"], "RS256");
}

#[tokio::test]
async fn claims_and_header_can_be_set_and_dropped() {
    let bench = Bench::new().await;
    let token = bench.id_token_with(
        &json!({"environment": null, "project_id": 20, "aud": ["a", "b"]}),
        &json!({"typ": null, "x": {"y": 1}}),
    );
    let claims = claims(&token);
    assert_eq!(claims["environment"], Value::Null);
    assert_eq!(claims["project_id"], 20);
    assert_eq!(claims["aud"], json!(["a", "b"]));
    assert_eq!(header(&token)["typ"], Value::Null);
    assert_eq!(header(&token)["x"]["y"], 1);
}

#[tokio::test]
async fn keys_of_id_tokens_can_be_unknown_or_wrong() {
    let bench = Bench::new().await;
    let kid = |body: Value| {
        let bench = &bench;
        async move {
            let answer = bench.control("POST", "/id-tokens", &body).await;
            header(answer.json["token"].as_str().unwrap())["kid"].clone()
        }
    };
    let current = kid(json!({})).await;
    assert_eq!(kid(json!({"key": "wrong"})).await, current);
    let unknown = kid(json!({"key": "unknown"})).await;
    let url = format!("{}/oauth/discovery/keys", bench.ready().issuer_url);
    let keys = read(bench.direct.get(url).send().await.unwrap()).await;
    assert!(keys.text.contains(current.as_str().unwrap()));
    assert!(!keys.text.contains(unknown.as_str().unwrap()));
}

#[tokio::test]
async fn algorithms_that_must_be_refused_can_be_had() {
    let bench = Bench::new().await;
    for (alg, signature_length) in [("none", 0), ("HS256", 43), ("ES256", 86), ("RS256", 342)] {
        let token = bench.id_token_with(&json!({}), &json!({"alg": alg}));
        assert_eq!(header(&token)["alg"], alg);
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!(signature.len(), signature_length, "{alg}");
    }
}

#[tokio::test]
async fn rotation_removes_the_old_key_unless_it_is_kept() {
    let bench = Bench::new().await;
    let published = || async {
        let url = format!("{}/oauth/discovery/keys", bench.ready().issuer_url);
        let keys = read(bench.direct.get(url).send().await.unwrap()).await;
        keys.json["keys"].as_array().unwrap().len()
    };
    let before = header(&bench.id_token())["kid"].clone();
    let rotated = bench.control("POST", "/keys/rotate", &json!({})).await;
    let after = header(&bench.id_token())["kid"].clone();
    assert_ne!(before, after);
    assert_eq!(rotated.json["kid"], after);
    assert_eq!(published().await, 2);
    bench
        .control("POST", "/keys/rotate", &json!({"keep": true}))
        .await;
    assert_eq!(published().await, 3);
}
