//! Who calls a vault: the access token, really verified, and the challenge for calls without one.

use super::Target;
use super::refusal::Refusal;
use crate::arm::bearer;
use crate::call::Call;
use crate::entra;
use crate::jwt::Token;
use crate::world::World;

/// The application an access token was issued to.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) client_id: String,
}

/// Verifies the access token: key and signature, issuer, audience, time.
pub(super) fn authenticate(world: &World, call: &Call, target: &Target) -> Result<Caller, Refusal> {
    let text = bearer(call).ok_or(Refusal::new("AKV10000"))?;
    let token = Token::parse(text).ok_or(Refusal::new("AKV10000"))?;
    let known = token.header_text("kid") == Some(&world.entra_key.kid)
        && token.header_text("alg") == Some("RS256");
    if !known || !world.entra_key.verify(&token.signed, &token.signature) {
        let header = text.split('.').next().unwrap_or_default();
        return Err(Refusal::about("AKV10046", header));
    }
    let tenant_id = world.vaults.tenant_id(world, &target.vault);
    let issuer = token.text("iss").unwrap_or_default();
    if issuer != entra::access_token_issuer(target.cloud, &tenant_id) {
        return Err(Refusal::about("AKV10032", issuer));
    }
    let audience = token.text("aud").unwrap_or_default();
    if audience.trim_end_matches('/') != world.vault_resource(target.cloud) {
        return Err(Refusal::about("AKV10022", audience));
    }
    if token.seconds("exp").unwrap_or(0) <= world.clock.unix() {
        return Err(Refusal::new("TokenExpired"));
    }
    Ok(Caller {
        client_id: token.text("appid").unwrap_or_default().to_owned(),
    })
}

/// The `WWW-Authenticate` of a vault. Clients split it at spaces and `=`, so its form matters.
pub(crate) fn challenge(world: &World, target: &Target) -> String {
    format!(
        r#"Bearer authorization="https://{}/{}", resource="{}""#,
        target.cloud.challenge_host(),
        world.vaults.tenant_id(world, &target.vault),
        world.vault_resource(target.cloud),
    )
}
