//! An answer, and the ways in which a body can go wrong on purpose.
//!
//! The body carries the request's entry in the log: only when its last byte was handed over is a
//! request counted as answered, and a client that leaves earlier is recorded as such.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Response;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior};

use crate::requests::InFlight;

/// An answer before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) ending: Ending,
}

/// How the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As announced.
    Whole,
    /// With the connection, half way.
    Truncated,
    /// Never: one byte of white space at a time.
    Drip(Duration),
}

impl Reply {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Self {
            status,
            headers,
            body: body.into(),
            ending: Ending::Whole,
        }
    }

    pub(crate) fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json; charset=utf-8", body.to_string())
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            ending: Ending::Whole,
        }
    }

    /// Sets a header. What cannot be one (a test may ask for anything) is left out.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::try_from(name);
        let value = HeaderValue::from_str(value);
        if let (Ok(name), Ok(value)) = (name, value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The answer on its way; `in_flight` ends with it.
    pub(crate) fn send(self, in_flight: Option<InFlight>) -> Response<Body> {
        let mut headers = self.headers;
        let content = match self.ending {
            Ending::Whole => Content::Whole(Some(self.body)),
            Ending::Truncated => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(self.body.len()));
                let half = self.body.slice(..self.body.len() / 2);
                Content::Truncated(Cut::First(half))
            }
            Ending::Drip(every) => {
                let mut interval = tokio::time::interval(every.max(Duration::from_millis(1)));
                interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Content::Drip(interval)
            }
        };
        let mut body = Body { content, in_flight };
        body.finish_if_sent();
        let mut response = Response::new(body);
        // A status that HTTP cannot express is a test's typing error; 500 shows it.
        *response.status_mut() = hyper::StatusCode::from_u16(self.status)
            .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = headers;
        response
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(crate) struct Body {
    content: Content,
    in_flight: Option<InFlight>,
}

#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    Truncated(Cut),
    Drip(Interval),
}

/// The stages of a truncated body: the pause lets what was written leave before the connection
/// goes down.
#[derive(Debug)]
enum Cut {
    First(Bytes),
    Pause,
    Last,
}

/// The connection is to be dropped in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("the body is cut off on purpose")]
pub(crate) struct CutOff;

impl Body {
    fn finish_if_sent(&mut self) {
        let sent = match &self.content {
            Content::Whole(rest) => rest.as_ref().is_none_or(Bytes::is_empty),
            Content::Truncated(stage) => matches!(stage, Cut::Last),
            Content::Drip(_) => false,
        };
        if sent && let Some(in_flight) = self.in_flight.take() {
            in_flight.finish();
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let next = match &mut self.content {
            Content::Whole(rest) => {
                let rest = rest.take().filter(|bytes| !bytes.is_empty());
                Poll::Ready(rest.map(|bytes| Ok(Frame::data(bytes))))
            }
            Content::Truncated(stage) => match std::mem::replace(stage, Cut::Last) {
                Cut::First(half) => {
                    *stage = Cut::Pause;
                    Poll::Ready(Some(Ok(Frame::data(half))))
                }
                Cut::Pause => {
                    context.waker().wake_by_ref();
                    Poll::Pending
                }
                Cut::Last => Poll::Ready(Some(Err(CutOff))),
            },
            Content::Drip(interval) => interval
                .poll_tick(context)
                .map(|_| Some(Ok(Frame::data(Bytes::from_static(b" "))))),
        };
        self.finish_if_sent();
        next
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.content, Content::Whole(rest) if rest.as_ref().is_none_or(Bytes::is_empty))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(rest) => {
                SizeHint::with_exact(rest.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::Truncated(_) | Content::Drip(_) => SizeHint::default(),
        }
    }
}
