//! What Entra knows: tenants, applications, federated credentials and permissions.
//!
//! Tenants and applications are fixed at start; credentials and permissions a test may replace.

use aws_lc_rs::digest;

use crate::pattern;
use crate::shared::Shared;
use crate::state::{Application, FederatedCredential, Permission, State, Tenant, TrustedIssuer};

/// The directory of all tenants.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) applications: Vec<Application>,
    pub(crate) issuers: Vec<TrustedIssuer>,
    pub(crate) accept_audience_arrays: bool,
    own_issuer: String,
    federated_credentials: Shared<Vec<FederatedCredential>>,
    permissions: Shared<Vec<Permission>>,
}

impl Directory {
    pub(crate) fn new(state: &State, own_issuer: String) -> Self {
        Self {
            tenants: state.tenants.clone(),
            applications: state.applications.clone(),
            issuers: state.issuers.clone(),
            accept_audience_arrays: state.accept_audience_arrays,
            own_issuer,
            federated_credentials: Shared::new(state.federated_credentials.clone()),
            permissions: Shared::new(state.permissions.clone()),
        }
    }

    /// The tenant with this id or verified domain.
    pub(crate) fn tenant(&self, named: &str) -> Option<&Tenant> {
        self.tenants.iter().find(|tenant| {
            let domain = tenant.domain.as_deref().unwrap_or_default();
            tenant.id.eq_ignore_ascii_case(named) || domain.eq_ignore_ascii_case(named)
        })
    }

    /// The given tenant id, or the first tenant's.
    pub(crate) fn tenant_id(&self, given: Option<&String>) -> String {
        let first = self.tenants.first().map(|tenant| &tenant.id);
        given.or(first).cloned().unwrap_or_default()
    }

    /// The application with this client id, if it is in the tenant.
    pub(crate) fn application(&self, tenant_id: &str, client_id: &str) -> Option<&Application> {
        self.applications.iter().find(|application| {
            application.client_id.eq_ignore_ascii_case(client_id)
                && self.tenant_id(application.tenant_id.as_ref()) == tenant_id
        })
    }

    /// The federated credentials of an application, each with its issuer.
    pub(crate) fn federated_credentials(
        &self,
        client_id: &str,
    ) -> Vec<(String, FederatedCredential)> {
        let credentials = self.federated_credentials.lock();
        let own = credentials
            .iter()
            .filter(|credential| credential.client_id.eq_ignore_ascii_case(client_id));
        own.map(|credential| {
            let issuer = credential.issuer.as_ref().unwrap_or(&self.own_issuer);
            (issuer.clone(), credential.clone())
        })
        .collect()
    }

    pub(crate) fn set_federated_credentials(&self, credentials: Vec<FederatedCredential>) {
        *self.federated_credentials.lock() = credentials;
    }

    pub(crate) fn set_permissions(&self, permissions: Vec<Permission>) {
        *self.permissions.lock() = permissions;
    }

    /// Whether the application may do `operation` on the secret; `None`: on any secret there.
    pub(crate) fn permits(
        &self,
        client_id: &str,
        vault: &str,
        secret: Option<&str>,
        operation: &str,
    ) -> bool {
        self.permissions.lock().iter().any(|permission| {
            let named = |name: &str| {
                let fits = |p: &String| pattern::matches(&p.to_lowercase(), &name.to_lowercase());
                permission.secrets.iter().any(fits)
            };
            permission.client_id.eq_ignore_ascii_case(client_id)
                && (permission.vault == "*" || permission.vault.eq_ignore_ascii_case(vault))
                && permission.operations.iter().any(|o| o == operation)
                && secret.is_none_or(named)
        })
    }
}

/// The object id of an application's service principal.
pub(crate) fn object_id(application: &Application) -> String {
    let derived = || {
        let hash = digest::digest(&digest::SHA256, application.client_id.as_bytes());
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash.as_ref()[..16]);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        id.to_string()
    };
    application.object_id.clone().unwrap_or_else(derived)
}
