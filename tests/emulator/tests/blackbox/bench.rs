//! An emulator with a client that reaches it as any Azure client would: by proxy and CA file.

use std::time::Duration;

use azure_emulator::{Emulator, IdTokenRequest, Options, Ready, State};
use reqwest::{Certificate, Client, Proxy, Response};
use serde_json::{Map, Value, json};

pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
pub(crate) const VAULT_SCOPE: &str = "https://vault.azure.net/.default";

/// Longer than a busy machine needs; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Bench {
    pub(crate) emulator: Emulator,
    /// Through the proxy.
    pub(crate) http: Client,
    /// For the issuer and the control API.
    pub(crate) direct: Client,
}

/// An answer read whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        Self::with(State::default()).await
    }

    pub(crate) async fn with(state: State) -> Self {
        let mut options = Options::default();
        options.state = Some(state);
        let emulator = azure_emulator::start(options).await.unwrap();
        let http = client(emulator.ready(), true);
        let direct = client(emulator.ready(), false);
        Self {
            emulator,
            http,
            direct,
        }
    }

    pub(crate) fn ready(&self) -> &Ready {
        self.emulator.ready()
    }

    pub(crate) fn id_token(&self) -> String {
        self.id_token_with(&json!({}), &json!({}))
    }

    pub(crate) fn id_token_with(&self, claims: &Value, header: &Value) -> String {
        let wanted = IdTokenRequest {
            claims: object(claims),
            header: object(header),
            ..IdTokenRequest::default()
        };
        self.emulator.id_token(&wanted).unwrap()
    }

    /// The form of a token request that succeeds.
    pub(crate) fn form(&self, assertion: &str) -> Vec<(&'static str, String)> {
        vec![
            ("client_id", self.ready().client_id.clone()),
            ("scope", VAULT_SCOPE.into()),
            ("client_assertion_type", JWT_BEARER.into()),
            ("client_assertion", assertion.into()),
            ("grant_type", "client_credentials".into()),
        ]
    }

    pub(crate) fn token_url(&self) -> String {
        let Ready {
            authority_host,
            tenant_id,
            ..
        } = self.ready();
        format!("{authority_host}/{tenant_id}/oauth2/v2.0/token")
    }

    pub(crate) async fn post_form(&self, url: &str, form: &[(&str, String)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.finish());
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn exchange(&self, assertion: &str) -> Answer {
        let form = self.form(assertion);
        self.post_form(&self.token_url(), &form).await
    }

    pub(crate) async fn access_token(&self) -> String {
        self.access_token_for(VAULT_SCOPE).await
    }

    pub(crate) async fn access_token_for(&self, scope: &str) -> String {
        let mut form = self.form(&self.id_token());
        form[1].1 = scope.into();
        let answer = self.post_form(&self.token_url(), &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["access_token"].as_str().unwrap().to_owned()
    }

    /// A GET with a bearer token, through the proxy.
    pub(crate) async fn get(&self, url: &str, token: &str) -> Answer {
        let request = self.http.get(url).bearer_auth(token);
        read(request.send().await.unwrap()).await
    }

    /// Reads from the demo vault with a fresh access token.
    pub(crate) async fn read(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.ready().vault_url);
        self.get(&url, &self.access_token().await).await
    }

    /// A call of the control API.
    pub(crate) async fn control(&self, method: &str, path: &str, body: &Value) -> Answer {
        let url = format!("{}{path}", self.ready().control_url);
        let request = self.direct.request(method.parse().unwrap(), url).json(body);
        read(request.send().await.unwrap()).await
    }

    pub(crate) async fn fault(&self, fault: Value) {
        let answer = self.control("POST", "/faults", &fault).await;
        assert_eq!(answer.status, 200, "{fault}: {}", answer.text);
    }

    /// The logged requests of a route.
    pub(crate) fn requests(&self, route: &str) -> Vec<azure_emulator::Request> {
        let all = self.emulator.requests().into_iter();
        all.filter(|request| request.route == route).collect()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).map(|value| value.to_str().unwrap());
        value.unwrap_or_default()
    }

    pub(crate) fn message(&self) -> &str {
        self.json["error"]["message"].as_str().unwrap_or_default()
    }
}

pub(crate) fn client(ready: &Ready, proxied: bool) -> Client {
    let pem = std::fs::read(&ready.ca_file).unwrap();
    let builder = Client::builder()
        .tls_certs_only([Certificate::from_pem(&pem).unwrap()])
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE);
    let builder = if proxied {
        builder.proxy(Proxy::all(&ready.proxy_url).unwrap())
    } else {
        builder.no_proxy()
    };
    builder.build().unwrap()
}

pub(crate) async fn read(response: Response) -> Answer {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let text = response.text().await.unwrap();
    Answer {
        status,
        headers,
        json: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

/// Waits until something holds, without a guess at how long it takes.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
}

pub(crate) fn object(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The claims of a token, unchecked.
pub(crate) fn claims(token: &str) -> Value {
    part(token, 1)
}

/// The header of a token, unchecked.
pub(crate) fn header(token: &str) -> Value {
    part(token, 0)
}

fn part(token: &str, at: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(at).unwrap();
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(part)
        .unwrap();
    serde_json::from_slice(&bytes).unwrap()
}
