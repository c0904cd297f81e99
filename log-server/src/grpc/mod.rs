//! The gRPC door: `cairn.v1` with health and reflection, over HTTP/2.
//!
//! The rule: a door decodes, asks the broker and encodes; it holds no state beyond a stream and no
//! rule. Limits are set before anything is allocated on a stranger's word: a message that declares
//! more than `grpc.request.bytes.max` is refused by its length alone.

mod admin;
mod consumer;
mod convert;
mod delivery;
mod error;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod groups;
mod half;
mod join;
mod producer;
mod pump;
mod streams;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use axum::middleware::{map_request, map_response};
use log_proto::v1::admin_server::AdminServer;
use log_proto::v1::consumer_server::ConsumerServer;
use log_proto::v1::producer_server::ProducerServer;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_stream::{Stream, StreamExt};
use tonic::service::{InterceptorLayer, Routes};
use tonic::transport::Server;
use tonic::{Request, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::admission::{Admission, Admitted};
use crate::broker::Broker;
use crate::limits;
use crate::principal::Principal;

/// What one stream may have on its way to us before it waits. Several batches of the usual largest
/// size, so that a producer always has one on its way while we look at another: with room for one,
/// it takes a third longer. A stranger gets it with every stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The same for all streams of one connection. So much more, because the transport ends a
/// connection once the frames under 256 bytes that wait to be read lack, together, half of this to
/// 256 bytes each: at 32 times, one stream full of the smallest requests is slowed down instead.
const CONNECTION_WINDOW_BYTES: u32 = 32 * STREAM_WINDOW_BYTES;

/// A batch of the usual largest size comes in one frame, and so is a slice of what was received
/// instead of a copy. Larger ones would let one stream hold up the others.
const FRAME_BYTES_MAX: u32 = (1 << 20) + (64 << 10);

/// What a thread may keep of the memory of requests that are done.
const BUFFERS_KEPT_BYTES: usize = 16 << 20;

/// Streams of one connection. A client of ours needs a few; none needs thousands.
const STREAMS_MAX: u32 = 1024;

/// A peer that has been silent for so long is asked whether it is still there, and has so long to
/// answer. It frees what a client that lost its network would hold for ever; the partitions of a
/// member of a group go to others no later than if it had to send heartbeats itself. Not sooner,
/// because the answer has to wait behind everything that is on its way to a slow peer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// A peer that has not begun is not asked, and one that has begun answers before this is over.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const _: () =
    assert!(SILENCE_MAX.as_secs() > KEEPALIVE_INTERVAL.as_secs() + KEEPALIVE_TIMEOUT.as_secs());

/// Serves until the broker stops, then until every call has ended.
pub(crate) async fn serve(
    broker: Broker,
    listener: TcpListener,
    admission: Admission,
) -> Result<(), tonic::transport::Error> {
    keep_buffers();
    let mut stage = broker.stage();
    let (health, health_service) = tonic_health::server::health_reporter();
    report_all(&health, ServingStatus::Serving).await;
    let stopping = async move {
        Broker::stopping(&mut stage).await;
        report_all(&health, ServingStatus::NotServing).await;
    };
    let routes = routes(broker).add_service(health_service);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .layer(InterceptorLayer::new(attach_principal))
        .add_routes(routes)
        .serve_with_incoming_shutdown(Box::pin(incoming(listener, admission)), stopping)
        .await
}

fn incoming(
    listener: TcpListener,
    admission: Admission,
) -> impl Stream<Item = Result<Admitted, Infallible>> {
    futures_util::stream::unfold((listener, admission), |(listener, admission)| async {
        let admitted = admission.accept(&listener).await.without_delay();
        let admitted = admitted.silent_for_at_most(SILENCE_MAX);
        Some((Ok(admitted), (listener, admission)))
    })
}

/// Tells the allocator which sizes come and go here. The GNU one gives free memory back to the
/// system beyond twice the largest buffer that it has seen freed, and after small ones it would do
/// so with each batch, only to take fresh pages for the next: a third of what a batch cost. This
/// buffer is never touched and takes no memory; other allocators make nothing of it.
fn keep_buffers() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BUFFERS_KEPT_BYTES / 2)));
}

/// The services, each with the bound on what it takes. What it sends is bounded by what is read.
fn routes(broker: Broker) -> Routes {
    let request_bytes_max = broker.config().request_bytes_max;
    let control_bytes_max = request_bytes_max.min(limits::CONTROL_REQUEST_BYTES_MAX);
    let room = Arc::new(Semaphore::new(broker.config().request_memory_bytes_max));
    let counted = move |request: axum::extract::Request| {
        let room = Arc::clone(&room);
        async move { request.map(|body| Body::new(half::Halves::of(body, room))) }
    };
    let producer = producer::ProducerService::new(broker.clone());
    let consumer = consumer::ConsumerService::new(broker.clone());
    let bytes_max = (request_bytes_max, control_bytes_max);
    let streams = streams::routes(producer.clone(), consumer.clone(), bytes_max);
    let producer = ProducerServer::new(producer).max_decoding_message_size(request_bytes_max);
    let consumer = ConsumerServer::new(consumer).max_decoding_message_size(control_bytes_max);
    let admin = AdminServer::new(admin::AdminService::new(broker))
        .max_decoding_message_size(control_bytes_max);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(log_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are those that the services were generated from");
    let routes = Routes::new(reflection);
    let routes = routes.add_service(producer).add_service(consumer).add_service(admin);
    let routes = routes.into_axum_router().merge(streams).layer(map_request(counted));
    routes.layer(map_response(explain)).into()
}

/// A call of one message that the transport has refused never reaches its service; here its status
/// passes by.
async fn explain(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => error::explained(status).into_http(),
        _ => response,
    }
}

async fn report_all(health: &HealthReporter, status: ServingStatus) {
    for service in ["", "cairn.v1.Producer", "cairn.v1.Consumer", "cairn.v1.Admin"] {
        health.set_service_status(service, status).await;
    }
}

/// Says who is asking. Until something authenticates, that is anonymous.
fn attach_principal(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.extensions_mut().insert(Principal::Anonymous);
    Ok(request)
}

/// What a peer sends on a stream.
type Requests<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send + Sync>>;

/// Takes in what a peer still sends on a stream that has been answered for good. A connection that
/// is closed while its peer is writing is reset, and what the peer has not read yet is lost with
/// it: acknowledgements, and the reason for the end.
async fn hear_out<T>(mut requests: Requests<T>) {
    while let Some(Ok(_)) = requests.next().await {}
}

/// Where the peer is.
fn host_of<T>(request: &Request<T>) -> String {
    let address = request.remote_addr();
    address.map(|address| address.ip().to_canonical().to_string()).unwrap_or_default()
}

/// Who is asking.
fn principal_of<T>(request: &Request<T>) -> Principal {
    request.extensions().get().copied().unwrap_or(Principal::Anonymous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::group_members::GroupSettings;

    /// Goal: a member whose machine has died loses its partitions within its session.
    #[test]
    fn a_dead_peer_is_found_out_within_a_session() {
        let session_timeout = GroupSettings::default().consumer_session_timeout;
        assert!(KEEPALIVE_INTERVAL + KEEPALIVE_TIMEOUT < session_timeout);
    }
}
