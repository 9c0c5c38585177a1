use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::{LOOK, Server, Settings, ends, watch};

const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 443);

/// A certificate and its key in files.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.renew();
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// Another certificate, of another key.
    fn renew(&self) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        self.write("cert.pem", &certificate.self_signed(&key).unwrap().pem());
        self.write("key.pem", &key.serialize_pem());
    }

    fn settings(&self, client_ca: Option<&str>) -> Settings {
        let path = |name| self.0.path().join(name);
        Settings {
            chain: path("cert.pem"),
            key: path("key.pem"),
            client_ca: client_ca.map(path),
            protocol: "h2",
        }
    }
}

fn error(settings: Settings) -> String {
    Server::new(settings).unwrap_err().to_string()
}

#[test]
fn what_cannot_be_used_is_said_with_its_file() {
    let place = Place::new();
    place.write("empty.pem", "");
    assert!(Server::new(place.settings(None)).is_ok());
    assert!(Server::new(place.settings(Some("cert.pem"))).is_ok());
    let missing = error(place.settings(Some("missing.pem")));
    assert!(
        missing.contains("missing.pem: I/O error: No such file"),
        "{missing}"
    );
    let empty = error(place.settings(Some("empty.pem")));
    assert!(empty.contains("empty.pem: no items found"), "{empty}");
    let other = KeyPair::generate().unwrap();
    place.write("key.pem", &other.serialize_pem());
    let unfit = error(place.settings(None));
    assert!(unfit.contains("keys may not be consistent"), "{unfit}");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_was_renewed_is_in_use_within_a_minute_and_a_bad_one_never() {
    let place = Place::new();
    let server = Arc::new(Server::new(place.settings(None)).unwrap());
    let in_use = || Arc::as_ptr(&server.current().config);
    let watching = tokio::spawn(watch(Arc::new([(ANYWHERE, server.clone())])));
    let first = in_use();
    tokio::time::sleep(LOOK * 3).await;
    assert_eq!(in_use(), first, "nothing has changed");
    place.renew();
    tokio::time::sleep(LOOK * 2).await;
    let second = in_use();
    assert_ne!(second, first);
    place.write("cert.pem", "no certificate");
    tokio::time::sleep(LOOK * 2).await;
    fs::remove_file(place.0.path().join("key.pem")).unwrap();
    tokio::time::sleep(LOOK * 2).await;
    assert_eq!(in_use(), second, "what was there before is in use");
    place.renew();
    tokio::time::sleep(LOOK * 2).await;
    assert_ne!(in_use(), second);
    watching.abort();
}

#[test]
fn a_chain_ends_with_the_first_of_its_certificates() {
    let place = Place::new();
    let pem = |year| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        (certificate, key.serialize_pem())
    };
    let (own, key) = pem(2040);
    let (between, _) = pem(2035);
    place.write("key.pem", &key);
    for (chain, expected) in [
        (own.clone(), 2_208_988_800),
        (own + &between, 2_051_222_400),
    ] {
        place.write("cert.pem", &chain);
        let server = Server::new(place.settings(None)).unwrap();
        assert_eq!(
            ends(&[(ANYWHERE, Arc::new(server))]),
            [(ANYWHERE, expected)]
        );
    }
}
