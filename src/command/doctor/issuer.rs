//! GitLab: the keys that the daemon verifies tokens with, and the documents that Entra will read.
//! Entra comes from the internet, so what it finds there can be shown to be wrong from here, but
//! never to be right.

use std::net::IpAddr;

use serde_json::Value;
use url::Url;

use super::azure::addresses;
use crate::{
    checkup::{Checkup, Step},
    config::{
        Config,
        issuer::{Issuer, KeySource},
    },
    posix::{self, Word},
    run::keys,
    token::{Fetch, Verifier},
};

pub(super) async fn examine(config: &Config, checkup: &mut Checkup) {
    for issuer in &config.issuers {
        let fetch = match keys::fetch(issuer) {
            Ok(fetch) => fetch,
            Err(error) => {
                checkup.add(Step::wrong("keys", error.to_string()));
                continue;
            }
        };
        checkup.add(signing_keys(issuer, fetch.clone()).await);
        checkup.add(discovery(issuer, &fetch).await);
        checkup.add(public(issuer).await);
    }
}

async fn signing_keys(issuer: &Issuer, fetch: Fetch) -> Step {
    let verifier = Verifier::new(vec![(issuer.clone(), fetch)]);
    verifier.warm().await;
    let status = verifier.status();
    let status = status.first();
    let keys = status.map_or(0, |status| status.keys);
    let failure = status.and_then(|status| status.failure.as_ref());
    match failure {
        None if keys > 0 => Step::good("keys", format!("{}: {keys} to verify with", issuer.url)),
        None => Step::wrong("keys", format!("{}: none that can be used", issuer.url))
            .fix("GitLab signs with RSA keys of 2,048 bits or more; see what jwks_uri has"),
        Some(error) => Step::wrong("keys", format!("{}: {error}", issuer.url)).fix(
            "let the daemon's host reach GitLab, with its CA in issuer.ca_file; or set jwks_url, \
             or jwks_file",
        ),
    }
}

/// The document as Entra wants it.
async fn discovery(issuer: &Issuer, fetch: &Fetch) -> Step {
    const PATH: &str = "/.well-known/openid-configuration";
    let url = format!("{}{PATH}", issuer.url);
    let Ok(parsed) = Url::parse(&url) else {
        return Step::unknown("discovery", format!("{url} is no address"));
    };
    let document = match fetch.get(parsed).await {
        Ok(fetched) => fetched,
        // Entra may reach what the daemon need not.
        Err(error) if !matches!(issuer.keys, KeySource::Discovery(_)) => {
            return Step::unknown("discovery", format!("cannot be read from here: {error}"));
        }
        Err(error) => {
            return Step::wrong("discovery", error.to_string())
                .fix("Entra reads it, too, and refuses tokens without it (AADSTS501661)");
        }
    };
    match lacks(&document.body, &issuer.url) {
        None => Step::good("discovery", format!("{url} has what Entra needs")),
        Some(says) => Step::wrong("discovery", format!("{url} {says}"))
            .fix("Entra refuses tokens by such a document (AADSTS501661)"),
    }
}

/// What a discovery document has to have for Entra, and this one has not.
fn lacks(body: &[u8], issuer: &str) -> Option<String> {
    let Ok(Value::Object(document)) = serde_json::from_slice(body) else {
        return Some("is no JSON object".to_owned());
    };
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let list = |name: &str| document.get(name).and_then(Value::as_array);
    let says = if text("issuer") != Some(issuer) {
        "names another issuer"
    } else if !text("jwks_uri").is_some_and(|uri| uri.starts_with("https://")) {
        "has no jwks_uri that begins with https://"
    } else if text("authorization_endpoint").is_none_or(str::is_empty) {
        "has no authorization_endpoint"
    } else if !list("id_token_signing_alg_values_supported")
        .is_some_and(|list| list.iter().any(|one| one == "RS256"))
    {
        "has no RS256 in id_token_signing_alg_values_supported"
    } else {
        let mut lists = ["response_types_supported", "subject_types_supported"].into_iter();
        let empty = lists.find(|name| list(name).is_none_or(Vec::is_empty))?;
        return Some(format!("has nothing in {empty}"));
    };
    Some(says.to_owned())
}

/// Whether Entra gets there: only the internet can tell.
async fn public(issuer: &Issuer) -> Step {
    let name = "public";
    let host = Url::parse(&issuer.url).ok();
    let host = host.as_ref().and_then(Url::host_str).unwrap_or_default();
    let seen: Vec<IpAddr> = addresses(host).await.unwrap_or_default();
    let private = !seen.is_empty() && seen.iter().all(|address| is_private(*address));
    let says = if private {
        format!(
            "{host} has private addresses only, seen from here; Entra has to reach it from the \
             internet (AADSTS501661)"
        )
    } else {
        format!("whether Entra reaches {host} from the internet cannot be told from here")
    };
    let documents = ["/.well-known/openid-configuration", "/oauth/discovery/keys"];
    let [document, keys] = documents.map(|path| format!("{}{path}", issuer.url));
    let command = posix::command(&[
        Word::Text("curl"),
        Word::Text("-fsS"),
        Word::Text(&document),
        Word::Text(&keys),
    ]);
    Step::unknown(name, says)
        .fix("run this from outside your network; both have to answer:")
        .fix(command.unwrap_or_default())
        .fix("what a private GitLab can do: docs/azure.md#a-private-gitlab")
}

/// Addresses that nobody on the internet can reach (RFC 1918, 4193, 6598 and loopback).
pub(super) fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}
