//! The runner's built-in way with the same crates: for each secret, one after another, a new client
//! of Azure and a new credential, which are asked once and thrown away.

use std::sync::Arc;

use azure_core::http::{ClientMethodOptions, ClientOptions, Transport};
use azure_emulator::Ready;
use azure_identity::{
    ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions,
};
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};

use super::azure::secret_name;

#[derive(Debug)]
struct Assertion(String);

#[async_trait::async_trait]
impl ClientAssertion for Assertion {
    async fn secret(&self, _: Option<ClientMethodOptions<'_>>) -> azure_core::Result<String> {
        Ok(self.0.clone())
    }
}

/// Reads `secrets` secrets with an ID token.
pub(crate) async fn job(ready: &Ready, token: &str, secrets: u64) {
    for index in 0..secrets {
        let options = ClientOptions {
            transport: Some(Transport::new(Arc::new(client(ready)))),
            ..ClientOptions::default()
        };
        let credential = ClientAssertionCredential::new(
            ready.tenant_id.clone(),
            ready.client_id.clone(),
            Assertion(token.to_owned()),
            Some(ClientAssertionCredentialOptions {
                client_options: options.clone(),
            }),
        );
        let options = SecretClientOptions {
            client_options: options,
            ..SecretClientOptions::default()
        };
        let client = SecretClient::new(&ready.vault_url, credential.unwrap(), Some(options));
        let secret = client.unwrap().get_secret(&secret_name(index), None).await;
        let secret = secret.unwrap().into_model().unwrap();
        assert!(secret.value.is_some());
    }
}

fn client(ready: &Ready) -> reqwest::Client {
    let pem = std::fs::read(&ready.ca_file).unwrap();
    let ca = reqwest::Certificate::from_pem(&pem).unwrap();
    let proxy = reqwest::Proxy::all(&ready.proxy_url).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([ca]);
    client.proxy(proxy).build().unwrap()
}
