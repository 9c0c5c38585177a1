//! `doctor`: everything that stands between a job and its secrets, in the order in which it has to
//! be right. Asks the daemon what the policy would say, and nobody else anything; prints claims of
//! the job's tokens, and nothing of a token or a secret.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use runner_secrets_proto::Reason;
use serde_json::{Map, Value};

use super::{
    connection::Client,
    environment::Environment,
    error::{Advice, Error},
    spec::Spec,
    token,
    verdict::Verdicts,
};
use crate::{
    checkup::{Checkup, Step},
    secret::IdToken,
};

/// Goes through all of it. `connect` is the way to the daemon.
pub(super) async fn examine(
    environment: &Environment,
    connect: impl AsyncFnOnce() -> Result<Client, Error>,
) -> Checkup {
    let mut checkup = Checkup::default();
    let spec = spec(environment, &mut checkup);
    let client = connect().await;
    let client = match client {
        Ok(client) => {
            let says = format!("{} has a daemon behind it", client.socket().display());
            checkup.add(Step::good("socket", says));
            Some(client)
        }
        Err(error) => {
            checkup.add(wrong("socket", &error));
            None
        }
    };
    match (client, spec) {
        (Some(mut client), Some(spec)) => ask(&mut client, &spec, &mut checkup).await,
        (None, _) => unasked(&mut checkup, "there is nobody to ask"),
        (_, None) => unasked(&mut checkup, "there is nothing to ask"),
    }
    checkup
}

/// The spec and the tokens that it is to be read with.
fn spec(environment: &Environment, checkup: &mut Checkup) -> Option<Spec> {
    match Spec::from_environment(environment) {
        Ok(Some(spec)) => {
            let plural = if spec.count() == 1 { "" } else { "s" };
            let says = format!("asks for {} secret{plural}", spec.count());
            checkup.add(Step::good("spec", says));
            for id_token in spec.id_tokens() {
                checkup.add(of_token(id_token));
            }
            Some(spec)
        }
        Ok(None) => {
            let says = "none of RUNNER_SECRETS, RUNNER_SECRETS_FILE and RUNNER_SECRETS_SPEC_* is \
                        set";
            let fix = "set RUNNER_SECRETS to the `secrets:` block of the job";
            checkup.add(Step::wrong("spec", says).fix(fix));
            match token::of_this_job("token", "NAME", environment) {
                Ok(text) => checkup.add(of_token(&IdToken::new(text.to_owned()))),
                Err(error) => checkup.add(wrong("token", &error)),
            }
            None
        }
        Err(error @ (Error::Token { .. } | Error::TokenInvalid { .. })) => {
            checkup.add(Step::good("spec", "is understood"));
            checkup.add(wrong("token", &error));
            None
        }
        Err(error) => {
            checkup.add(wrong("spec", &error));
            checkup.add(Step::unknown("token", "not looked at: the spec says which"));
            None
        }
    }
}

/// By how much two clocks may differ for the daemon, in seconds.
const LEEWAY: u64 = 30;

/// What a token says of itself, and how old it is by this machine's clock.
fn of_token(id_token: &IdToken) -> Step {
    let Some(claims) = claims(id_token.expose()) else {
        let says = "has the form of a token, and no claims that can be read";
        return Step::wrong("token", says).fix("use an ID token from `id_tokens:`");
    };
    let text = |name: &str| match claims.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "nothing".to_owned(),
    };
    let named = ["iss", "aud", "sub", "job_id"].map(|name| format!("{name} {}", text(name)));
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let number = |name: &str| claims.get(name).and_then(Value::as_u64);
    let aged = match (number("iat"), number("exp")) {
        (_, Some(exp)) if exp <= now => {
            let says = format!("expired {} ago; {}", span(now - exp), named.join(", "));
            let fix = "ask earlier in the job, or raise its timeout, which is how long its ID \
                       tokens live";
            return Step::wrong("token", says).fix(fix);
        }
        (Some(iat), _) if iat > now + LEEWAY => {
            let ahead = span(iat - now);
            let says = format!("was issued {ahead} from now; {}", named.join(", "));
            let fix = "this is for whoever runs the runners: this machine's clock is behind, or \
                       GitLab's is ahead";
            return Step::wrong("token", says).fix(fix);
        }
        (Some(iat), Some(exp)) => {
            format!(
                "{} old, ends in {}",
                span(now.saturating_sub(iat)),
                span(exp - now)
            )
        }
        _ => "without an end".to_owned(),
    };
    Step::good("token", format!("{}; {aged}", named.join(", ")))
}

fn claims(token: &str) -> Option<Map<String, Value>> {
    let payload = token.split('.').nth(1)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// A length of time in its two largest units.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// The daemon's word on the token, and the policy's on each secret.
async fn ask(client: &mut Client, spec: &Spec, checkup: &mut Checkup) {
    match client.explain(spec).await {
        Ok(verdicts) => {
            checkup.add(answers(verdicts.version()));
            checkup.add(Step::good("verdict", "the daemon takes the token"));
            policy(&verdicts, checkup);
        }
        Err(
            error @ (Error::Unreachable { .. }
            | Error::Deadline { .. }
            | Error::CannotExplain { .. }),
        ) => {
            checkup.add(wrong("daemon", &error));
            unknown(checkup, &["verdict", "policy"], "the daemon does not say");
        }
        Err(error) => {
            let version = match &error {
                Error::Refused(refusal) => refusal.version.as_str(),
                _ => "",
            };
            checkup.add(answers(version));
            checkup.add(wrong("verdict", &error));
            unknown(
                checkup,
                &["policy"],
                "the daemon asks it only on a token that it takes",
            );
        }
    }
}

fn answers(version: &str) -> Step {
    let ours = env!("CARGO_PKG_VERSION");
    let says = match version {
        "" => "answers, and does not say its version".to_owned(),
        theirs if theirs == ours => format!("answers, version {theirs}"),
        theirs => format!("answers, version {theirs}; this client is {ours}"),
    };
    Step::good("daemon", says)
}

fn policy(verdicts: &Verdicts, checkup: &mut Checkup) {
    for (variable, granted, says) in verdicts.each() {
        let says = format!("{variable}: {says}");
        checkup.add(if granted {
            Step::good("policy", says)
        } else {
            let fix = "run the job where a rule grants it, or ask whoever runs the runners for a \
                       rule";
            Step::wrong("policy", says)
                .fix(fix)
                .fix(see(Reason::PolicyDenied))
        });
    }
}

fn see(reason: Reason) -> String {
    let row = reason.name().to_lowercase().replace('_', "-");
    format!("{}#{row}", runner_secrets_proto::DOCUMENTATION)
}

fn unasked(checkup: &mut Checkup, why: &str) {
    unknown(checkup, &["daemon", "verdict", "policy"], why);
}

fn unknown(checkup: &mut Checkup, names: &[&str], why: &str) {
    for name in names {
        checkup.add(Step::unknown(*name, format!("not looked at: {why}")));
    }
}

/// What an error says, and its advice.
fn wrong(name: &str, error: &Error) -> Step {
    let Advice {
        fix,
        command,
        lines,
        see,
        ..
    } = error.advice();
    let says = format!("{error} ({})", error.name());
    let step = Step::wrong(name, says).fix(fix).fix(command);
    let step = lines.lines().fold(step, Step::fix);
    step.fix(see)
}
