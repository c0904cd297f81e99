//! What strangers send to this door: see [`crate::fuzz`].

use std::sync::Arc;

use bytes::Bytes;
use log_proto::kafka::messages::visit_request;
use log_proto::kafka::{
    ApiKey, DecodeReason, HeaderError, Message, Reader, Request, RequestFrame, RequestHeader,
    RequestVisitor, Rope, encode_request, open_response,
};

use super::connection::{Frame, Handled};
use super::fetch_sessions::FetchSessions;
use super::router::route;
use super::{Advertised, Context};
use crate::broker::Broker;
use crate::fuzz::{assert_in_proportion, at_a_broker, next_part, soon};
use crate::principal::Principal;

/// What a request may take in memory for each byte of its frame. Of arrays that lie in each other
/// each costs a byte for an element at least, and an element some hundred bytes in memory.
const MEMORY_BYTES_PER_BYTE: usize = 512;

/// A frame without its length, of any API and version, also of those that are not served. What is
/// read of it takes memory in proportion, and is written and read again as the same.
pub(crate) fn decoding(bytes: &[u8]) {
    let budget = bytes.len() * MEMORY_BYTES_PER_BYTE;
    let frame = Reader::with_budget(Bytes::copy_from_slice(bytes), budget);
    match RequestFrame::open_reader(frame) {
        Ok(RequestFrame { header, body }) => visit_request(header.api_key, Read { header, body }),
        Err(error) => drop(error.to_string()),
    }
}

struct Read {
    header: RequestHeader,
    body: Reader,
}

impl RequestVisitor for Read {
    type Output = ();

    fn visit<R: Request>(mut self) {
        let request = match R::decode(self.header.version, &mut self.body) {
            Ok(request) => request,
            Err(error) => {
                let in_proportion = !matches!(error.reason(), DecodeReason::OverBudget { .. });
                assert!(in_proportion, "{error}");
                return;
            }
        };
        let written = encode_request(&self.header, &request).expect("what was read is written");
        let frame = written.into_bytes().slice(4..);
        let RequestFrame { header, mut body } = RequestFrame::open(frame).expect("as before");
        let again = R::decode(header.version, &mut body).expect("as before");
        assert_eq!((again, header, body.remaining()), (request, self.header, 0));
    }
}

/// What one client sends on its connection: frames, each behind its length. What they are answered
/// is what they have asked for, and as much as is due to them.
pub(crate) fn requests(bytes: &[u8]) {
    at_a_broker(async |broker| serve(broker, bytes).await);
}

async fn serve(broker: Broker, mut bytes: &[u8]) {
    let mut context = Context {
        broker,
        principal: Principal::Anonymous,
        advertised: Advertised { host: "cairn.example".into(), port: 9092 },
        fetch_sessions: FetchSessions::new(),
        client_host: Arc::from("10.0.0.1"),
        client_id: None,
    };
    while let Some(frame) = next_part(&mut bytes) {
        let frame = Bytes::copy_from_slice(frame);
        let Some(answered) = soon(answer(&mut context, frame.clone())).await else { continue };
        match answered {
            Answered::Closed => return,
            Answered::Silence => {}
            Answered::With(rope) => check(frame, rope),
        }
    }
}

enum Answered {
    With(Rope),
    Silence,
    Closed,
}

async fn answer(context: &mut Context, bytes: Bytes) -> Answered {
    let Ok(routed) = route(context, Frame { bytes, memory: None }) else {
        return Answered::Closed;
    };
    match routed.handling.await {
        Ok(Handled::Answer(rope)) => Answered::With(rope),
        Ok(Handled::Later(coming)) => Answered::With(coming.await.expect("an answer")),
        Ok(Handled::Silence) => Answered::Silence,
        Err(closed) => {
            drop(closed.to_string());
            Answered::Closed
        }
    }
}

fn check(frame: Bytes, rope: Rope) {
    let request_bytes = frame.len();
    let header = match RequestFrame::open(frame) {
        Ok(request) => request.header,
        Err(HeaderError::UnsupportedVersion { header }) => RequestHeader { version: 0, ..header },
        Err(error) => panic!("answered: {error}"),
    };
    // Records are what a fetch asks for by their size.
    if header.api_key != ApiKey::Fetch {
        assert_in_proportion(header.api_key.name(), request_bytes, rope.len());
    }
    let frame = rope.into_bytes().slice(4..);
    visit_request(header.api_key, Expected { header, frame });
}

struct Expected {
    header: RequestHeader,
    frame: Bytes,
}

impl RequestVisitor for Expected {
    type Output = ();

    fn visit<R: Request>(self) {
        let Self { header, frame } = self;
        let opened = open_response(R::API_KEY, header.version, frame).expect("a header");
        let (correlation_id, mut body) = opened;
        assert_eq!(correlation_id, header.correlation_id);
        R::Response::decode(header.version, &mut body).expect("the response that was asked for");
        assert_eq!(body.remaining(), 0, "{}: more than a response", header.api_key);
    }
}
