//! A forward proxy that only knows `CONNECT`, and leads every emulated name to this process.
//!
//! An unmodified client asks for `login.microsoftonline.com:443` and gets a tunnel to the TLS
//! listener. Names that are not emulated, and vaults that do not exist, are refused with 502 as
//! by a proxy whose name server knows nothing of them: nothing leaves the machine.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::call::{Call, Route};
use crate::clock;
use crate::cloud::Site;
use crate::world::World;

/// The head of a CONNECT request is a few lines.
const HEAD_LIMIT: u64 = 16 * 1024;
/// A client that connects and says nothing must not stay for ever.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// Accepts connections until it is dropped, and drops them then.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let world = Arc::clone(&world);
                    connections.spawn(async move {
                        // An error is the end of the connection, which the client notices.
                        drop(connection(stream, &world).await);
                    });
                }
                Err(_) => tokio::task::yield_now().await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, world: &World) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut client = BufReader::new(stream);
    let head = tokio::time::timeout(HEAD_PATIENCE, read_head(&mut client)).await??;
    let Some(call) = parse(&head) else {
        return client.write_all(&answer(400, "Bad Request")).await;
    };
    let entry = world
        .requests
        .open(clock::round_trip(world.clock.now()), &call);
    if call.method != Method::CONNECT || !is_emulated(world, &call.authority) {
        entry.answered(502);
        entry.finish();
        return client.write_all(&answer(502, "Bad Gateway")).await;
    }
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, world.port)).await?;
    server.set_nodelay(true)?;
    entry.answered(200);
    // What goes through the tunnel is logged by the service it reaches.
    entry.finish();
    client
        .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    tokio::io::copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}

async fn read_head(client: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut head = String::new();
    let mut limited = client.take(HEAD_LIMIT);
    while limited.read_line(&mut head).await? > 0 {
        if head.ends_with("\r\n\r\n") {
            break;
        }
    }
    Ok(head)
}

fn answer(status: u16, phrase: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    )
    .into_bytes()
}

/// The request as the log has it. `None`: not HTTP.
fn parse(head: &str) -> Option<Call> {
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let method = words.next()?.parse().ok()?;
    let target = words.next()?;
    words
        .next()
        .filter(|version| version.starts_with("HTTP/1."))?;
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.parse().ok()?;
        headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(Call {
        method,
        authority: target.to_owned(),
        site: Site::Unknown,
        route: Route::Proxy,
        target: target.to_owned(),
        segments: Vec::new(),
        query: Vec::new(),
        headers,
        body: Bytes::new(),
    })
}

/// Real names on the port of HTTPS, the emulator's own on its own.
fn is_emulated(world: &World, authority: &str) -> bool {
    let Some((host, port)) = authority.rsplit_once(':') else {
        return false;
    };
    let own = world.port.to_string();
    match Site::of(&host.to_ascii_lowercase()) {
        Site::Own => port == own,
        Site::Login(_) | Site::Management(_) => port == "443",
        Site::Vault { name, .. } => world.vaults.contains(&name) && (port == "443" || port == own),
        Site::Unknown => false,
    }
}
