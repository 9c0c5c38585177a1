//! A syslog server that does what a test wants: takes what comes, closes every connection, or
//! does not read.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::{daemon::until, trail::assert_chain};

/// What the server does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Takes,
    /// Whoever is connected, and its port.
    Closes,
    DoesNotRead,
}

/// A server on a port of its own. Dropping it closes everything.
pub(crate) struct Collector {
    pub(crate) port: u16,
    manner: watch::Sender<Manner>,
    /// What it does by now.
    does: watch::Receiver<Manner>,
    messages: Messages,
    serving: AbortHandle,
}

type Messages = Arc<Mutex<Vec<String>>>;

/// A port that nobody listens on, until somebody does.
#[derive(Debug)]
pub(crate) struct Port(TcpSocket);

impl Port {
    pub(crate) fn new() -> Self {
        Self(bound(0))
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn listen(&self) -> TcpListener {
        bound(self.number()).listen(16).unwrap()
    }
}

/// More than one socket can have the port, so that it stays ours while none of them listens.
fn bound(port: u16) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    // The less there is between here and there, the sooner a server that does not read is noticed.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(([127, 0, 0, 1], port).into()).unwrap();
    socket
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::at(Port::new(), None)
    }

    pub(crate) fn at(port: Port, tls: Option<TlsAcceptor>) -> Self {
        let number = port.number();
        let (manner, wanted) = watch::channel(Manner::Takes);
        let (doing, does) = watch::channel(Manner::Takes);
        let messages = Messages::default();
        let listener = port.listen();
        let serving = serve(port, listener, tls, wanted, doing, messages.clone());
        Self {
            port: number,
            manner,
            does,
            messages,
            serving: tokio::spawn(serving).abort_handle(),
        }
    }

    /// With a certificate for localhost by a CA of its own, whose certificate is given, too.
    pub(crate) fn tls() -> (Self, String) {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        (Self::at(Port::new(), Some(acceptor)), ca_pem)
    }

    /// Returns when all connections are closed and new ones are treated as wanted.
    pub(crate) async fn now(&self, manner: Manner) {
        self.manner.send_replace(manner);
        let mut does = self.does.clone();
        let in_effect = does.wait_for(|does| *does == manner);
        drop(in_effect.await.unwrap());
    }

    /// All that came so far.
    pub(crate) fn messages(&self) -> Vec<String> {
        self.messages.lock().unwrap().clone()
    }

    /// The records that came, once each, in order; they have to be one chain.
    pub(crate) fn records(&self) -> Vec<Value> {
        let messages = self.messages();
        let mut records: Vec<String> = Vec::new();
        for message in &messages {
            let record = record(message);
            if !records.iter().any(|known| known == record) {
                records.push(record.to_owned());
            }
        }
        assert_chain(&records)
    }

    /// Waits for a message.
    pub(crate) async fn gets(&self, part: &str) {
        let what = format!("a message with {part}");
        until(&what, || {
            self.messages().iter().any(|message| message.contains(part))
        })
        .await;
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// The record in a message.
pub(crate) fn record(message: &str) -> &str {
    message.split_once("] ").unwrap().1
}

async fn serve(
    port: Port,
    mut listener: TcpListener,
    tls: Option<TlsAcceptor>,
    mut wanted: watch::Receiver<Manner>,
    doing: watch::Sender<Manner>,
    messages: Messages,
) {
    loop {
        let manner = *wanted.borrow_and_update();
        doing.send_replace(manner);
        let mut connections = JoinSet::new();
        let accepting = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, messages) = (tls.clone(), messages.clone());
                connections.spawn(async move {
                    if manner == Manner::DoesNotRead {
                        std::future::pending::<()>().await;
                    }
                    take(stream, tls, messages).await;
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
        drop(listener);
        connections.shutdown().await;
        if *wanted.borrow() == Manner::Closes {
            doing.send_replace(wanted.borrow_and_update().to_owned());
            if wanted.changed().await.is_err() {
                return;
            }
        }
        listener = port.listen();
    }
}

async fn take(stream: TcpStream, tls: Option<TlsAcceptor>, messages: Messages) {
    match tls {
        Some(tls) => {
            if let Ok(stream) = tls.accept(stream).await {
                read(stream, messages).await;
            }
        }
        None => read(stream, messages).await,
    }
}

/// Octet counting: the length in digits, a space, the message.
async fn read(stream: impl AsyncRead + Unpin, messages: Messages) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            match stream.read_u8().await {
                Ok(b' ') => break,
                Ok(digit) => length = length * 10 + usize::from(digit - b'0'),
                Err(_) => return,
            }
        }
        let mut message = vec![0; length];
        if stream.read_exact(&mut message).await.is_err() {
            return;
        }
        let message = String::from_utf8(message).unwrap();
        messages.lock().unwrap().push(message);
    }
}
