//! A Kafka client of a few lines: one connection, one request at a time, no manners.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use log_proto::kafka::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use log_proto::kafka::{Message, Request, RequestHeader, encode_request, open_response};

use super::Broker;

/// Longer than any answer takes. A test that waits so long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection to the Kafka door.
pub(crate) struct Client(TcpStream);

impl Client {
    pub(crate) fn of(broker: &Broker) -> Self {
        Self::at(&broker.kafka, PATIENCE)
    }

    /// One that waits so long for an answer.
    pub(crate) fn at(address: &str, patience: Duration) -> Self {
        let stream = TcpStream::connect(address).expect("the port is open");
        stream.set_read_timeout(Some(patience)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        // A broker that has hung up already is what some tests are about.
        let _ = self.0.write_all(bytes);
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.send(&frame(version, request));
        self.answer::<R>(version)
    }

    pub(crate) fn answer<R: Request>(&mut self, version: i16) -> R::Response {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).expect("an answer");
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut frame).expect("all of it");
        let (_, mut body) = open_response(R::API_KEY, version, frame.into()).expect("a header");
        R::Response::decode(version, &mut body).expect("the response that was asked for")
    }

    /// Whether the broker hangs up, without a word.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.0.read(&mut [0; 64]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// The connection itself.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.0
    }

    pub(crate) fn create(&mut self, name: &str, num_partitions: i32) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions,
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
        assert_eq!(self.ask(7, &request).topics[0].error_code, 0);
    }
}

/// A request as it goes over the wire.
pub(crate) fn frame<R: Request>(version: i16, request: &R) -> Bytes {
    let header = RequestHeader { api_key: R::API_KEY, version, correlation_id: 1, client_id: None };
    encode_request(&header, request).expect("a request in one of its versions").into_bytes()
}
