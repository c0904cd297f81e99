//! What strangers send to this door: see [`crate::fuzz`]. HTTP/2 itself is left to its crate.

use std::convert::Infallible;
use std::sync::LazyLock;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use prost::Message;
use prost_types::FileDescriptorSet;
use tokio_stream::StreamExt;
use tonic::codegen::Service;
use tonic::service::Routes;

use super::routes;
use crate::fuzz::{assert_in_proportion, at_a_broker, next_part, soon};

/// What can be called, as in `/cairn.v1.Producer/Produce`.
pub(crate) static METHODS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = FileDescriptorSet::decode(log_proto::FILE_DESCRIPTOR_SET);
    let files = files.expect("the descriptors that the services were generated from").file;
    let services = files.iter().flat_map(|file| {
        file.service.iter().map(move |service| format!("/{}.{}", file.package(), service.name()))
    });
    let methods = files.iter().flat_map(|file| &file.service).map(|service| &service.method);
    services
        .zip(methods)
        .flat_map(|(service, methods)| {
            methods.iter().map(move |method| format!("{service}/{}", method.name()))
        })
        .collect()
});

/// Calls on one connection, each behind its length: a byte that says which method, then the body
/// of the call, messages behind their prefixes.
pub(crate) fn requests(bytes: &[u8]) {
    at_a_broker(async |broker| {
        let mut routes = routes(broker);
        let mut bytes = bytes;
        while let Some(call) = next_part(&mut bytes) {
            let Some((method, body)) = call.split_first() else { continue };
            let method = &METHODS[usize::from(*method) % METHODS.len()];
            // Who listens to a stream until it ends waits for ever.
            soon(exchange(&mut routes, method, body)).await;
        }
    });
}

async fn exchange(routes: &mut Routes, method: &str, body: &[u8]) {
    let request = Request::post(format!("http://cairn.example{method}"))
        .header("content-type", "application/grpc")
        .body(in_frames(body))
        .expect("a sound request");
    let answer = routes.call(request).await.expect("every call is answered");
    assert!(answer.status().is_success(), "{method}: {}", answer.status());
    let mut answered = 0;
    let mut frames = Body::new(answer.into_body()).into_data_stream();
    while let Some(frame) = frames.next().await {
        answered += frame.expect("an answer ends with a status").len();
    }
    // Records are what a consumer gives credit for.
    if !method.ends_with("/Consume") {
        assert_in_proportion(method, body.len(), answered);
    }
}

/// The body in two parts, so that messages lie in one of them or in both.
fn in_frames(body: &[u8]) -> Body {
    let (first, second) = body.split_at(body.len() / 2);
    let frames = [first, second].map(|frame| Ok::<_, Infallible>(Bytes::copy_from_slice(frame)));
    Body::from_stream(tokio_stream::iter(frames))
}
