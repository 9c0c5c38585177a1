//! A runner that speaks to GitLab as the real one does: its headers, its retries, its order of
//! calls, its way with variables and masks. It knows nothing of the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use reqwest::{Client, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};

use crate::gitlab::RUNNER_TOKEN;

/// A runner's manager.
pub(crate) struct Runner {
    http: Client,
    url: String,
}

/// What a poll brought.
#[derive(Debug)]
pub(crate) enum Polled {
    Job(Box<Work>),
    Nothing(HeaderMap),
    #[expect(dead_code, reason = "a test that fails shows it")]
    Other(StatusCode),
}

impl Polled {
    pub(crate) fn job(self) -> Work {
        match self {
            Self::Job(job) => *job,
            other => panic!("no job: {other:?}"),
        }
    }

    pub(crate) fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing(_))
    }
}

/// A job that the runner has.
#[derive(Debug)]
pub(crate) struct Work {
    /// The payload, as it came.
    pub(crate) bytes: Vec<u8>,
    pub(crate) payload: Value,
    pub(crate) headers: HeaderMap,
}

/// A variable as a script sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Value(String),
    /// A file with this in it.
    File(String),
}

impl Runner {
    pub(crate) fn at(url: &str) -> Self {
        Self::with(url, |client| client)
    }

    /// With certificates or a proxy.
    pub(crate) fn with(
        url: &str,
        change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Self {
        let client = Client::builder()
            .http1_only()
            .http1_title_case_headers()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("gitlab-runner 19.4.0 (HEAD; go1.26.5; linux/amd64)");
        Self {
            http: change(client).build().unwrap(),
            url: url.to_owned(),
        }
    }

    pub(crate) fn api(&self, path: &str) -> String {
        format!("{}/api/v4/{path}", self.url)
    }

    pub(crate) fn http(&self) -> &Client {
        &self.http
    }

    /// Asks for a job once.
    pub(crate) async fn ask_once(&self) -> Result<Response, reqwest::Error> {
        let body = json!({
            "info": {
                "name": "gitlab-runner", "version": "19.4.0", "executor": "shell",
                "features": {"vault_secrets": true, "two_phase_job_commit": true},
            },
            "token": RUNNER_TOKEN,
            "system_id": "s_1234567890ab",
        });
        let request = self.http.post(self.api("jobs/request"));
        let request = request.header("RUNNER-TOKEN", RUNNER_TOKEN);
        let request = request.header("Content-Type", "application/json");
        let request = request.header("Accept", "application/json");
        // Go's transport asks for it by itself, and decodes what comes.
        let request = request.header("Accept-Encoding", "gzip");
        request.body(body.to_string()).send().await
    }

    /// Asks for a job, again and again where the real one does.
    pub(crate) async fn ask(&self) -> Polled {
        const TRIES: u32 = 5;
        let mut tries = 1;
        let response = loop {
            let response = self.ask_once().await.unwrap();
            let status = response.status().as_u16();
            let again = matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 512..);
            if !again || tries == TRIES {
                break response;
            }
            tokio::time::sleep(Duration::from_millis(1 << tries)).await;
            tries += 1;
        };
        match response.status() {
            StatusCode::CREATED => {
                let headers = response.headers().clone();
                let is_json = headers["Content-Type"].to_str().unwrap() == "application/json";
                assert!(is_json, "{headers:?}");
                assert!(!headers.contains_key("Content-Encoding"), "{headers:?}");
                let bytes = response.bytes().await.unwrap().to_vec();
                let payload = serde_json::from_slice(&bytes).unwrap();
                Polled::Job(Box::new(Work {
                    bytes,
                    payload,
                    headers,
                }))
            }
            StatusCode::NO_CONTENT => Polled::Nothing(response.headers().clone()),
            other => Polled::Other(other),
        }
    }

