//! The keys that checkpoints are signed with. The private one stays with the daemon: it can be
//! neither printed nor copied, and all that comes out of it are signatures over lines of the trail.
//! The public one goes to the auditor. Both are Ed25519, in the files that `openssl genpkey` and
//! `openssl pkey -pubout` write.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::signature::{
    ED25519, ED25519_PUBLIC_KEY_LEN, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretBox};

use super::chain::{Digest, Line};
use crate::secret::SecretValue;

/// Signs checkpoints.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    id: String,
}

/// Tells whether a checkpoint was signed with the private key that belongs to it.
#[derive(Clone)]
pub struct PublicKey {
    raw: [u8; ED25519_PUBLIC_KEY_LEN],
    id: String,
}

/// Why there is no key, as a sentence on the file.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what each is")]
pub enum Error {
    #[error("{}: the key cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: every user of the host can read this private key; chmod 0600 it", path.display())]
    Exposed { path: PathBuf },
    #[error("{}: {expected} was expected", path.display())]
    NoKey {
        path: PathBuf,
        expected: &'static str,
    },
}

/// Every file with one of these keys has less than a kilobyte.
const LARGEST: u64 = 64 * 1024;

/// What is signed begins with this, so that no signature over anything else of the operator's can
/// be taken for one over a checkpoint.
const CONTEXT: &[u8] = b"runner-secrets audit checkpoint 1\n";

/// RFC 8410: the DER of an Ed25519 public key is these bytes and then the key itself.
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

impl SigningKey {
    /// From a PEM file with a PKCS#8 private key, which only its owner and group may read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (pem, mode) = read(path)?;
        let pem = SecretValue::new(pem);
        if mode & 0o007 != 0 {
            return Err(Error::Exposed { path: path.into() });
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.expose()).ok();
        let der = der.map(|der| SecretBox::new(Box::new(der)));
        let pair = der.and_then(|der| {
            Ed25519KeyPair::from_pkcs8(der.expose_secret().secret_pkcs8_der()).ok()
        });
        let pair = pair.ok_or(Error::NoKey {
            path: path.into(),
            expected: "an Ed25519 private key in PEM, as `openssl genpkey -algorithm ed25519` writes it,",
        })?;
        let id = id(pair.public_key().as_ref());
        Ok(Self { pair, id })
    }

    /// What checkpoints call it: the first 16 digits of the SHA-256 of its public half.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signature over a checkpoint's line as far as it comes before the signature, in base64.
    #[must_use]
    pub fn sign(&self, line: &[u8]) -> String {
        let signature = self.pair.try_sign(&[CONTEXT, line].concat());
        // Ed25519 refuses no message. Should it ever fail, a signature that does not match is what
        // an auditor has to see.
        signature.map_or_else(|_| String::new(), |bytes| BASE64_STANDARD.encode(bytes))
    }
}

impl PublicKey {
    /// From a PEM file with a public key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (pem, _) = read(path)?;
        let raw = SubjectPublicKeyInfoDer::from_pem_slice(&pem)
            .ok()
            .and_then(|der| der.strip_prefix(&SPKI)?.try_into().ok());
        let raw: [u8; ED25519_PUBLIC_KEY_LEN] = raw.ok_or(Error::NoKey {
            path: path.into(),
            expected: "an Ed25519 public key in PEM, as `openssl pkey -pubout` writes it,",
        })?;
        Ok(Self { raw, id: id(&raw) })
    }

    /// What checkpoints call it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the line has a signature of this key over all that comes before it.
    #[must_use]
    pub fn has_signed(&self, line: &Line<'_>) -> bool {
        let Some((signed, signature)) = line.signature() else {
            return false;
        };
        let Ok(signature) = BASE64_STANDARD.decode(signature) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, &self.raw);
        key.verify(&[CONTEXT, signed].concat(), &signature).is_ok()
    }
}

fn id(raw: &[u8]) -> String {
    let mut id = Digest::of(raw).to_string();
    id.truncate(16);
    id
}

/// A small file, and its mode.
fn read(path: &Path) -> Result<(Vec<u8>, u32), Error> {
    let read = || {
        let file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        let mut content = Vec::new();
        file.take(LARGEST).read_to_end(&mut content)?;
        Ok((content, mode))
    };
    read().map_err(|source| Error::Unreadable {
        path: path.into(),
        source,
    })
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.id)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id)
    }
}

#[cfg(test)]
mod tests;
