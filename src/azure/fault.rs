//! What a failure of Entra or Key Vault means: the one place where their answers become our
//! [`Error`]s, and where it is decided whether trying again can help. Codes and bodies are those
//! that the services document or were recorded with; texts are only ever shown to the operator.

use std::time::Duration;

use azure_core::{error::ErrorResponse, http::headers::HeaderName};
use serde_json::Value;

use super::{
    traffic::Outcome,
    wire::{Answer, Fault},
};
use crate::{
    error::{Detail, Error, Forbidden, Missing, Read, Refused, Service, Trouble},
    vault::Grant,
};

/// An error, and whether the same request can succeed when it is sent again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    pub(super) again: Again,
}

/// Whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    /// It would fail the same way.
    Never,
    /// It may pass soon.
    Soon,
    /// The service said when.
    After(Duration),
    /// With another access token, if this one was not bought just now.
    Anew,
}

/// What the end of a request says of the service, for everybody who asks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answers, be it a refusal.
    Works,
    /// It gets too many requests, and may have said how long to wait.
    Throttles(Option<Duration>),
    /// It fails, and may have said how long to wait.
    Fails(Option<Duration>),
}

impl Failure {
    /// An error that would be the same the next time.
    pub(super) fn never(error: Error) -> Self {
        let again = Again::Never;
        Self { error, again }
    }

    /// What it is counted as.
    pub(super) fn outcome(&self) -> Outcome {
        match &self.error {
            Error::UpstreamThrottled { .. } => Outcome::Throttled,
            Error::UpstreamUnavailable { .. } => Outcome::Failed,
            _ => Outcome::Refused,
        }
    }

    pub(super) fn sign(&self) -> Sign {
        match (&self.error, self.again) {
            (Error::UpstreamThrottled { retry_after, .. }, _) => Sign::Throttles(*retry_after),
            (Error::UpstreamUnavailable { .. }, Again::Soon) => Sign::Fails(None),
            (Error::UpstreamUnavailable { .. }, Again::After(asked)) => Sign::Fails(Some(asked)),
            _ => Sign::Works,
        }
    }
}

/// Entra's answer to a token request that got no token.
pub(super) fn of_exchange(grant: &Grant, fault: Option<Fault>) -> Failure {
    let answer = match fault {
        Some(Fault::Answered(answer)) => answer,
        fault => return without_answer(Service::Entra, fault),
    };
    let code = aadsts(&answer.body);
    let detail = Detail(format!("HTTP {} {}", answer.status, answer.text()));
    match code {
        // Too many requests for the tenant; a loop was detected.
        Some(90055 | 50196) => throttled(Service::Entra, &answer, detail),
        // Transient inside Entra.
        Some(90006 | 90012 | 90024 | 90033 | 90090 | 50033) => {
            unavailable(Service::Entra, Trouble::Failing, detail, Again::Soon)
        }
        // Entra could not get GitLab's discovery document or keys: GitLab's fault, but it may pass.
        Some(50166 | 90061 | 501_661) => refused(grant, code, detail, Again::Soon),
        Some(_) if matches!(answer.status, 400 | 401) => refused(grant, code, detail, Again::Never),
        _ => by_status(Service::Entra, &answer, detail),
    }
}

/// Key Vault's answer to a read that got no secret.
pub(super) fn of_read(grant: &Grant, fault: Option<Fault>) -> Failure {
    let answer = match fault {
        Some(Fault::Answered(answer)) => answer,
        fault => return unread(grant, without_answer(Service::KeyVault, fault)),
    };
    let said = serde_json::from_slice::<ErrorResponse>(&answer.body).ok();
    let said = said.and_then(|response| response.error);
    let code = said.as_ref().and_then(|error| error.code.clone());
    let inner = said.as_ref().and_then(|error| error.inner_error.as_ref());
    let inner = inner.and_then(|inner| inner.code.clone());
    let message = said.and_then(|error| error.message).unwrap_or_default();
    let detail = Detail(format!("HTTP {} {}", answer.status, answer.text()));

    let error = match (answer.status, code.as_deref()) {
        // Seen now and then on the service's side with a good token.
        (401, _) if message.contains("AKV10046") => {
            return unavailable(Service::KeyVault, Trouble::Failing, detail, Again::Soon);
        }
        (401, Some(_)) => {
            return Failure {
                error: forbidden(grant, akv_code(&message), detail),
                // Revoked, or of a time before somebody changed the vault's tenant.
                again: Again::Anew,
            };
        }
        (403, Some(_)) if inner.as_deref() == Some("SecretDisabled") => Error::SecretDisabled {
            read: Box::new(read_of(grant)),
            detail,
        },
        (403, Some(_)) => {
            let plain = |code: &String| code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            forbidden(grant, inner.filter(plain), detail)
        }
        (404, Some(_)) => Error::SecretNotFound {
            read: Box::new(read_of(grant)),
            missing: Missing::Secret,
            detail,
        },
        (400 | 405 | 409, Some(code)) => {
            let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            forbidden(grant, plain.then(|| code.to_owned()), detail)
        }
        _ => return by_status(Service::KeyVault, &answer, detail),
    };
    Failure::never(error)
}

