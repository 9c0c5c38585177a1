use std::{
    env, fmt, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::UNIX_EPOCH,
};

use aws_lc_rs::{
    encoding::AsDer as _,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use static_assertions::assert_not_impl_any;
use tempfile::TempDir;

use super::{CONTEXT, PublicKey, SigningKey};
use crate::audit::chain::{Head, Line, Stamp};

assert_not_impl_any!(SigningKey: Clone, PartialEq, fmt::Display, AsRef<[u8]>, Serialize);

/// A directory with a new key in `key.pem` and `public.pem`.
struct Keys(TempDir);

impl Keys {
    fn new() -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = pair.public_key().as_der().unwrap();
        let private = pem("PRIVATE KEY", pair.to_pkcs8v1().unwrap().as_ref());
        keys.file("key.pem", &private, 0o600);
        keys.file("public.pem", &pem("PUBLIC KEY", public.as_ref()), 0o644);
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn private(&self) -> SigningKey {
        SigningKey::load(&self.path("key.pem")).unwrap()
    }

    fn public(&self) -> PublicKey {
        PublicKey::load(&self.path("public.pem")).unwrap()
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let der = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{der}\n-----END {label}-----\n")
}

#[derive(Serialize)]
#[serde(tag = "event", rename = "checkpoint")]
struct Checkpoint<'a> {
    key: &'a str,
}

/// A checkpoint that says it is of `key`.
fn checkpoint(key: &SigningKey, sign: impl FnOnce(&[u8]) -> String) -> String {
    let stamp = Stamp {
        time: UNIX_EPOCH,
        instance: "0123456789abcdef",
    };
    let event = Checkpoint { key: key.id() };
    let (line, _) = Head::GENESIS.signed_line(&stamp, &event, sign).unwrap();
    String::from_utf8(line).unwrap().trim_end().to_owned()
}

#[test]
fn a_checkpoint_verifies_with_its_own_key_only() {
    let (keys, others) = (Keys::new(), Keys::new());
    let (key, public, other) = (keys.private(), keys.public(), others.public());
    let line = checkpoint(&key, |line| key.sign(line));
    let line = Line::parse(line.as_bytes()).unwrap();
    assert_eq!(public.id(), key.id());
    assert!(public.has_signed(&line));
    assert!(!other.has_signed(&line));
    for forged in ["", "?", &key.sign(b"{}"), &BASE64_STANDARD.encode([0; 64])] {
        let line = checkpoint(&key, |_| forged.to_owned());
        let line = Line::parse(line.as_bytes()).unwrap();
        assert!(!public.has_signed(&line), "{forged}");
    }
}

#[test]
fn a_key_prints_as_its_id() {
    let keys = Keys::new();
    let (key, public) = (keys.private(), keys.public());
    let id = key.id();
    assert!(
        id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(format!("{key:?}"), format!("SigningKey({id})"));
    assert_eq!(format!("{public:?}"), format!("PublicKey({id})"));
}

#[test]
fn what_is_no_such_key_is_refused_without_showing_it() {
    let keys = Keys::new();
    let public = fs::read_to_string(keys.path("public.pem")).unwrap();
    let curve = public.replace("MCow", "MCox");
    for text in ["", "MC4CAQAw", &pem("PRIVATE KEY", b"canary"), &curve] {
        let path = keys.file("other.pem", text, 0o600);
        let private = SigningKey::load(&path).unwrap_err().to_string();
        let public = PublicKey::load(&path).unwrap_err().to_string();
        for error in [private, public] {
            assert!(error.ends_with("writes it, was expected"), "{error}");
        }
    }
    let missing = SigningKey::load(Path::new("/nonexistent/key")).unwrap_err();
    assert!(missing.to_string().contains("cannot be read"), "{missing}");
}

#[test]
fn a_private_key_that_everybody_can_read_is_refused() {
    let keys = Keys::new();
    let path = keys.path("key.pem");
    for (mode, fine) in [(0o600, true), (0o640, true), (0o604, false), (0o666, false)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(SigningKey::load(&path).is_ok(), fine, "{mode:o}");
    }
}

#[test]
fn keys_and_signatures_are_those_of_openssl() {
    let keys = Keys::new();
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command
            .args(arguments.split(' '))
            .current_dir(keys.0.path());
        command.output()
    };
    if openssl("version").is_err() {
        assert!(env::var_os("CI").is_none(), "openssl is missing");
        println!("skipped: there is no openssl here");
        return;
    }
    openssl("genpkey -algorithm ed25519 -out key.pem").unwrap();
    openssl("pkey -in key.pem -pubout -out public.pem").unwrap();
    let key = keys.private();
    assert_eq!(key.id(), keys.public().id());
    let signature = BASE64_STANDARD.decode(key.sign(b"{\"seq\":1")).unwrap();
    fs::write(keys.path("signature"), signature).unwrap();
    fs::write(keys.path("message"), [CONTEXT, b"{\"seq\":1"].concat()).unwrap();
    let verify = "pkeyutl -verify -rawin -pubin -inkey public.pem -in message -sigfile signature";
    let verified = openssl(verify).unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
