//! The address of a vault, in its one form: `https://`, a host in lower case, a port if it is not
//! 443. Addresses that only a lenient parser could read as that (user names, escapes, tabs,
//! back-slashes, other alphabets) are refused, so that two components can never read one address
//! differently. Whether the host is a vault's at all is for the backend to decide.

use std::fmt;

use url::Url;

/// Why text is no vault's address, as the end of a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no vault's address: https:// and a host name, as in https://acme-prod.vault.azure.net")]
pub struct Error;

/// A vault's address, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(String);

impl Origin {
    /// Takes an address in any case, with or without the slash and port 443.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let plain = text.to_ascii_lowercase();
        let plain = plain.strip_suffix('/').unwrap_or(&plain);
        let plain = plain.strip_suffix(":443").unwrap_or(plain);
        let url = Url::parse(plain).map_err(|_| Error)?;
        let origin = url.origin();
        let rooted = url.host_str().is_some_and(|host| host.ends_with('.'));
        // What the parser had to change was not plain.
        if url.scheme() == "https"
            && origin.is_tuple()
            && !rooted
            && origin.ascii_serialization() == plain
        {
            Ok(Self(plain.to_owned()))
        } else {
            Err(Error)
        }
    }

    /// The host, with the port if it is not 443.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.strip_prefix("https://").unwrap_or(&self.0)
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Origin {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Origin};

    #[test]
    fn one_vault_has_one_form() {
        for text in [
            "https://acme.vault.azure.net",
            "https://acme.vault.azure.net/",
            "https://acme.vault.azure.net:443",
            "HTTPS://Acme.Vault.Azure.NET:443/",
        ] {
            let origin = Origin::parse(text).unwrap();
            assert_eq!(origin.as_str(), "https://acme.vault.azure.net", "{text}");
        }
        let port = Origin::parse("https://localhost:8443/").unwrap();
        assert_eq!(port.as_str(), "https://localhost:8443");
        assert_eq!(port.host(), "localhost:8443");
    }

    #[test]
    fn whatever_is_not_plain_is_refused() {
        for text in [
            "",
            "acme.vault.azure.net",
            "http://acme.vault.azure.net",
            "https://",
            "https:///",
            "https:acme.vault.azure.net",
            "https:/acme.vault.azure.net",
            "https:\\\\acme.vault.azure.net",
            "https://acme.vault.azure.net//",
            "https://acme.vault.azure.net/secrets",
            "https://acme.vault.azure.net?x",
            "https://acme.vault.azure.net#x",
            "https://acme.vault.azure.net@evil.test",
            "https://user:pass@acme.vault.azure.net",
            "https://@acme.vault.azure.net",
            "https://acme.vault.azure.net:0443",
            "https://acme.vault.azure.net:",
            "https://acme.vault.azure.net:99999",
            "https://acme.vault%2eazure.net",
            "https://acme\t.vault.azure.net",
            " https://acme.vault.azure.net",
            "https://acme.vault.azure.net ",
            "https://acme.vault.azure.net\n",
            "https://ａcme.vault.azure.net",
            "https://äcme.vault.azure.net",
            "https://acme.vault。azure.net",
            "https://0x7f.1",
            "https://acme.vault.azure.net.",
            "file:///etc/passwd",
            "data:,x",
        ] {
            assert_eq!(Origin::parse(text), Err(Error), "{text:?}");
        }
    }
}
