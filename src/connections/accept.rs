//! Where connections come from, and who is at their other end: a process on a socket, or a caller
//! over the network with TLS.

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use tokio::{
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    time::sleep,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::X509Name,
};

use crate::{
    caller::{Principal, Remote},
    socket::Peer,
    tls::Server,
};

/// What to accept on.
#[derive(Debug)]
pub(crate) enum Listener {
    /// A socket.
    Local(UnixListener),
    /// An address, and what is spoken there first.
    Remote(TcpListener, Arc<Server>),
}

/// A connection that nobody has asked anything over.
pub(super) enum Accepted {
    Local(UnixStream),
    Remote(Coming),
}

/// A connection over the network, before TLS.
pub(super) struct Coming {
    stream: TcpStream,
    address: IpAddr,
    acceptor: TlsAcceptor,
}

/// A connection as its requests know it.
#[derive(Clone, Debug)]
pub(crate) struct Connected {
    /// Who is at the other end.
    pub(crate) party: Party,
    /// A number that no other connection has.
    pub(crate) id: u64,
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) enum Party {
    /// A process of this host.
    Process(Peer),
    /// Somebody on the network.
    Remote(Remote),
}

impl Party {
    /// Whom its requests count against.
    pub(crate) fn principal(&self) -> Principal {
        match self {
            Self::Process(peer) => Principal::User(peer.uid),
            Self::Remote(remote) => Principal::Remote(remote.clone()),
        }
    }
}

impl Listener {
    /// The next connection. Failing to accept, as without free file descriptors, passes.
    pub(super) async fn accept(&self) -> Accepted {
        // Long enough not to spin, short enough that nobody notices.
        const PAUSE: Duration = Duration::from_millis(100);
        loop {
            let accepted = match self {
                Self::Local(listener) => {
                    let accepted = listener.accept().await;
                    accepted.map(|(stream, _)| Accepted::Local(stream))
                }
                Self::Remote(listener, tls) => listener.accept().await.map(|(stream, from)| {
                    Accepted::Remote(Coming {
                        stream,
                        address: from.ip(),
                        acceptor: tls.acceptor(),
                    })
                }),
            };
            match accepted {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Accepted {
    /// Whose connection it is, as far as that can be told without waiting.
    pub(super) fn principal(&self) -> Option<Principal> {
        match self {
            Self::Local(stream) => stream
                .peer_cred()
                .ok()
                .map(|peer| Principal::User(peer.uid())),
            Self::Remote(coming) => Some(Principal::Remote(Remote::at(coming.address))),
        }
    }
}

/// The process at the other end.
pub(super) fn process(stream: &UnixStream) -> Option<Party> {
    let peer = Peer::of(stream);
    let peer = peer.inspect_err(|error| tracing::warn!(%error, "a caller cannot be told"));
    peer.ok().map(Party::Process)
}

impl Coming {
    /// Begins TLS. Whoever does not speak it, speaks something else inside, or has not the certificate
    /// that is wanted gets no further.
    pub(super) async fn shake(self) -> Option<(TlsStream<TcpStream>, Party)> {
        // Without it, the end of an answer could wait for an acknowledgement.
        drop(self.stream.set_nodelay(true));
        let mut remote = Remote::at(self.address);
        let address = remote.address;
        let stream = match self.acceptor.accept(self.stream).await {
            Ok(stream) => stream,
            Err(error) => {
                // Anybody can cause it, as often as they like.
                tracing::debug!(%address, %error, "no TLS with a caller");
                return None;
            }
        };
        let (_, session) = stream.get_ref();
        // RFC 9113 §3.2: over TLS, HTTP/2 is agreed upon by its name.
        if session.alpn_protocol() != Some(b"h2") {
            tracing::debug!(%address, "a caller does not speak HTTP/2");
            return None;
        }
        let presented = session.peer_certificates().and_then(<[_]>::first);
        remote.certificate = presented.map(named);
        Some((stream, Party::Remote(remote)))
    }
}

/// Whom a certificate names: its subject; where it has none, as those of SPIFFE, its first alternative
/// name; and otherwise its own SHA-256. An authority of the operator's has signed it.
fn named(certificate: &CertificateDer<'_>) -> String {
    /// Longer than any name that somebody wants to read, and it is in every record.
    const LONGEST: usize = 256;
    let parsed = X509Certificate::from_der(certificate).ok();
    let parsed = parsed.as_ref().map(|(_, certificate)| certificate);
    let name = parsed
        .and_then(|certificate| subject(certificate.subject()))
        .or_else(|| parsed.and_then(alternative))
        .unwrap_or_else(|| {
            let hash = digest::digest(&digest::SHA256, certificate);
            let digits = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
            format!("sha256:{}", digits.collect::<String>())
        });
    name.chars().take(LONGEST).collect()
}

fn subject(subject: &X509Name<'_>) -> Option<String> {
    let mut parts = subject.iter().peekable();
    parts.peek()?;
    Some(subject.to_string())
}

fn alternative(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = certificate.subject_alternative_name().ok()??;
    let mut names = names.value.general_names.iter();
    names.find_map(|name| match name {
        GeneralName::URI(name) => Some(format!("URI:{name}")),
        GeneralName::DNSName(name) => Some(format!("DNS:{name}")),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
