//! `[[issuer]]`: whose tokens are accepted, for which audiences, and where the keys are.

use std::path::PathBuf;

use url::Url;

use super::raw::Table;

/// An issuer of ID tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Exactly what `iss` says.
    pub url: String,
    /// A token must name one of these.
    pub audiences: Vec<String>,
    /// Where its keys are.
    pub keys: KeySource,
    /// Certificate authorities to trust in fetching them, besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Where the issuer's discovery document says, which has to be on the same server.
    Discovery(Url),
    /// Here, wherever that is.
    Url(Url),
    /// In a file.
    File(PathBuf),
}

/// Reads every `[[issuer]]`. Those with mistakes are left out.
pub(crate) fn read(root: &mut Table<'_>) -> Vec<Issuer> {
    if !root.has("issuer") {
        let problem = "is missing: without an issuer no token can be accepted";
        root.problem("issuer", problem.to_owned());
    }
    let mut issuers: Vec<Issuer> = Vec::new();
    for mut table in root.tables("issuer") {
        let Some(issuer) = read_one(&mut table) else {
            continue;
        };
        if issuers.iter().any(|other| other.url == issuer.url) {
            table.problem("url", "is the issuer of another table too".to_owned());
        } else {
            issuers.push(issuer);
        }
    }
    issuers
}

fn read_one(table: &mut Table<'_>) -> Option<Issuer> {
    let url = url(table);
    let audiences = audiences(table);
    let keys = key_source(table, url.as_deref());
    let ca_file = table.optional("ca_file");
    Some(Issuer {
        url: url?,
        audiences: audiences?,
        keys: keys?,
        ca_file,
    })
}

fn url(table: &mut Table<'_>) -> Option<String> {
    let text: String = table.required("url")?;
    match check_url(&text) {
        Ok(()) => Some(text),
        Err(problem) => {
            table.problem("url", format!("{text:?} {problem}"));
            None
        }
    }
}

/// The text is compared with `iss` byte by byte, so it has to be what an issuer can send.
fn check_url(text: &str) -> Result<(), &'static str> {
    let url = Url::parse(text).map_err(|_| "is no URL")?;
    if url.scheme() != "https" {
        return Err("does not begin with https://");
    }
    if text.ends_with('/') {
        return Err("ends with a slash, and GitLab's issuer does not");
    }
    let plain = url.username().is_empty() && url.password().is_none();
    let bare = url.query().is_none() && url.fragment().is_none();
    let normal = url.as_str().trim_end_matches('/');
    if plain && bare && normal.eq_ignore_ascii_case(text) {
        Ok(())
    } else {
        Err("is not as an issuer writes it: https://, a host, perhaps a port and a path")
    }
}

fn audiences(table: &mut Table<'_>) -> Option<Vec<String>> {
    let audiences: Vec<String> = table.required("audiences")?;
    if audiences.is_empty() || audiences.iter().any(String::is_empty) {
        let problem = "is empty: name what the jobs have under `aud:` in .gitlab-ci.yml";
        table.problem("audiences", problem.to_owned());
        return None;
    }
    Some(audiences)
}

fn key_source(table: &mut Table<'_>, issuer: Option<&str>) -> Option<KeySource> {
    let jwks_url: Option<String> = table.optional("jwks_url");
    let jwks_file = table.optional("jwks_file");
    match (jwks_url, jwks_file) {
        (Some(_), Some(_)) => {
            let problem = "excludes jwks_file: the keys are in one place";
            table.problem("jwks_url", problem.to_owned());
            None
        }
        (None, Some(file)) => Some(KeySource::File(file)),
        (Some(text), None) => match Url::parse(&text) {
            Ok(url) if url.scheme() == "https" => Some(KeySource::Url(url)),
            _ => {
                table.problem("jwks_url", format!("{text:?} is no https:// URL"));
                None
            }
        },
        (None, None) => {
            // OpenID Connect Discovery §4: appended, whatever path the issuer has.
            let url = Url::parse(&format!("{}/.well-known/openid-configuration", issuer?));
            url.ok().map(KeySource::Discovery)
        }
    }
}
