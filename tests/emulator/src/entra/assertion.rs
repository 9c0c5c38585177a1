//! What Entra checks of the ID token: its form, whether a federated credential takes it, its
//! signature by the issuer's published keys, and its time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::issuer_keys::KeyError;
use super::refusal::Refusal;
use crate::cloud::Site;
use crate::jwt::Token;
use crate::pattern;
use crate::state::FederatedCredential;
use crate::world::World;

/// How far the clocks of issuer and Entra may be apart.
const SKEW_SECONDS: i64 = 300;

const ALGORITHMS: [&str; 3] = ["RS256", "RS384", "RS512"];
const TYPES: [&str; 2] = ["JWT", "http://openid.net/specs/jwt/1.0"];

/// An assertion whose form is right.
pub(super) struct Assertion {
    pub(super) token: Token,
    issuer: String,
    subject: String,
    audience: Vec<String>,
}

/// Checks the form: a JWT with a supported header and the claims a credential compares.
pub(super) fn parse(text: &str, client_id: &str, world: &World) -> Result<Assertion, Refusal> {
    let token = Token::parse(text).ok_or(Refusal::new(50027))?;
    check_header(&token)?;
    let required = |claim: &str| {
        let present = token.claims.get(claim);
        present.ok_or_else(|| Refusal::about(90014, claim))?;
        let text = token.text(claim).filter(|text| text.trim() == *text);
        text.map(str::to_owned).ok_or(Refusal::new(50027))
    };
    let issuer = required("iss")?;
    let subject = required("sub")?;
    let audience = audience(&token, world.directory.accept_audience_arrays)?;
    if issuer == subject {
        // Not a federated token at all, but one an application would sign with a certificate.
        let own = issuer == client_id;
        return Err(Refusal::new(if own { 700_027 } else { 700_021 }));
    }
    let host = issuer.strip_prefix("https://").unwrap_or_default();
    let host = host.split('/').next().unwrap_or_default();
    if matches!(Site::of(host), Site::Login(_)) {
        return Err(Refusal::new(700_222));
    }
    Ok(Assertion {
        token,
        issuer,
        subject,
        audience,
    })
}

fn check_header(token: &Token) -> Result<(), Refusal> {
    if token.header.contains_key("typ")
        && !token
            .header_text("typ")
            .is_some_and(|typ| TYPES.contains(&typ))
    {
        return Err(Refusal::new(5_002_727));
    }
    let alg = token.header_text("alg").unwrap_or_default();
    if !ALGORITHMS.contains(&alg) {
        return Err(Refusal::new(5_002_738));
    }
    let named = ["kid", "x5t", "x5t#S256"];
    if !named.iter().any(|name| token.header_text(name).is_some()) {
        return Err(Refusal::new(5_002_723));
    }
    Ok(())
}

fn audience(token: &Token, accept_arrays: bool) -> Result<Vec<String>, Refusal> {
    let texts = |values: &Vec<Value>| {
        let all = values.iter().map(|value| value.as_str().map(str::to_owned));
        all.collect::<Option<Vec<_>>>()
    };
    match token.claims.get("aud") {
        None => Err(Refusal::about(90014, "aud")),
        Some(Value::String(audience)) => Ok(vec![audience.clone()]),
        Some(Value::Array(values)) if accept_arrays => texts(values).ok_or(Refusal::new(50027)),
        Some(_) => Err(Refusal::new(50027)),
    }
}

/// Finds the federated credential, or the first of issuer, subject and audience that differs.
pub(super) fn match_credential(
    world: &World,
    client_id: &str,
    assertion: &Assertion,
) -> Result<(), Refusal> {
    let credentials = world.directory.federated_credentials(client_id);
    if credentials.is_empty() {
        return Err(Refusal::new(70025));
    }
    let of_issuer: Vec<FederatedCredential> = credentials
        .into_iter()
        .filter(|(issuer, _)| *issuer == assertion.issuer)
        .map(|(_, credential)| credential)
        .collect();
    if of_issuer.is_empty() {
        return Err(Refusal::new(700_211));
    }
    let mut of_subject = Vec::new();
    for credential in &of_issuer {
        if takes_subject(world, credential, assertion)? {
            of_subject.push(credential);
        }
    }
    if of_subject.is_empty() {
        return Err(subject_refusal(&of_issuer, &assertion.subject));
    }
    let audience = |credential: &&FederatedCredential| {
        let mut audiences = assertion.audience.iter();
        audiences.any(|audience| *audience == credential.audience)
    };
    if of_subject.iter().any(audience) {
        return Ok(());
    }
    Err(Refusal::new(700_212))
}

