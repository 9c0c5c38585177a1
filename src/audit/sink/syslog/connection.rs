//! Connections to a syslog server: every wait on one has an end.

use std::{
    fmt,
    io::{self, Read as _, Write},
    net::{TcpStream, ToSocketAddrs as _},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rustix::io::Errno;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};

use crate::config::{
    self,
    audit::{Authority, Server},
};

/// How to get to the server.
#[derive(Debug)]
pub(super) struct Way {
    to: To,
    timeout: Duration,
}

#[derive(Debug)]
enum To {
    Local(PathBuf),
    Tcp(Authority),
    Tls(Authority, ServerName<'static>, Arc<ClientConfig>),
}

pub(super) enum Connection {
    Local(UnixDatagram),
    Stream(Box<dyn Stream>),
}

/// A connection that bytes are written to in order.
pub(super) trait Stream: Write + Send {
    /// Takes what the other side has sent; an error where it has closed.
    fn drain(&mut self) -> io::Result<()>;
}

impl Way {
    pub(super) fn new(settings: &config::audit::Syslog, timeout: Duration) -> io::Result<Self> {
        let to = match &settings.server {
            Server::Local(path) => To::Local(path.clone()),
            Server::Tcp(authority) => To::Tcp(authority.clone()),
            Server::Tls(authority) => {
                let name =
                    ServerName::try_from(authority.host.clone()).map_err(io::Error::other)?;
                let ca = settings.ca.as_ref().map(|ca| ca.pem.as_slice());
                To::Tls(authority.clone(), name, Arc::new(tls(ca)?))
            }
        };
        Ok(Self { to, timeout })
    }

    /// The longest that one wait takes.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn connect(&self) -> io::Result<Connection> {
        Ok(match &self.to {
            To::Local(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(self.timeout))?;
                Connection::Local(socket)
            }
            To::Tcp(authority) => Connection::Stream(Box::new(self.tcp(authority)?)),
            To::Tls(authority, name, config) => {
                let mut tcp = self.tcp(authority)?;
                let session = ClientConnection::new(config.clone(), name.clone());
                let mut session = session.map_err(io::Error::other)?;
                // So that a certificate that is not trusted is told before anything is sent.
                session.complete_io(&mut tcp)?;
                Connection::Stream(Box::new(StreamOwned::new(session, tcp)))
            }
        })
    }

    fn tcp(&self, authority: &Authority) -> io::Result<TcpStream> {
        let mut refused = io::Error::other("its name has no address");
        for address in (authority.host.as_str(), authority.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(tcp) => {
                    tcp.set_nodelay(true)?;
                    tcp.set_read_timeout(Some(self.timeout))?;
                    tcp.set_write_timeout(Some(self.timeout))?;
                    // Otherwise the system tries for a quarter of an hour to reach a server that
                    // is gone, and takes all that is written to it.
                    let timeout = u32::try_from(self.timeout.as_millis()).unwrap_or(u32::MAX);
                    rustix::net::sockopt::set_tcp_user_timeout(&tcp, timeout)?;
                    return Ok(tcp);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

impl Connection {
    pub(super) fn send(&mut self, messages: &[Vec<u8>]) -> io::Result<()> {
        match self {
            Self::Local(socket) => messages
                .iter()
                .try_for_each(|message| send_datagram(socket, message)),
            Self::Stream(stream) => {
                let mut bytes = Vec::new();
                for message in messages {
                    write!(bytes, "{} ", message.len())?;
                    bytes.extend_from_slice(message);
                }
                stream.write_all(&bytes)?;
                stream.flush()
            }
        }
    }

    /// Whether the server has not closed it.
    pub(super) fn is_open(&mut self) -> bool {
        match self {
            Self::Local(_) => true,
            Self::Stream(stream) => stream.drain().is_ok(),
        }
    }
}

/// Sends one record. One that is too long for the system is left out: no other would ever be sent
/// after it.
fn send_datagram(socket: &UnixDatagram, message: &[u8]) -> io::Result<()> {
    match socket.send(message) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
            let bytes = message.len();
            tracing::warn!(bytes, "a record is too long for the local syslog socket");
            Ok(())
        }
        sent => sent.map(drop),
    }
}

impl Stream for TcpStream {
    fn drain(&mut self) -> io::Result<()> {
        let mut buffer = [0; 256];
        without_waiting(self, |tcp| tcp.read(&mut buffer))
    }
}

impl Stream for StreamOwned<ClientConnection, TcpStream> {
    fn drain(&mut self) -> io::Result<()> {
        let Self { conn, sock } = self;
        without_waiting(sock, |tcp| {
            let read = conn.read_tls(tcp)?;
            let state = conn.process_new_packets().map_err(io::Error::other)?;
            Ok(if state.peer_has_closed() { 0 } else { read })
        })
    }
}

/// Reads until there is nothing left for now. Nothing at all is the end.
fn without_waiting(
    tcp: &mut TcpStream,
    mut read: impl FnMut(&mut TcpStream) -> io::Result<usize>,
) -> io::Result<()> {
    tcp.set_nonblocking(true)?;
    let ended = loop {
        match read(tcp) {
            Ok(0) => break Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    tcp.set_nonblocking(false)?;
    ended
}

/// TLS with the certificates in `pem`, or with the system's.
fn tls(pem: Option<&[u8]>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match pem {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
            }
        }
        None => {
            let (_, _) =
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local(_) => "Local",
            Self::Stream(_) => "Stream",
        })
    }
}
