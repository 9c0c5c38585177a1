//! What can stand on the right of an equals sign, beyond TOML's own types.

use std::net::SocketAddr;

use toml::de::DeValue;
use url::Url;

use super::{LogFormat, OnStop, raw::Value};
use crate::{
    azure::{ClientId, TenantId},
    vault::Origin,
};

impl Value for SocketAddr {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        let parsed = text.parse();
        parsed.map_err(|_| format!("{text:?} is no address such as \"127.0.0.1:9187\""))
    }
}

/// A mode, written as a string of octal digits.
pub(super) struct Octal(pub(super) u32);

impl Value for Octal {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if mode <= 0o777 => Ok(Self(mode)),
            _ => Err(format!("{text:?} is no mode such as \"0660\"")),
        }
    }
}

/// A number of at least one.
pub(super) struct Count(pub(super) usize);

impl Value for Count {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match usize::try_from(u64::read(value)?) {
            Ok(0) => Err("is zero".to_owned()),
            Ok(count) => Ok(Self(count)),
            Err(_) => Err("is too large".to_owned()),
        }
    }
}

/// The word for it, before `inline_disk` is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum DeliveryChoice {
    Files,
    Inline,
}

impl Value for DeliveryChoice {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "files" => Ok(Self::Files),
            "inline" => Ok(Self::Inline),
            other => Err(format!("{other:?} is neither \"files\" nor \"inline\"")),
        }
    }
}

impl Value for OnStop {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "delete" => Ok(Self::Delete),
            "keep" => Ok(Self::Keep),
            other => Err(format!("{other:?} is neither \"delete\" nor \"keep\"")),
        }
    }
}

impl Value for LogFormat {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            other => Err(format!("{other:?} is neither \"json\" nor \"text\"")),
        }
    }
}

/// An https URL that is a host and nothing else.
pub(super) struct HttpsUrl(pub(super) Url);

impl Value for HttpsUrl {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match Url::parse(&String::read(value)?) {
            Ok(url) if is_bare(&url) => Ok(Self(url)),
            _ => Err("is no URL such as \"https://login.example.com\"".to_owned()),
        }
    }
}

fn is_bare(url: &Url) -> bool {
    let user = !url.username().is_empty() || url.password().is_some();
    let more = url.path() != "/" || url.query().is_some() || url.fragment().is_some();
    url.scheme() == "https" && url.has_host() && !user && !more
}

/// A host as it stands in a URL, in lower case: `kv.example.com`, `kv.example.com:8443`.
pub(super) struct Host(pub(super) String);

impl Value for Host {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        let text = String::read(value)?;
        match Origin::parse(&format!("https://{text}")) {
            Ok(origin) if origin.host() == text => Ok(Self(text)),
            _ => Err(format!("{text:?} is no host such as \"kv.example.com\"")),
        }
    }
}

/// An http or https URL, for a proxy.
pub(super) struct HttpUrl(pub(super) Url);

impl Value for HttpUrl {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        match Url::parse(&String::read(value)?) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self(url)),
            _ => Err("is no URL such as \"http://proxy.example.com:3128\"".to_owned()),
        }
    }
}

impl Value for TenantId {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::read(value)?).ok_or_else(|| "is no GUID and no domain".to_owned())
    }
}

impl Value for ClientId {
    fn read(value: &DeValue<'_>) -> Result<Self, String> {
        Self::parse(&String::read(value)?).ok_or_else(|| "is no GUID".to_owned())
    }
}
