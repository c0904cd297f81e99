//! One HTTP/2 connection to the broker, made when first used and made again when it breaks.
//!
//! The rule: whoever moves bulk data has a connection of its own. Streams of one connection share
//! its flow-control window and its one task, so that a consumer that reads slowly would hold up a
//! producer beside it. Requests that are one message each share a connection.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderValue, header};
use log_proto::{
    codec::Weighed,
    v1::{
        admin_client::AdminClient, consumer_client::ConsumerClient, producer_client::ProducerClient,
    },
    wire::{Carrier, End, Incoming, Outgoing},
};
use prost::Message;
use thiserror::Error;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Code, Response, Status,
    body::Body,
    client::GrpcService,
    transport::{Channel, Endpoint},
};

use crate::error::RequestError;

/// The largest message taken from a broker or sent to one. Far above what a topic takes by
/// default (1 MiB a batch), and still a bound on what one answer can make this client allocate.
pub(crate) const MESSAGE_BYTES_MAX: usize = 128 << 20;

/// How much the broker may have on its way on one stream. HTTP/2's default of 64 KiB stalls a
/// stream on every batch; more than a few megabytes only moves the queue from there to here.
const STREAM_WINDOW_BYTES: u32 = 8 << 20;

/// Larger frames mean fewer headers and fewer wake-ups. A response of the usual largest size comes
/// in one, and so is a slice of what was received instead of a copy.
const FRAME_BYTES: u32 = (1 << 20) + (64 << 10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A silent peer is asked for a sign of life after this long, and given as long again to send it.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Why an address cannot be one of a broker.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{address:?} is no address of a broker: {reason}; write host:port, as in 127.0.0.1:9094")]
pub struct AddressError {
    address: String,
    reason: String,
}

/// Where the broker is and how to talk to it. Cheap to clone; each clone by [`Connection::again`]
/// is a connection of its own.
#[derive(Clone)]
pub(crate) struct Connection {
    endpoint: Endpoint,
    address: Arc<str>,
    /// Made at the first request, since making it needs a running Tokio runtime.
    channel: Arc<OnceLock<Channel>>,
}

impl Connection {
    pub(crate) fn new(address: &str) -> Result<Self, AddressError> {
        let invalid =
            |reason: &str| AddressError { address: address.to_owned(), reason: reason.to_owned() };
        if address.starts_with("https://") {
            return Err(invalid("TLS is not supported"));
        }
        let host_and_port = address.strip_prefix("http://").unwrap_or(address);
        let endpoint = Endpoint::from_shared(format!("http://{host_and_port}"))
            .map_err(|error| invalid(&error.to_string()))?;
        if endpoint.uri().port_u16().is_none() {
            return Err(invalid("it has no port"));
        }
        Ok(Self {
            endpoint: configured(endpoint),
            address: host_and_port.into(),
            channel: Arc::default(),
        })
    }

    /// Another connection to the same broker.
    pub(crate) fn again(&self) -> Self {
        Self { channel: Arc::default(), ..self.clone() }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn producer(&self) -> ProducerClient<Channel> {
        ProducerClient::new(self.channel())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn consumer(&self) -> ConsumerClient<Channel> {
        ConsumerClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Opens a stream of requests to the method at `path` and waits until it is accepted. Batches
    /// are not copied on their way; see [`log_proto::wire`].
    pub(crate) async fn stream<Q, A>(
        &self,
        path: &'static str,
        requests: UnboundedReceiver<Q>,
    ) -> Result<Response<Incoming<A>>, Status>
    where
        Q: Carrier + 'static,
        A: Message + Default + Weighed,
    {
        let requests = UnboundedReceiverStream::new(requests).map(Ok);
        let mut request = http::Request::new(Body::new(Outgoing::new(requests, End::Silent)));
        *request.method_mut() = http::Method::POST;
        *request.version_mut() = http::Version::HTTP_2;
        *request.uri_mut() = http::Uri::from_static(path);
        let headers = request.headers_mut();
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        let failed = |error: tonic::transport::Error| Status::from_error(error.into());
        let mut channel = self.channel();
        poll_fn(|cx| GrpcService::poll_ready(&mut channel, cx)).await.map_err(failed)?;
        let response = GrpcService::call(&mut channel, request).await.map_err(failed)?;
        accepted(&response)?;
        Ok(Response::new(Incoming::new(response.into_body(), MESSAGE_BYTES_MAX)))
    }

    /// Waits for an answer, at most `timeout`.
    pub(crate) async fn answer<T>(
        &self,
        timeout: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RequestError> {
        match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer.map(Response::into_inner).map_err(|status| self.failure(status)),
            Err(_) => {
                Err(RequestError::TimedOut { address: self.address().to_owned(), after: timeout })
            }
        }
    }

    /// What a call or stream over this connection ended with.
    pub(crate) fn failure(&self, status: Status) -> RequestError {
        RequestError::from_status(status, &self.address)
    }

    /// What a stream ended with that the broker closed in good order.
    pub(crate) fn ended(&self) -> RequestError {
        let reason = "the broker closed the stream".to_owned();
        RequestError::ConnectionLost { address: self.address().to_owned(), reason }
    }

    pub(crate) fn bad_answer(&self, detail: impl Into<String>) -> RequestError {
        RequestError::BadAnswer { address: self.address().to_owned(), detail: detail.into() }
    }

    fn channel(&self) -> Channel {
        self.channel.get_or_init(|| self.endpoint.connect_lazy()).clone()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Connection").field(&self.address).finish()
    }
}

/// Whether a response is the beginning of a stream of messages.
fn accepted(response: &http::Response<Body>) -> Result<(), Status> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != Code::Ok => Err(status),
        None if !response.status().is_success() => {
            let message = format!("HTTP status {} instead of a stream", response.status());
            Err(Status::unavailable(message))
        }
        _ => Ok(()),
    }
}

fn configured(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(2 * STREAM_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for address in ["127.0.0.1:9094", "http://localhost:9094", "[::1]:9094"] {
            assert!(Connection::new(address).is_ok(), "{address}");
        }
        for address in ["", "localhost", "https://localhost:9094", "a b:1", "localhost:notaport"] {
            let error = Connection::new(address).unwrap_err().to_string();
            assert!(error.contains("host:port"), "{error}");
        }
    }
}
