//! The token endpoint: the checks a request passes, in order, and the token at the end.
//!
//! The order in which the real service checks is not published. This one goes from the request's
//! form to its tenant, client, assertion and scope, so that each code can be met on its own.

use serde_json::{Value, json};

use super::refusal::{Facts, Refusal};
use super::{LIFETIME_SECONDS, access_token, assertion};
use crate::call::{Call, login_cloud};
use crate::cloud::Cloud;
use crate::reply::Reply;
use crate::state::Application;
use crate::world::World;

/// The scopes that sign-in libraries add and that ask for no resource.
const SCOPES_OF_SIGN_IN: [&str; 3] = ["openid", "profile", "offline_access"];

/// What a client must send in `client_assertion_type`.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Answers `POST /{tenant}/oauth2/v2.0/token`, and the older form without `v2.0`.
pub(super) async fn answer(world: &World, call: &Call, tenant: &str) -> Reply {
    match exchange(world, call, tenant).await {
        Ok(reply) => reply,
        Err(refusal) => refusal.reply(&Facts::of(world, call)),
    }
}

/// The refusal a fault asks for, worded with what this request says.
pub(crate) fn refuse_as(world: &World, call: &Call, refusal: &Refusal) -> Reply {
    refusal.reply(&Facts::of(world, call))
}

async fn exchange(world: &World, call: &Call, tenant: &str) -> Result<Reply, Refusal> {
    let form = Form::of(call)?;
    let tenant_id = find_tenant(world, tenant)?;
    if form.grant_type != "client_credentials" {
        return Err(Refusal::new(70003));
    }
    let application = find_application(world, &tenant_id, &form.client_id)?;
    let text = form.assertion()?;
    let assertion = assertion::parse(&text, &form.client_id, world)?;
    assertion::match_credential(world, &form.client_id, &assertion)?;
    assertion::verify(world, &assertion).await?;
    let (resource, cloud) = find_resource(world, call, &form.scope)?;
    if application.blocked {
        return Err(Refusal::new(53003));
    }
    let token = access_token(world, cloud, application, &resource);
    // Only a broken random number generator gets here; Entra calls such things transient.
    let token = token.map_err(|_| Refusal::new(90033))?;
    Ok(success(world, call, &resource, &token))
}

/// The parameters of the request.
struct Form {
    grant_type: String,
    client_id: String,
    scope: String,
    fields: Vec<(String, String)>,
}

impl Form {
    fn of(call: &Call) -> Result<Self, Refusal> {
        let fields = call.form();
        let v1 = is_v1(call);
        let required = |name: &str| {
            let value = field(&fields, name);
            value.ok_or_else(|| Refusal::about(900_144, name))
        };
        Ok(Self {
            grant_type: required("grant_type")?,
            client_id: required("client_id")?,
            scope: if v1 {
                format!("{}/.default", required("resource")?)
            } else {
                required("scope")?
            },
            fields,
        })
    }

    fn assertion(&self) -> Result<String, Refusal> {
        if field(&self.fields, "client_secret").is_some() {
            return Err(Refusal::new(7_000_215));
        }
        let kind = field(&self.fields, "client_assertion_type");
        field(&self.fields, "client_assertion")
            .filter(|_| kind.as_deref() == Some(JWT_BEARER))
            .ok_or(Refusal::new(7_000_216))
    }
}

/// An empty field counts as missing.
fn field(fields: &[(String, String)], name: &str) -> Option<String> {
    let found = fields.iter().find(|(key, _)| key == name);
    found
        .map(|(_, value)| value.clone())
        .filter(|value| !value.is_empty())
}

fn is_v1(call: &Call) -> bool {
    !call.segments.iter().any(|segment| segment == "v2.0")
}

fn find_tenant(world: &World, tenant: &str) -> Result<String, Refusal> {
    if let Some(known) = world.directory.tenant(tenant) {
        return Ok(known.id.clone());
    }
    if matches!(tenant, "common" | "organizations" | "consumers") {
        return Err(Refusal::new(9_001_023));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let domain = tenant.contains('.') && tenant.chars().all(allowed);
    if domain || uuid::Uuid::parse_str(tenant).is_ok() {
        return Err(Refusal::new(90002));
    }
    Err(Refusal::new(900_023))
}

fn find_application<'a>(
    world: &'a World,
    tenant_id: &str,
    client_id: &str,
) -> Result<&'a Application, Refusal> {
    let application = world.directory.application(tenant_id, client_id);
    let application = application.ok_or(Refusal::new(700_016))?;
    if !application.service_principal {
        return Err(Refusal::new(7_000_229));
    }
    if !application.enabled {
        return Err(Refusal::new(7_000_112));
    }
    Ok(application)
}

/// The audience of the token: the one resource the scope names, known in this cloud.
fn find_resource(world: &World, call: &Call, scope: &str) -> Result<(String, Cloud), Refusal> {
    let mut scopes = scope
        .split_whitespace()
        .filter(|scope| !SCOPES_OF_SIGN_IN.contains(scope));
    let (Some(scope), None) = (scopes.next(), scopes.next()) else {
        return Err(Refusal::new(70011));
    };
    let resource = scope.strip_suffix("/.default");
    let resource = resource.ok_or(Refusal::new(1_002_012))?;
    let asked = login_cloud(&call.site);
    // Under its own name the emulator is the authority of every cloud.
    let mut clouds = Cloud::REAL.into_iter().chain([Cloud::Local]);
    clouds
        .find(|cloud| {
            (asked == Cloud::Local || *cloud == asked) && is_resource(world, *cloud, resource)
        })
        .map(|cloud| (resource.to_owned(), cloud))
        .ok_or(Refusal::new(500_011))
}

fn is_resource(world: &World, cloud: Cloud, resource: &str) -> bool {
    let plain = resource.trim_end_matches('/');
    let managed = cloud.management_hosts().iter();
    let mut managed = managed.map(|host| format!("https://{host}"));
    plain == world.vault_resource(cloud) || managed.any(|host| host == plain)
}

fn success(world: &World, call: &Call, resource: &str, token: &str) -> Reply {
    let lasts = LIFETIME_SECONDS - 1;
    if !is_v1(call) {
        return Reply::json(
            200,
            &json!({
                "token_type": "Bearer",
                "expires_in": lasts,
                "ext_expires_in": lasts,
                "access_token": token,
            }),
        );
    }
    // The older endpoint writes its numbers as strings.
    let text = |number: i64| Value::String(number.to_string());
    let now = world.clock.unix();
    Reply::json(
        200,
        &json!({
            "token_type": "Bearer",
            "expires_in": text(lasts),
            "ext_expires_in": text(lasts),
            "expires_on": text(now + LIFETIME_SECONDS),
            "not_before": text(now - super::BACKDATED_SECONDS),
            "resource": resource,
            "access_token": token,
        }),
    )
}