    /// Runs a job: acknowledges it, prints every value that its script sees, and reports success.
    pub(crate) async fn run(&self, work: &Work) {
        assert!(self.update(work, json!({"state": "running"})).await);
        let mut trace = String::from("Running\n");
        for (name, seen) in work.environment() {
            let (Seen::Value(value) | Seen::File(value)) = seen;
            writeln!(trace, "{name}={value}").unwrap();
        }
        for mask in work.masks() {
            trace = trace.replace(&mask, "[MASKED]");
        }
        let path = format!("jobs/{}/trace?debug_trace=false", work.id());
        let append = self.http.patch(self.api(&path));
        let append = append.header("JOB-TOKEN", work.token());
        let append = append.header("Content-Type", "text/plain");
        let append = append.header("Content-Range", format!("0-{}", trace.len() - 1));
        let patched = append.body(trace.clone()).send().await.unwrap();
        assert_eq!(patched.status(), StatusCode::ACCEPTED, "{patched:?}");
        let range = patched.headers()["Range"].to_str().unwrap().to_owned();
        assert_eq!(range, format!("0-{}", trace.len()));
        let checksum = format!("crc32:{:08x}", crc32fast::hash(trace.as_bytes()));
        let done = json!({
            "state": "success",
            "checksum": checksum,
            "output": {"checksum": checksum, "bytesize": trace.len()},
        });
        assert!(self.update(work, done).await);
    }

    /// Tells the state of a job; whether GitLab takes it.
    pub(crate) async fn update(&self, work: &Work, mut state: Value) -> bool {
        state["token"] = work.token().into();
        let put = self.http.put(self.api(&format!("jobs/{}", work.id())));
        let put = put.header("JOB-TOKEN", work.token());
        let put = put.header("Content-Type", "application/json");
        let sent = put.body(state.to_string()).send().await.unwrap();
        sent.status() == StatusCode::OK
    }
}

impl Work {
    pub(crate) fn id(&self) -> i64 {
        self.payload["id"].as_i64().unwrap()
    }

    pub(crate) fn token(&self) -> &str {
        self.payload["token"].as_str().unwrap()
    }

    /// All variables in order.
    pub(crate) fn variables(&self) -> Vec<Value> {
        self.payload["variables"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    /// What a script sees: of several the last, expanded once unless it is raw.
    pub(crate) fn environment(&self) -> BTreeMap<String, Seen> {
        let text = |variable: &Value, key: &str| variable[key].as_str().unwrap().to_owned();
        let is = |variable: &Value, key: &str| variable[key].as_bool().unwrap_or_default();
        let variables = self.variables();
        let values: BTreeMap<String, String> = variables
            .iter()
            .map(|variable| (text(variable, "key"), text(variable, "value")))
            .collect();
        let seen = |variable: &Value| {
            let mut value = text(variable, "value");
            if !is(variable, "raw") {
                value = expanded(&value, &values);
            }
            let seen = if is(variable, "file") {
                Seen::File(value)
            } else {
                Seen::Value(value)
            };
            (text(variable, "key"), seen)
        };
        variables.iter().map(seen).collect()
    }

    /// What the log must not show.
    fn masks(&self) -> Vec<String> {
        let masked = |variable: &Value| {
            let masked = variable["masked"].as_bool().unwrap_or_default();
            let value = variable["value"].as_str().unwrap().trim().to_owned();
            (masked && !value.is_empty()).then_some(value)
        };
        let masks: BTreeSet<String> = self.variables().iter().filter_map(masked).collect();
        let mut masks: Vec<String> = masks.into_iter().collect();
        masks.sort_by_key(|mask| std::cmp::Reverse(mask.len()));
        masks
    }

    /// The secrets that the runner's own resolvers would go for.
    pub(crate) fn left_to_resolve(&self) -> Vec<String> {
        let secrets = self.payload["secrets"].as_object();
        secrets
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    }
}

/// `$NAME` and `${NAME}`, as far as tests use them.
fn expanded(text: &str, values: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in values.iter().rev() {
        text = text.replace(&format!("${{{name}}}"), value);
        text = text.replace(&format!("${name}"), value);
    }
    text
}
