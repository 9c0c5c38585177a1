//! The control API's own mistakes and refusals. What it does is tested where it takes effect.

use serde_json::json;

use crate::bench::Bench;

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_not_understood_is_refused_by_name() {
    let bench = Bench::new().await;
    for (method, path, body, status, text) in [
        (
            "GET",
            "/nothing",
            json!({}),
            404,
            "there is no GET /nothing",
        ),
        (
            "POST",
            "/secrets/demo/x",
            json!({}),
            404,
            "there is no POST /secrets/demo/x",
        ),
        ("PUT", "/secrets/demo/x", json!({"valeu": ""}), 400, "valeu"),
        ("PUT", "/secrets/demo/x", json!({"value": 7}), 400, "string"),
        (
            "DELETE",
            "/secrets/demo/x",
            json!({}),
            404,
            "there is no secret \"x\"",
        ),
        (
            "DELETE",
            "/secrets/none/x",
            json!({}),
            404,
            "in vault \"none\"",
        ),
        (
            "PUT",
            "/federated-credentials",
            json!([{"subject": "x"}]),
            400,
            "client_id",
        ),
        ("PUT", "/permissions", json!({}), 400, "sequence"),
        ("POST", "/id-tokens", json!({"key": "best"}), 400, "best"),
        ("POST", "/id-tokens", json!({"claim": {}}), 400, "claim"),
        ("POST", "/keys/rotate", json!({"keeps": true}), 400, "keeps"),
        ("PUT", "/clock", json!({"offset": 1}), 400, "offset"),
        (
            "POST",
            "/faults",
            json!([]),
            400,
            "a fault is a JSON object",
        ),
        (
            "POST",
            "/faults",
            json!({"route": "token"}),
            400,
            "\"kind\" is missing",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "html"}),
            400,
            "\"route\" is missing",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "x", "route": "token"}),
            400,
            "unknown kind \"x\"",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "html", "route": "x"}),
            400,
            "unknown route \"x\"",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "html", "route": "token", "bytes": 1}),
            400,
            "kind \"html\" has no field \"bytes\"",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "token_error", "route": "token", "code": 1}),
            400,
            "unknown token error 1",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "vault_error", "route": "secret", "code": "x"}),
            400,
            "unknown vault error \"x\"",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "html", "route": "token", "count": "many"}),
            400,
            "\"count\" must be a whole number",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "html", "route": "token", "probability": 2}),
            400,
            "\"probability\" must be from 0 to 1",
        ),
        (
            "POST",
            "/faults",
            json!({"kind": "status", "route": "token", "status": 99}),
            400,
            "\"status\" must be a status from 200 to 599",
        ),
    ] {
        let answer = bench.control(method, path, &body).await;
        assert_eq!(answer.status, status, "{method} {path} {body}");
        let error = answer.json["error"].as_str().unwrap();
        assert!(error.contains(text), "{error:?} should contain {text:?}");
    }
}