/// Entra's code, from the list of codes, or from the text where a list is not what it should be.
pub(super) fn aadsts(body: &[u8]) -> Option<u64> {
    let said: Value = serde_json::from_slice(body).ok()?;
    let listed = said
        .get("error_codes")
        .and_then(|codes| codes.get(0)?.as_u64());
    listed.or_else(|| {
        let (_, text) = said
            .get("error_description")?
            .as_str()?
            .split_once("AADSTS")?;
        let end = text.find(|c: char| !c.is_ascii_digit())?;
        text.get(..end)?.parse().ok()
    })
}

/// The read that `grant` allows, for the sentence on why there was none.
fn read_of(grant: &Grant) -> Read {
    Read {
        variable: grant.granted.variable.clone(),
        name: grant.granted.name.clone(),
        version: grant.granted.version.clone(),
        vault: grant.named_vault(),
        client: grant.named_client(),
    }
}

fn forbidden(grant: &Grant, code: Option<String>, detail: Detail) -> Error {
    Error::VaultForbidden(Box::new(Forbidden {
        read: read_of(grant),
        code,
        detail,
    }))
}

/// A vault whose name has no address does not exist, as far as anybody can tell from here.
fn unread(grant: &Grant, failure: Failure) -> Failure {
    match failure.error {
        Error::UpstreamUnavailable {
            problem: Trouble::Unresolved,
            detail,
            ..
        } if nobody_has_that_name(&detail) => Failure::never(Error::SecretNotFound {
            read: Box::new(read_of(grant)),
            missing: Missing::Vault,
            detail,
        }),
        error => Failure { error, ..failure },
    }
}

/// What the C library says of a name that the name service knows not to exist; of a name service
/// that does not answer it says something else.
fn nobody_has_that_name(Detail(said): &Detail) -> bool {
    ["Name or service not known", "Name does not resolve"]
        .iter()
        .any(|words| said.contains(words))
}

fn refused(grant: &Grant, aadsts: Option<u64>, detail: Detail, again: Again) -> Failure {
    let refused = Refused {
        variable: grant.granted.variable.clone(),
        aadsts,
        identity: grant.identity.clone(),
        tenant: grant.named_tenant(),
        client: grant.named_client(),
        detail,
    };
    Failure {
        error: Error::ExchangeRefused(Box::new(refused)),
        again,
    }
}

fn throttled(service: Service, answer: &Answer, detail: Detail) -> Failure {
    let retry_after = answer.retry_after();
    Failure {
        error: Error::UpstreamThrottled {
            service,
            retry_after,
            detail,
        },
        again: retry_after.map_or(Again::Soon, Again::After),
    }
}

fn unavailable(service: Service, problem: Trouble, detail: Detail, again: Again) -> Failure {
    Failure {
        error: Error::UpstreamUnavailable {
            service,
            problem,
            detail,
        },
        again,
    }
}

/// An answer whose body says nothing that we know: the status has to do.
fn by_status(service: Service, answer: &Answer, detail: Detail) -> Failure {
    match answer.status {
        429 => throttled(service, answer, detail),
        408 | 500..=599 => {
            let again = answer.retry_after().map_or(Again::Soon, Again::After);
            unavailable(service, Trouble::Failing, detail, again)
        }
        300..=399 => unavailable(service, Trouble::Redirect, detail, Again::Never),
        _ => unavailable(service, Trouble::Foreign, detail, Again::Never),
    }
}

/// No answer at all, or none that could be used.
fn without_answer(service: Service, fault: Option<Fault>) -> Failure {
    let (problem, said, again) = match fault {
        Some(Fault::Silent { timed_out, said }) => {
            (Trouble::of_silence(timed_out, &said), said, Again::Soon)
        }
        Some(Fault::Broken { said }) => (Trouble::Broken, said, Again::Soon),
        Some(Fault::Answered(_)) | None => (
            Trouble::Meaningless,
            "a success without the fields that one has".to_owned(),
            Again::Never,
        ),
    };
    unavailable(service, problem, Detail(said), again)
}

/// `AKV10022` of `AKV10022: Invalid audience. …`, or `TokenExpired`.
fn akv_code(message: &str) -> Option<String> {
    if message.starts_with("[TokenExpired]") {
        return Some("TokenExpired".to_owned());
    }
    let digits: String = message
        .split_once("AKV")?
        .1
        .chars()
        .take_while(char::is_ascii_digit)
        .take(8)
        .collect();
    (!digits.is_empty()).then(|| format!("AKV{digits}"))
}

impl Answer {
    /// How long the service asks to wait: seconds only, as both services send it.
    fn retry_after(&self) -> Option<Duration> {
        let header = HeaderName::from_static("retry-after");
        let seconds = self
            .headers
            .get_optional_str(&header)?
            .trim()
            .parse()
            .ok()?;
        Some(Duration::from_secs(seconds))
    }

    /// The beginning of the body on one line, for the operator's log. Whatever stands in between
    /// may quote our request, so what looks like a token is left out.
    fn text(&self) -> String {
        // Longer than any error of the services; pages of proxies are cut.
        const SHOWN: usize = 2048;
        let body = String::from_utf8_lossy(&self.body);
        let body = body.chars().take(SHOWN);
        let line: String = body
            .map(|character| {
                if character.is_control() {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        let in_token =
            |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        line.split_inclusive(|character| !in_token(character))
            .flat_map(|word| match word.find("eyJ") {
                Some(start) => {
                    let token = word[start..].trim_end_matches(|end| !in_token(end));
                    [&word[..start], "[token]", &word[start + token.len()..]]
                }
                None => [word, "", ""],
            })
            .collect()
    }
}
