//! An older client and a newer daemon: requests in the bytes that the first client put on the wire,
//! answered in its terms, and fields that nobody knows yet. The bytes are written and read here, by
//! the numbers that the contract had at first (`proto/tests/contract.rs` holds it to them), and by
//! no generated code, so that changing a number shows.

use std::{collections::BTreeMap, fs, time::Duration};

use http_body_util::{BodyExt as _, Full};
use tonic::{
    body::Body,
    codegen::{Service as _, http},
};

use crate::{call::Caller, stage::Stage};

/// The first client's fields.
const ID_TOKEN: u64 = 1;
const SECRETS: u64 = 2;
const AZURE_KEY_VAULT: u64 = 10;
const NAME: u64 = 1;
/// Of a map's entry.
const KEY: u64 = 1;
const VALUE: u64 = 2;
/// Of the answer.
const LEASE_ID: u64 = 1;
const EXPIRE_TIME: u64 = 2;
const VARIABLES: u64 = 3;
const FILE: u64 = 1;
const PATH: u64 = 2;
const VERSION: u64 = 4;
/// What a client of some later day may add.
const LATER: u64 = 1000;

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

/// A field of type string, bytes or message.
fn field(number: u64, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let length = u64::try_from(content.len()).unwrap();
    [varint(number << 3 | 2), varint(length), content.to_vec()].concat()
}

/// The fields of a message: of those that are numbers, the number's last byte.
fn fields(mut message: &[u8]) -> BTreeMap<u64, Vec<u8>> {
    let mut fields = BTreeMap::new();
    while !message.is_empty() {
        let key = read_varint(&mut message);
        let content = match key & 7 {
            0 => vec![u8::try_from(read_varint(&mut message) & 0xff).unwrap()],
            2 => {
                let length = usize::try_from(read_varint(&mut message)).unwrap();
                let (content, rest) = message.split_at(length);
                message = rest;
                content.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        fields.insert(key >> 3, content);
    }
    fields
}

fn read_varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for at in 0.. {
        let (byte, rest) = message.split_first().unwrap();
        *message = rest;
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

/// Calls a method as gRPC does: the status, and the answer's bytes.
async fn call(caller: &Caller, method: &str, message: &[u8]) -> (String, Vec<u8>) {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0], &length[..], message].concat();
    let uri = format!("http://localhost/runner_secrets.v1.SecretsProvider/{method}");
    let request = http::Request::post(uri).header("content-type", "application/grpc");
    let request = request.header("te", "trailers");
    let request = request.body(Body::new(Full::from(framed))).unwrap();
    let answer = caller.connection().call(request);
    let answer = tokio::time::timeout(Duration::from_secs(60), answer).await;
    let answer = answer.unwrap().unwrap();
    let head = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.unwrap();
    let trailers = body.trailers().and_then(|t| t.get("grpc-status").cloned());
    let status = head.or(trailers).unwrap().to_str().unwrap().to_owned();
    let bytes = body.to_bytes();
    (status, bytes.get(5..).unwrap_or_default().to_vec())
}

/// A request for one secret as a file.
fn request(token: &str, secret: &str, more: &[u8]) -> Vec<u8> {
    let source = field(AZURE_KEY_VAULT, field(NAME, secret));
    let secret = [source, more.to_vec()].concat();
    let entry = [field(KEY, "DB_PASSWORD"), field(VALUE, secret)].concat();
    [field(ID_TOKEN, token), field(SECRETS, entry), more.to_vec()].concat()
}

#[tokio::test]
async fn the_first_clients_bytes_are_answered_in_its_terms() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let token = stage.token();
    // As the first client did, and with fields that a later one may add.
    for more in [Vec::new(), field(LATER, "of a later day")] {
        let message = request(&token, "db-password", &more);
        let (status, answer) = call(&caller, "Resolve", &message).await;
        assert_eq!(status, "0");
        let answer = fields(&answer);
        assert!(answer.contains_key(&EXPIRE_TIME));
        let entry = fields(&answer[&VARIABLES]);
        assert_eq!(entry[&KEY], b"DB_PASSWORD");
        let variable = fields(&entry[&VALUE]);
        assert_eq!(variable[&FILE], [1]);
        assert_eq!(variable[&VERSION].len(), 32);
        let path = String::from_utf8(variable[&PATH].clone()).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"correct horse battery staple");

        let release = [field(1, &answer[&LEASE_ID]), field(2, &token), more].concat();
        let (status, answer) = call(&caller, "Release", &release).await;
        assert_eq!((status.as_str(), answer.len()), ("0", 0));
        assert!(!fs::exists(path).unwrap());
    }
    let (status, _) = call(&caller, "Resolve", &request(&token, "missing", &[])).await;
    assert_eq!(status, "5");
}

/// A method of a later client is refused as gRPC says, and costs the connection nothing.
#[tokio::test]
async fn a_method_that_nobody_knows_is_said_to_be_unimplemented() {
    let stage = Stage::new().await;
    let caller = stage.caller().await;
    let (status, _) = call(&caller, "Renew", &field(1, "x")).await;
    assert_eq!(status, "12");
    let (status, _) = call(
        &caller,
        "Resolve",
        &request(&stage.token(), "db-password", &[]),
    )
    .await;
    assert_eq!(status, "0");
}
