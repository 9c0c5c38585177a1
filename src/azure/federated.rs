//! A federated credential: which ID tokens an application or a managed identity takes. Entra
//! compares issuer, subject and audience as they are, so what is proposed is always a job's own.

use aws_lc_rs::digest;
use serde::Serialize;

use crate::posix::{self, Word};

/// One issuer, one subject, one audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FederatedCredential {
    /// Entra's own handle for it.
    pub name: String,
    /// The token's `iss`.
    pub issuer: String,
    /// The token's `sub`.
    pub subject: String,
    /// The token's `aud`: Entra takes a list of exactly one.
    pub audiences: [String; 1],
}

/// What Entra takes of issuer, subject and audience.
const LONGEST: usize = 600;

impl FederatedCredential {
    /// The credential for such tokens; `None` where Entra could not have it.
    #[must_use]
    pub fn new(issuer: &str, subject: &str, audience: &str) -> Option<Self> {
        let fits = |text: &&str| (1..=LONGEST).contains(&text.len());
        [issuer, subject, audience].iter().all(fits).then(|| Self {
            name: name(issuer, subject),
            issuer: issuer.to_owned(),
            subject: subject.to_owned(),
            audiences: [audience.to_owned()],
        })
    }

    /// A name for the credential of such tokens.
    #[must_use]
    pub fn name_of(issuer: &str, subject: &str) -> String {
        name(issuer, subject)
    }

    /// As `az` and Graph take it.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The command that creates it for an application.
    #[must_use]
    pub fn command(&self, application: Word<'_>) -> Option<String> {
        // JSON would hide in escapes what a word may not show.
        posix::shown(&format!(
            "{}{}{}",
            self.issuer, self.subject, self.audiences[0]
        ))?;
        posix::command(&[
            Word::Text("az"),
            Word::Text("ad"),
            Word::Text("app"),
            Word::Text("federated-credential"),
            Word::Text("create"),
            Word::Text("--id"),
            application,
            Word::Text("--parameters"),
            Word::Text(&self.json()),
        ])
    }
}

/// A name that says what it is for and that no other credential has: 3 to 120 characters.
#[must_use]
fn name(issuer: &str, subject: &str) -> String {
    // Leaves room for the hash.
    const READABLE: usize = 80;
    let mut readable = String::new();
    for c in subject.chars().take(READABLE) {
        match c {
            c if c.is_ascii_alphanumeric() => readable.push(c),
            _ if readable.is_empty() || readable.ends_with('-') => {}
            _ => readable.push('-'),
        }
    }
    let whole = format!("{issuer}\n{subject}");
    let hash = digest::digest(&digest::SHA256, whole.as_bytes());
    let start = hash.as_ref().first_chunk().copied().unwrap_or_default();
    let hash = u32::from_be_bytes(start);
    format!("{}-{hash:08x}", readable.trim_end_matches('-'))
        .trim_start_matches('-')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::{FederatedCredential, name};
    use crate::posix::Word;

    #[test]
    fn names_are_ones_that_entra_takes_and_tell_credentials_apart() {
        let issuer = "https://gitlab.example.com";
        let long = "x".repeat(600);
        let subjects = ["project_path:a/b:ref_type:branch:ref:main", "", "'", &long];
        for subject in subjects {
            let name = name(issuer, subject);
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
            assert!((3..=120).contains(&name.len()), "{name}");
            assert!(name.chars().all(plain), "{name}");
            assert!(
                name.starts_with(|c: char| c.is_ascii_alphanumeric()),
                "{name}"
            );
        }
        assert_ne!(name(issuer, "a/b"), name(issuer, "a-b"));
        assert_ne!(name(issuer, "a/b"), name("https://gitlab.test", "a/b"));
    }

    #[test]
    fn what_entra_cannot_have_is_not_proposed() {
        let long = "x".repeat(601);
        assert_eq!(FederatedCredential::new("i", &long, "a"), None);
        assert_eq!(FederatedCredential::new("i", "", "a"), None);
        let steering = FederatedCredential::new("i", "a\u{1b}[2K", "a").unwrap();
        assert_eq!(steering.command(Word::Variable("CLIENT_ID")), None);
    }
}
