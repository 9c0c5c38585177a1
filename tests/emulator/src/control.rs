//! The control API: how a test, or a person with curl, changes the emulated world.
//!
//! It has a port of its own, so that nothing a client under test does can reach it by accident.

use std::convert::Infallible;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::error::Error;
use crate::faults;
use crate::reply::{Body, Reply};
use crate::server::{ACCEPT_PAUSE, BODY_LIMIT};
use crate::world::World;

/// Accepts connections until it is dropped, and drops them then.
pub(crate) async fn serve(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&world)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, world: Arc<World>) {
    let service = service_fn(move |request| handle(Arc::clone(&world), request));
    // An error is the end of the connection, which the client notices.
    drop(
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await,
    );
}

async fn handle(
    world: Arc<World>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, BODY_LIMIT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(problem(413, "the body is too large").send(None)),
    };
    let path = head.uri.path().trim_start_matches('/').to_owned();
    let segments: Vec<&str> = path.split('/').collect();
    let answer = answer(&world, head.method.as_str(), &segments, &body);
    let reply = match answer {
        Ok(Some(answer)) => Reply::json(200, &answer),
        Ok(None) => problem(404, &format!("there is no {} /{path}", head.method)),
        Err(error) => {
            let status = if matches!(error, Error::Missing(_)) {
                404
            } else {
                400
            };
            problem(status, &error.to_string())
        }
    };
    Ok(reply.send(None))
}

fn problem(status: u16, error: &str) -> Reply {
    Reply::json(status, &json!({"error": error}))
}

/// `None`: there is no such call.
fn answer(
    world: &World,
    method: &str,
    segments: &[&str],
    body: &[u8],
) -> Result<Option<Value>, Error> {
    Ok(Some(match (method, segments) {
        ("POST", ["id-tokens"]) => {
            let wanted = optional(body)?;
            json!({"token": world.issuer.id_token(&wanted, &world.clock)?})
        }
        ("PUT", ["secrets", vault, name]) => {
            let now = world.clock.unix();
            let stored = world.vaults.put(vault, name, required(body)?, now);
            json!({"id": stored.id, "version": stored.version})
        }
        ("GET", ["faults", "kinds"]) => faults::kinds(),
        ("POST", ["keys", "rotate"]) => {
            let Rotation { keep } = optional(body)?;
            json!({"kid": world.issuer.rotate(keep)?})
        }
        ("GET", ["requests"]) => json!(world.requests.all()),
        ("GET", ["requests", "active"]) => json!(world.requests.active()),
        ("GET", ["connections"]) => json!(world.requests.connections()),
        _ => return Ok(change(world, method, segments, body)?.map(|()| json!({}))),
    }))
}

/// The calls that have nothing to say.
fn change(
    world: &World,
    method: &str,
    segments: &[&str],
    body: &[u8],
) -> Result<Option<()>, Error> {
    match (method, segments) {
        ("DELETE", ["secrets", vault, name]) => {
            world.vaults.delete(vault, name, world.clock.unix())?;
        }
        ("PUT", ["federated-credentials"]) => {
            world.directory.set_federated_credentials(required(body)?);
        }
        ("PUT", ["permissions"]) => world.directory.set_permissions(required(body)?),
        ("POST", ["faults"]) => world.faults.add(&required(body)?)?,
        ("DELETE", ["faults"]) => world.faults.clear(),
        ("PUT", ["clock"]) => {
            let Shift { offset_seconds } = required(body)?;
            world.clock.shift(offset_seconds);
        }
        ("DELETE", ["requests"]) => world.requests.clear(),
        ("DELETE", ["connections"]) => world.requests.close_connections(),
        _ => return Ok(None),
    }
    Ok(Some(()))
}

/// `POST /keys/rotate`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Rotation {
    /// Leave the old key published.
    keep: bool,
}

/// `PUT /clock`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shift {
    offset_seconds: i64,
}

fn required<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(Error::Body)
}

fn optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, Error> {
    if body.is_empty() {
        return Ok(T::default());
    }
    required(body)
}
