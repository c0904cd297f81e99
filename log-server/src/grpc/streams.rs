//! The two streams that carry batches, past the usual codec: see [`log_proto::wire`].
//!
//! The rule: only the bytes of messages are handled here. What a call means stays in its service;
//! every other call of it goes the usual way.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Response, header};
use axum::routing::post;
use log_proto::codec::Weighed;
use log_proto::wire::{Carrier, End, Incoming, Outgoing};
use prost::Message;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::Requests;
use super::consumer::ConsumerService;
use super::producer::ProducerService;

/// Takes the two streams; a route by its whole name goes before the one of its service. A request
/// has at most so many bytes as the limits say, the first for producers.
pub(super) fn routes(
    producer: ProducerService,
    consumer: ConsumerService,
    (request_bytes_max, control_bytes_max): (usize, usize),
) -> Router {
    let produce = move |request: Request| async move {
        streaming(producer.open(requests(request, request_bytes_max)))
    };
    let consume = move |request: Request| async move {
        match consumer.open(requests(request, control_bytes_max)).await {
            Ok(responses) => streaming(responses),
            Err(status) => status.into_http(),
        }
    };
    Router::new()
        .route("/cairn.v1.Producer/ProduceStream", post(produce))
        .route("/cairn.v1.Consumer/Consume", post(consume))
}

fn requests<M>(request: Request, bytes_max: usize) -> tonic::Request<Requests<M>>
where
    M: Message + Default + Weighed + 'static,
{
    let incoming = |body| Incoming::new(tonic::body::Body::new(body), bytes_max);
    tonic::Request::from_http(request.map(|body| Box::pin(incoming(body)) as Requests<M>))
}

fn streaming<M>(messages: ReceiverStream<Result<M, Status>>) -> Response<Body>
where
    M: Carrier + 'static,
{
    let mut response = Response::new(Body::new(Outgoing::new(messages, End::Status)));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
