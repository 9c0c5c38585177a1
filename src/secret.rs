//! The two things that must never be seen: a job's ID token and a secret's value. Neither can be
//! printed, cloned, compared or serialised; `expose` is the only way in, so that searching for it
//! finds every use. Both are wiped when dropped; what the HTTP and protobuf libraries copied on
//! the way is not (SECURITY.md says so).

use std::fmt;

use secrecy::{ExposeSecret as _, SecretBox, SecretSlice, SecretString, zeroize::Zeroize as _};

/// A GitLab ID token in compact form. Holding one says nothing about who signed it.
pub struct IdToken(SecretString);

impl IdToken {
    /// Takes the token over, as [`SecretValue::new`] does.
    #[must_use]
    pub fn new(mut token: String) -> Self {
        let exact = SecretString::from(Box::from(token.as_str()));
        token.zeroize();
        Self(exact)
    }

    /// The token itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for IdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdToken([redacted])")
    }
}

/// The bytes of a secret, exactly as the vault holds them.
pub struct SecretValue(SecretSlice<u8>);

impl SecretValue {
    /// Takes the bytes over. Cutting the vector to size could move it, and leave what it moved from
    /// behind, so they are copied once and wiped there.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>) -> Self {
        let exact = SecretBox::new(Box::from(bytes.as_slice()));
        bytes.zeroize();
        Self(exact)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use static_assertions::assert_not_impl_any;

    use super::{IdToken, SecretValue};

    assert_not_impl_any!(IdToken: Clone, PartialEq, fmt::Display, AsRef<str>, std::ops::Deref, serde::Serialize);
    assert_not_impl_any!(SecretValue: Clone, PartialEq, fmt::Display, AsRef<[u8]>, std::ops::Deref, serde::Serialize);

    use std::fmt;

    #[test]
    fn debug_shows_nothing() {
        let token = IdToken::new("canary".into());
        let value = SecretValue::new(b"canary".to_vec());
        assert_eq!(
            format!("{token:?} {value:?}"),
            "IdToken([redacted]) SecretValue([redacted])"
        );
    }
}
