//! How records name people: as the operator decided, and in no other way.

use std::{fmt::Write as _, fs, io, path::PathBuf};

use aws_lc_rs::hmac;

use crate::config::audit;

/// The form of a name.
#[derive(Clone, Debug)]
pub enum User {
    /// The account's name.
    Login,
    /// The account's number.
    Id,
    /// A keyed hash of the number: the same person is the same in all records, and who it is can
    /// be found out only with the key.
    Hmac(Box<hmac::Key>),
}

/// There is no key to hash names with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its file cannot be read.
    #[error("audit.user_key: {}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It could be guessed.
    #[error("audit.user_key: {} has fewer than {SHORTEST} bytes; make one with: head -c 32 /dev/urandom", .0.display())]
    Short(PathBuf),
}

/// As many as the hash has (RFC 2104, section 3).
const SHORTEST: usize = 32;

impl User {
    /// The form that is configured, with its key.
    pub fn load(user: &audit::User) -> Result<Self, Error> {
        let path = match user {
            audit::User::Login => return Ok(Self::Login),
            audit::User::Id => return Ok(Self::Id),
            audit::User::Hmac(path) => path,
        };
        let key = fs::read(path).map_err(|source| Error::Unreadable {
            path: path.clone(),
            source,
        })?;
        if key.len() < SHORTEST {
            return Err(Error::Short(path.clone()));
        }
        Ok(Self::Hmac(Box::new(hmac::Key::new(
            hmac::HMAC_SHA256,
            &key,
        ))))
    }

    /// The name of an issuer's user, of whom the token may say the one thing, the other or neither.
    #[must_use]
    pub fn name(&self, issuer: &str, login: Option<&str>, id: Option<&str>) -> Option<String> {
        match self {
            Self::Login => login.map(str::to_owned),
            Self::Id => id.map(str::to_owned),
            Self::Hmac(key) => id.map(|id| hashed(key, &format!("{issuer}\0{id}"))),
        }
    }
}

/// In hexadecimal.
fn hashed(key: &hmac::Key, text: &str) -> String {
    let tag = hmac::sign(key, text.as_bytes());
    tag.as_ref().iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::{Error, User};
    use crate::config::audit;

    fn name(user: &User, issuer: &str) -> Option<String> {
        user.name(issuer, Some("ann"), Some("7"))
    }

    #[test]
    fn a_person_is_named_as_configured() {
        assert_eq!(name(&User::Login, "https://a").as_deref(), Some("ann"));
        assert_eq!(name(&User::Id, "https://a").as_deref(), Some("7"));
        assert_eq!(User::Id.name("https://a", Some("ann"), None), None);
    }

    #[test]
    fn a_keyed_hash_tells_people_of_different_issuers_apart_and_needs_a_long_key() {
        let place = tempfile::tempdir().unwrap();
        let key = place.path().join("key");
        let load = |bytes: &[u8]| {
            std::fs::write(&key, bytes).unwrap();
            User::load(&audit::User::Hmac(key.clone()))
        };
        assert!(matches!(load(&[7; 31]), Err(Error::Short(_))));
        let (one, other) = (load(&[7; 32]).unwrap(), load(&[8; 32]).unwrap());
        // printf 'https://a\0007' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0707…07
        assert_eq!(
            name(&one, "https://a").as_deref(),
            Some("af3d9e955dcfce520003108b1f9a8c9292334c09951a586f50bcc4e43fab1e46")
        );
        assert_ne!(name(&one, "https://a"), name(&one, "https://b"));
        assert_ne!(name(&one, "https://a"), name(&other, "https://a"));
    }
}
