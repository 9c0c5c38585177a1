//! What passes through without end: artifacts, and another protocol after an upgrade.

use http_body_util::{BodyExt as _, StreamBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::{CONNECTION, LOCATION, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Body, World, full, said};

/// Counts what is uploaded, without keeping it; sends back as many bytes as are asked for.
pub(super) async fn artifacts(world: &World, request: Request<Incoming>) -> Response<Body> {
    if request.method() == Method::POST {
        let mut body = request.into_body();
        let mut count = 0;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            count += length;
            *world.uploaded.lock().unwrap() += length;
        }
        return said(StatusCode::CREATED, &count.to_string());
    }
    let query = request.uri().query().unwrap_or_default();
    if query == "direct_download=true" {
        return Response::builder()
            .status(StatusCode::FOUND)
            .header(LOCATION, "https://objects.invalid/a?signature=b%2Fc")
            .body(full(Bytes::new()))
            .unwrap();
    }
    let pieces: u64 = query.parse().unwrap_or(1);
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let frames = (0..pieces).map(move |_| Ok(Frame::data(piece.clone())));
    let frames = futures_util::stream::iter(frames);
    Response::new(StreamBody::new(frames).boxed_unsync())
}

/// The size of what a download comes in.
pub(crate) const PIECE: usize = 64 * 1024;

/// Becomes another protocol, in which every byte comes back.
pub(super) fn echo_for_ever(mut request: Request<Incoming>) -> Response<Body> {
    let protocol = request.headers()[UPGRADE].clone();
    let upgrading = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrading.await else {
            return;
        };
        let mut io = TokioIo::new(upgraded);
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = io.read(&mut buffer).await {
            if io.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, protocol)
        .body(full(Bytes::new()))
        .unwrap()
}
