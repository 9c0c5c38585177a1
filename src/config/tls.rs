//! `tls_cert`, `tls_key` and `client_ca`, wherever something listens with TLS.

use std::path::PathBuf;

use super::raw::Table;
use crate::tls::{Server, Settings};

/// The certificate of a table that has one. Halves, and files that cannot be used, are noted.
/// `client_ca` is read where `clients` can have certificates of their own.
pub(super) fn certificate(
    table: &mut Table<'_>,
    protocol: &'static str,
    clients: bool,
) -> Option<Settings> {
    let chain = table.optional::<PathBuf>("tls_cert");
    let key = table.optional::<PathBuf>("tls_key");
    let client_ca = clients.then(|| table.optional::<PathBuf>("client_ca"));
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) => return None,
        (chain, _) => {
            // A wrong value was noted already.
            let (there, missing) = match chain {
                Some(_) => ("tls_cert", "tls_key"),
                None => ("tls_key", "tls_cert"),
            };
            if !table.has(missing) {
                table.problem(there, format!("is of no use without {missing}"));
            }
            return None;
        }
    };
    let settings = Settings {
        chain,
        key,
        client_ca: client_ca.flatten(),
        protocol,
    };
    if let Err(error) = Server::new(settings.clone()) {
        let authorities = settings.client_ca.as_deref();
        let about = authorities.is_some_and(|path| error.is_about(path));
        let key = if about { "client_ca" } else { "tls_cert" };
        table.problem(key, error.to_string());
    }
    Some(settings)
}