fn takes_subject(
    world: &World,
    credential: &FederatedCredential,
    assertion: &Assertion,
) -> Result<bool, Refusal> {
    let Some(expression) = &credential.expression else {
        return Ok(credential.subject.as_ref() == Some(&assertion.subject));
    };
    if !takes_expressions(&assertion.issuer, &world.issuer.url) {
        return Err(Refusal::new(7_002_241));
    }
    let terms = expression.split(" and ");
    let results = terms.map(|term| term_holds(term.trim(), &assertion.subject));
    let results: Option<Vec<bool>> = results.collect();
    let results = results.ok_or(Refusal::new(700_233))?;
    Ok(results.into_iter().all(|holds| holds))
}

/// Of GitLab, only addresses of this form may be used with expressions; the emulator's own
/// address counts as one of them, or expressions could not be tried.
fn takes_expressions(issuer: &str, own: &str) -> bool {
    let gitlab = |end: &str| {
        let host = issuer.strip_prefix("https://gitlab.");
        let middle = host.and_then(|host| host.strip_suffix(end));
        middle.is_some_and(|name| !name.is_empty() && !name.contains(['.', '/']))
    };
    issuer == own || issuer == "https://gitlab.com" || gitlab(".com") || gitlab(".ca")
}

/// `claims['sub'] eq 'text'` or `claims['sub'] matches 'pattern'`; `None`: neither.
fn term_holds(term: &str, subject: &str) -> Option<bool> {
    let rest = term.strip_prefix("claims['sub'] ")?;
    let (operator, literal) = rest.split_once(' ')?;
    let literal = literal.trim().strip_prefix('\'')?.strip_suffix('\'')?;
    match operator {
        "eq" => Some(literal == subject),
        "matches" => Some(pattern::matches(literal, subject)),
        _ => None,
    }
}

fn subject_refusal(credentials: &[FederatedCredential], subject: &str) -> Refusal {
    let subjects = credentials.iter().filter_map(|c| c.subject.as_ref());
    let by_case = |configured: &String| configured.eq_ignore_ascii_case(subject);
    if subjects.into_iter().any(by_case) {
        return Refusal::new(7_002_138);
    }
    if credentials.iter().any(|c| c.expression.is_some()) {
        return Refusal::new(7_002_131);
    }
    Refusal::new(700_213)
}

/// Checks the signature by the issuer's published key, and then the times.
pub(super) async fn verify(world: &World, assertion: &Assertion) -> Result<(), Refusal> {
    let token = &assertion.token;
    let kid = token.header_text("kid").or(token.header_text("x5t"));
    let kid = kid.unwrap_or_default();
    let key = world.issuer_keys.find(world, &assertion.issuer, kid).await;
    let key = key.map_err(|error| {
        Refusal::new(match error {
            KeyError::Unreachable => 50166,
            KeyError::Document => 501_661,
            KeyError::Unknown => 7_000_272,
            KeyError::Kind => 5_002_730,
        })
    })?;
    let alg = token.header_text("alg").unwrap_or_default();
    if !key.verifies(alg, &token.signed, &token.signature) {
        return Err(Refusal::new(7_000_274));
    }
    let now = world.clock.unix();
    let from = token.seconds("nbf").unwrap_or(0);
    let until = token.seconds("exp").unwrap_or(0);
    if now < from.saturating_sub(SKEW_SECONDS) || now > until.saturating_add(SKEW_SECONDS) {
        return Err(Refusal::new(700_024));
    }
    Ok(())
}

/// The public part of an issuer's key.
pub(super) struct PublicKey {
    pub(super) n: Vec<u8>,
    pub(super) e: Vec<u8>,
}

impl PublicKey {
    pub(super) fn of(jwk: &Value) -> Result<Self, KeyError> {
        let member = |name: &str| {
            let text = jwk.get(name).and_then(Value::as_str).unwrap_or_default();
            URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Document)
        };
        if jwk.get("kty").and_then(Value::as_str) != Some("RSA") {
            return Err(KeyError::Kind);
        }
        Ok(Self {
            n: member("n")?,
            e: member("e")?,
        })
    }

    fn verifies(&self, alg: &str, message: &[u8], signature: &[u8]) -> bool {
        use aws_lc_rs::signature as rsa;
        let parameters = match alg {
            "RS384" => &rsa::RSA_PKCS1_2048_8192_SHA384,
            "RS512" => &rsa::RSA_PKCS1_2048_8192_SHA512,
            _ => &rsa::RSA_PKCS1_2048_8192_SHA256,
        };
        let key = rsa::RsaPublicKeyComponents {
            n: &self.n,
            e: &self.e,
        };
        key.verify(parameters, message, signature).is_ok()
    }
}
