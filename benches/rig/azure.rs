//! The emulated services, in a process of their own.

use azure_emulator::{Emulator, IdTokenRequest, NewSecret, Options, Ready};
use serde_json::{Map, Value, json};

use super::part::{Answers, Part};

/// The emulator's side.
pub(crate) struct Azure(Emulator);

impl Azure {
    pub(crate) async fn start() -> Self {
        Self(azure_emulator::start(Options::default()).await.unwrap())
    }

    fn token(&self, job: u64) -> String {
        let mut claims = Map::new();
        claims.insert("job_id".to_owned(), job.to_string().into());
        let wanted = IdTokenRequest {
            claims,
            ..IdTokenRequest::default()
        };
        self.0.id_token(&wanted).unwrap()
    }
}

#[async_trait::async_trait]
impl Answers for Azure {
    async fn answer(&mut self, command: Value) -> Value {
        if command == "ready" {
            return json!(self.0.ready());
        }
        if let Some(count) = command["secrets"].as_u64() {
            for index in 0..count {
                // As long as a password and some bytes of JSON around it.
                let value = format!("{index:064}");
                let secret = NewSecret {
                    value,
                    ..NewSecret::default()
                };
                self.0.put_secret("demo", &secret_name(index), secret);
            }
        }
        if let Some(delay) = command["delay_ms"].as_u64() {
            self.0.clear_faults();
            for route in ["token", "secret"] {
                let fault = json!({"route": route, "kind": "delay", "delay_ms": delay});
                self.0.fault(&fault).unwrap();
            }
        }
        if command == "clear" {
            self.0.clear_faults();
            self.0.clear_requests();
        }
        if let Some(count) = command["tokens"].as_u64() {
            let first = command["first"].as_u64().unwrap();
            return (first..first + count).map(|job| self.token(job)).collect();
        }
        json!(null)
    }
}

pub(crate) fn secret_name(index: u64) -> String {
    format!("bench-{index}")
}

/// The benchmark's side.
pub(crate) struct Emulated {
    part: Part,
    pub(crate) ready: Ready,
    /// The id of the job whose token is next.
    pub(crate) next_job: u64,
}

impl Emulated {
    /// With `secrets` secrets.
    pub(crate) async fn start(secrets: u64) -> Self {
        let mut part = Part::start("azure");
        let ready = part.ask(&"ready").await;
        part.tell(&json!({"secrets": secrets})).await;
        Self {
            part,
            ready,
            next_job: 0,
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.part.pid()
    }

    /// Lets every answer of Entra and Key Vault take so long.
    pub(crate) async fn delay(&mut self, milliseconds: u64) {
        let command = if milliseconds == 0 {
            json!("clear")
        } else {
            json!({"delay_ms": milliseconds})
        };
        self.part.tell(&command).await;
    }

    /// ID tokens of as many jobs.
    pub(crate) async fn tokens(&mut self, count: usize) -> Vec<String> {
        let count = u64::try_from(count).unwrap();
        let first = self.next_job;
        self.next_job += count;
        let command = json!({"tokens": count, "first": first});
        self.part.ask(&command).await
    }
}
