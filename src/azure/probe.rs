//! A look at Entra or a vault without a token, for `doctor`: whether it answers, what it says of
//! itself, and by which clock.

use std::time::SystemTime;

use azure_core::time::OffsetDateTime;
use futures_util::StreamExt as _;
use reqwest::header::{DATE, WWW_AUTHENTICATE};
use serde_json::Value;
use url::Url;

use super::{SetUpError, Settings, chain, fault, http, wire::LARGEST_BODY};
use crate::error::{Trouble, meaning};

/// A way to look, the same as the daemon's.
#[derive(Debug)]
pub(crate) struct Probe(reqwest::Client);

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    status: u16,
    /// What the server takes for now.
    pub(crate) date: Option<SystemTime>,
    challenge: String,
    body: Vec<u8>,
}

/// What was not seen, and why.
#[derive(Debug)]
pub(crate) struct Unseen {
    pub(crate) trouble: Trouble,
    pub(crate) said: String,
}

/// What a vault asks of whoever comes without a token.
#[derive(Debug)]
pub(crate) struct Challenge {
    /// The tenant that it belongs to.
    pub(crate) tenant: String,
    /// What a token has to be for.
    pub(crate) resource: String,
}

impl Probe {
    pub(crate) fn new(settings: &Settings) -> Result<Self, SetUpError> {
        http(settings).map(Self)
    }

    /// One GET.
    pub(crate) async fn look(&self, url: Url) -> Result<Seen, Unseen> {
        let unseen = |error: &reqwest::Error| {
            let said = chain(error);
            let trouble = Trouble::of_silence(error.is_timeout(), &said);
            Unseen { trouble, said }
        };
        let answer = self.0.get(url).send().await;
        let answer = answer.map_err(|error| unseen(&error))?;
        let header = |name| {
            let value = answer.headers().get(name)?;
            value.to_str().ok().map(str::to_owned)
        };
        let date = header(DATE).and_then(|date| azure_core::time::parse_rfc7231(&date).ok());
        let (status, challenge) = (answer.status().as_u16(), header(WWW_AUTHENTICATE));
        let mut body = Vec::new();
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            body.extend_from_slice(&chunk.map_err(|error| unseen(&error))?);
            if body.len() > LARGEST_BODY {
                let said = format!("an answer of more than {LARGEST_BODY} bytes");
                let trouble = Trouble::Broken;
                return Err(Unseen { trouble, said });
            }
        }
        Ok(Seen {
            status,
            date: date.map(|date: OffsetDateTime| date.into()),
            challenge: challenge.unwrap_or_default(),
            body,
        })
    }
}

impl Seen {
    /// Whether this is Entra's description of a tenant; otherwise what it is, and what to change.
    pub(crate) fn is_tenant(&self) -> Result<(), (String, String)> {
        let document: Option<Value> = serde_json::from_slice(&self.body).ok();
        let endpoint = document.and_then(|document| document.get("token_endpoint").cloned());
        if self.status == 200 && endpoint.is_some_and(|endpoint| endpoint.is_string()) {
            return Ok(());
        }
        match fault::aadsts(&self.body) {
            Some(code) => {
                let (says, does) = meaning(code).unwrap_or_default();
                Err((format!("AADSTS{code}: {says}"), does.to_owned()))
            }
            None => Err(self.foreign()),
        }
    }

    /// A vault's challenge; otherwise what there is in its place.
    pub(crate) fn challenge(&self) -> Result<Challenge, (String, String)> {
        let part = |name: &str| {
            let (_, rest) = self.challenge.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value.to_owned())
        };
        let resource = part("resource").or_else(|| {
            let scope = part("scope")?;
            scope.strip_suffix("/.default").map(str::to_owned)
        });
        match (self.status, part("authorization"), resource) {
            (401, Some(authorization), Some(resource)) => Ok(Challenge {
                tenant: authorization
                    .trim_end_matches('/')
                    .rsplit('/')
                    .next()
                    .unwrap_or_default()
                    .to_owned(),
                resource,
            }),
            _ => Err(self.foreign()),
        }
    }

    fn foreign(&self) -> (String, String) {
        let trouble = match self.status {
            408 | 429 | 500.. => Trouble::Failing,
            300..=399 => Trouble::Redirect,
            200 => Trouble::Meaningless,
            _ => Trouble::Foreign,
        };
        let says = format!("{} (HTTP {})", trouble.says(), self.status);
        (says, trouble.does().to_owned())
    }
}
