//! The state out of the box: one tenant, one application, one federated credential, one vault.
//!
//! It is what an ID token with default claims can read, so that a first try needs no state file.

use super::{
    Application, Attributes, FederatedCredential, Permission, Secret, State, Tenant, Vault,
    read_only,
};

const TENANT_ID: &str = "3e1f0a52-7c4b-4d8e-9a16-b0c2d4e6f801";
const CLIENT_ID: &str = "8d2b6f10-5a3c-4e7d-b941-c6f8a0e2d413";

/// A certificate, because secrets of several lines are where variables break. Its key is gone.
const TLS_CERT: &str = "-----BEGIN CERTIFICATE-----\n\
    MIIBjDCCATOgAwIBAgIUGI9vlQTDo55FssgI+QEuOyUM8gcwCgYIKoZIzj0EAwIw\n\
    GzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTAgFw0yNjExMjAxNzE0MzZaGA8y\n\
    MTI2MTAyNzE3MTQzNlowGzEZMBcGA1UEAwwQc2hvcC5leGFtcGxlLmNvbTBZMBMG\n\
    ByqGSM49AgEGCCqGSM49AwEHA0IABON82Xt2z6pbeVLn4ZYypV/jZbmLizYMgvfB\n\
    K2FOBmklDq38Qkzd2CZERfdIpC0yUc93cDcX9T/CI6OAQQClOgajUzBRMB0GA1Ud\n\
    DgQWBBRx7AeWm05rsrRHm3JOM3/Wf5S3GDAfBgNVHSMEGDAWgBRx7AeWm05rsrRH\n\
    m3JOM3/Wf5S3GDAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIHVi\n\
    iZFV3+nTMDaVeL5tnwtOv9Ix4Ci0Ub2iSZALecOnAiB2iKD2Z2aNaEWqfkZBEXgg\n\
    fjQE+hbc8EHnI9/dnBYo8w==\n\
    -----END CERTIFICATE-----\n";

impl Default for State {
    fn default() -> Self {
        Self {
            tenants: vec![Tenant {
                id: TENANT_ID.into(),
                name: "Acme".into(),
                domain: Some("acme.onmicrosoft.com".into()),
            }],
            applications: vec![application()],
            federated_credentials: vec![FederatedCredential {
                client_id: CLIENT_ID.into(),
                subject: Some("project_path:acme/shop:ref_type:branch:ref:main".into()),
                audience: "api://AzureADTokenExchange".into(),
                ..FederatedCredential::default()
            }],
            vaults: vec![vault()],
            permissions: vec![Permission {
                client_id: CLIENT_ID.into(),
                vault: "demo".into(),
                secrets: vec!["*".into()],
                operations: read_only(),
            }],
            issuers: Vec::new(),
            accept_audience_arrays: false,
        }
    }
}

fn application() -> Application {
    Application {
        client_id: CLIENT_ID.into(),
        name: "shop pipelines".into(),
        tenant_id: None,
        object_id: None,
        enabled: true,
        service_principal: true,
        blocked: false,
    }
}

fn vault() -> Vault {
    Vault {
        secrets: vec![
            secret("db-password", "correct horse battery staple"),
            secret("api-key", "key-of-last-year"),
            secret("api-key", "key-of-this-year"),
            Secret {
                content_type: Some("application/x-pem-file".into()),
                ..secret("tls-cert", TLS_CERT)
            },
        ],
        ..Vault::named("demo")
    }
}

fn secret(name: &str, value: &str) -> Secret {
    Secret {
        name: name.into(),
        value: value.into(),
        attributes: Attributes::default(),
        ..Secret::default()
    }
}
