//! The names that a request consists of, checked once, where they come in: what has one of these
//! types can neither leave a directory nor a URL's path. The Azure crates send names unchecked and
//! unescaped, so nothing but these may reach them.

use std::fmt;

/// Why a name was refused, as the end of a sentence that begins with the name's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an identifier of a shell.
    #[error(
        "is no variable name: letters, digits and underscores, not starting with a digit, at most 128 characters"
    )]
    Variable,
    /// Would change how the job itself runs.
    #[error(
        "is reserved: it would change how the job itself runs (PATH, ENV, BASH_ENV, IFS, LD_*, CI_*, GITLAB_*, RUNNER_*, FF_*)"
    )]
    Reserved,
    /// Not a Key Vault secret name.
    #[error("is no secret name: 1 to 127 letters, digits and hyphens")]
    Secret,
    /// Not a Key Vault version.
    #[error("is no version: 32 hexadecimal digits, or nothing for the latest")]
    Version,
}

/// The name of an environment variable, and of the file that it may point to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableName(String);

impl VariableName {
    /// Takes a POSIX identifier that is not reserved.
    pub fn parse(name: &str) -> Result<Self, Error> {
        // File systems end at 255 bytes; names this long are mistakes.
        const LONGEST: usize = 128;
        let mut bytes = name.bytes();
        let starts = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
        let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !starts || !goes_on || name.len() > LONGEST {
            return Err(Error::Variable);
        }
        if is_reserved(name) {
            return Err(Error::Reserved);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Variables that shells, the dynamic linker and the runner act on.
fn is_reserved(name: &str) -> bool {
    const NAMES: [&str; 4] = ["PATH", "ENV", "BASH_ENV", "IFS"];
    const PREFIXES: [&str; 5] = ["LD_", "CI_", "GITLAB_", "RUNNER_", "FF_"];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The name of a secret in Key Vault, which compares without regard to case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretName(String);

impl SecretName {
    /// Takes `^[0-9A-Za-z-]{1,127}$`, and makes it lower case: the vault does not tell the
    /// difference, so neither do policy, single flight and audit.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if name.is_empty() || name.len() > 127 || !name.bytes().all(plain) {
            return Err(Error::Secret);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version of a secret in Key Vault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretVersion(String);

impl SecretVersion {
    /// Takes 32 hexadecimal digits; nothing at all means the latest version, `None`.
    pub fn parse(version: &str) -> Result<Option<Self>, Error> {
        if version.is_empty() {
            return Ok(None);
        }
        if version.len() != 32 || !version.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::Version);
        }
        Ok(Some(Self(version.to_ascii_lowercase())))
    }

    /// The version, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, SecretName, SecretVersion, VariableName};

    #[test]
    fn variable_names_are_identifiers_that_nothing_acts_on() {
        for good in ["A", "_", "db_password", "DB2", "PATHS", "CI", "LDAP"] {
            assert!(VariableName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "2A", "A-B", "A B", "A=B", "Ä", "../A", "A\0", "A\n"] {
            assert_eq!(VariableName::parse(bad), Err(Error::Variable), "{bad:?}");
        }
        assert_eq!(VariableName::parse(&"A".repeat(129)), Err(Error::Variable));
        for reserved in [
            "PATH",
            "IFS",
            "LD_PRELOAD",
            "CI_JOB_ID",
            "FF_X",
            "RUNNER_SECRETS",
        ] {
            assert_eq!(
                VariableName::parse(reserved),
                Err(Error::Reserved),
                "{reserved}"
            );
        }
    }

    #[test]
    fn secret_names_cannot_leave_their_path() {
        assert_eq!(SecretName::parse("DB-pass").unwrap().as_str(), "db-pass");
        for bad in ["", "a/b", "..", "a?b", "a%2fb", "a#b", "a b", "ä", "a\0"] {
            assert_eq!(SecretName::parse(bad), Err(Error::Secret), "{bad:?}");
        }
        assert!(SecretName::parse(&"a".repeat(127)).is_ok());
        assert!(SecretName::parse(&"a".repeat(128)).is_err());
    }

    #[test]
    fn versions_are_32_digits_or_absent() {
        assert_eq!(SecretVersion::parse(""), Ok(None));
        assert!(SecretVersion::parse(&"0".repeat(32)).unwrap().is_some());
        for bad in [
            "1",
            "latest",
            &"0".repeat(31),
            &"0".repeat(33),
            &"g".repeat(32),
        ] {
            assert_eq!(SecretVersion::parse(bad), Err(Error::Version), "{bad}");
        }
    }
}
