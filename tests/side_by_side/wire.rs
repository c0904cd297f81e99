//! A connection to either broker: frames out, frames in, and nothing kept.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use log_proto::kafka::{Message, Request, RequestHeader, encode_request, open_response};

/// Longer than any answer takes. A step that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the requests call their client.
pub(crate) const CLIENT_ID: &str = "side";

const CORRELATION_ID: i32 = 4711;

/// What came of a frame that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A frame, without its length.
    Answer(Bytes),
    /// The broker has hung up.
    Closed,
    /// Nothing at all, for as long as any answer takes.
    Silence,
}

/// One connection, made anew once the broker has ended it.
pub(crate) struct Connection {
    address: String,
    stream: TcpStream,
}

impl Connection {
    pub(crate) fn to(address: &str) -> Self {
        Self { stream: connect(address), address: address.to_owned() }
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.send_raw(&frame(version, request));
    }

    /// A broker that has hung up already shows in what is received.
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a request; `None` if the broker hangs up instead of answering.
    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.send(version, request);
        match self.receive() {
            Outcome::Answer(frame) => Some(decoded::<R>(version, frame)),
            Outcome::Closed => None,
            Outcome::Silence => panic!("{} {version} is not answered", R::API_KEY),
        }
    }

    pub(crate) fn receive(&mut self) -> Outcome {
        match read_frame(&mut self.stream) {
            Ok(frame) => Outcome::Answer(frame),
            Err(error) if is_end(error.kind()) => {
                self.stream = connect(&self.address);
                Outcome::Closed
            }
            Err(error) if is_timeout(error.kind()) => {
                self.stream = connect(&self.address);
                Outcome::Silence
            }
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the broker listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.set_nodelay(true).expect("a socket");
    stream
}

fn is_end(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn read_frame(stream: &mut TcpStream) -> std::io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

/// A request's frame, its length included.
pub(crate) fn frame<R: Request>(version: i16, request: &R) -> Bytes {
    let client_id = Some(CLIENT_ID.into());
    let header =
        RequestHeader { api_key: R::API_KEY, version, correlation_id: CORRELATION_ID, client_id };
    let encoded = encode_request(&header, request);
    encoded.unwrap_or_else(|error| panic!("{} {version}: {error}", R::API_KEY)).into_bytes()
}

/// The response in a frame, which must be the one that was asked for.
pub(crate) fn decoded<R: Request>(version: i16, frame: Bytes) -> R::Response {
    let (correlation_id, mut body) =
        open_response(R::API_KEY, version, frame).expect("a response has a header");
    assert_eq!(correlation_id, CORRELATION_ID, "the answer to another request");
    R::Response::decode(version, &mut body)
        .unwrap_or_else(|error| panic!("{} {version}: {error}", R::API_KEY))
}
