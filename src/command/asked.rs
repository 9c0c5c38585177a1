//! From a spec to what the policy is asked, with the checks that the daemon makes of a request:
//! what it would refuse as malformed never comes as far as the policy.

use crate::{
    azure::{ClientId, Cloud, TenantId},
    client::{Spec, Wanted},
    name::VariableName,
    policy::Asked,
    vault::Origin,
};

use super::Error;

/// All secrets of a spec.
pub(super) fn of(spec: &Spec, cloud: &Cloud) -> Result<Vec<Asked>, Error> {
    let one = |(variable, wanted): (&VariableName, &Wanted)| {
        asked(variable, wanted, cloud).map_err(|problem| Error::Asked {
            variable: variable.to_string(),
            problem,
        })
    };
    spec.wanted().map(one).collect()
}

fn asked(variable: &VariableName, wanted: &Wanted, cloud: &Cloud) -> Result<Asked, String> {
    let server = wanted.server();
    let vault = given(&server.url, |url| {
        let wrong = |problem: String| format!("server.url: {url:?} {problem}");
        let origin = Origin::parse(url).map_err(|error| wrong(error.to_string()))?;
        let known = cloud.vault(&origin).map(|_| origin);
        known.map_err(|error| wrong(error.to_string()))
    })?;
    let tenant_id = given(&server.tenant_id, |id| {
        let wrong = || format!("server.tenant_id: {id:?} is no GUID and no domain");
        TenantId::parse(id).ok_or_else(wrong)
    })?;
    let client_id = given(&server.client_id, |id| {
        let wrong = || format!("server.client_id: {id:?} is no GUID");
        ClientId::parse(id).ok_or_else(wrong)
    })?;
    Ok(Asked {
        variable: variable.clone(),
        name: wanted.name().clone(),
        version: wanted.version().cloned(),
        vault,
        tenant_id: tenant_id.map(|id| id.as_str().to_owned()),
        client_id: client_id.map(|id| id.as_str().to_owned()),
    })
}

/// A field that may be empty.
fn given<T>(
    text: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some)
    }
}
