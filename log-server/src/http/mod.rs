//! The HTTP door: is it alive, is it ready, what does it measure.
//!
//! `/healthz` is about the process: it fails when housekeeping has stopped to come round, which no
//! open port would tell. `/readyz` is about traffic: it names what stands in its way. It answers
//! from the first moment on, while the logs are still being opened.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use serde_json::json;
use tokio::net::TcpListener;

use crate::admission::{Admission, Admitted};
use crate::broker::{Broker, Stage};
use crate::housekeeping::Heartbeat;
use crate::topics::PartitionState;

/// Housekeeping comes round each second; a disk may hold it up, but not for so long.
const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(30);

/// A client that has asked nothing for so long connects again when it does.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Names of failed partitions in one answer; more would only be read by machines, which have the
/// metrics.
const FAILED_NAMED_MAX: usize = 20;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the door knows.
#[derive(Clone)]
pub(crate) struct HttpState {
    /// Set once the broker has started.
    pub(crate) broker: Arc<OnceLock<Broker>>,
    pub(crate) heartbeat: Heartbeat,
}

/// Serves until it is aborted.
pub(crate) async fn serve(state: HttpState, listener: TcpListener, admission: Admission) {
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(state);
    if let Err(error) = axum::serve(Door { listener, admission }, router).await {
        tracing::error!(%error, "the HTTP door is closed");
    }
}

struct Door {
    listener: TcpListener,
    admission: Admission,
}

impl Listener for Door {
    type Io = Admitted;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Admitted, SocketAddr) {
        let admitted = self.admission.accept(&self.listener).await;
        let admitted = admitted.silent_for_at_most(SILENCE_MAX);
        let peer = admitted.peer();
        (admitted, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn healthz(State(state): State<HttpState>) -> Response {
    let age = state.heartbeat.age();
    if state.broker.get().is_some() && age > HEARTBEAT_AGE_MAX {
        let age_seconds = age.as_secs();
        let body = json!({ "status": "stuck", "housekeeping_age_seconds": age_seconds });
        return answer(StatusCode::SERVICE_UNAVAILABLE, body);
    }
    answer(StatusCode::OK, json!({ "status": "alive" }))
}

async fn readyz(State(state): State<HttpState>) -> Response {
    let reasons = match state.broker.get() {
        None => vec!["starting".to_owned()],
        Some(broker) if *broker.stage().borrow() == Stage::Stopping => vec!["stopping".to_owned()],
        Some(broker) => failed_partitions(broker),
    };
    if reasons.is_empty() {
        return answer(StatusCode::OK, json!({ "status": "ready" }));
    }
    let body = json!({ "status": "not ready", "reasons": reasons });
    answer(StatusCode::SERVICE_UNAVAILABLE, body)
}

async fn metrics(State(state): State<HttpState>) -> Response {
    let Some(broker) = state.broker.get() else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "starting" }));
    };
    match broker.metrics().encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(error) => {
            let body = json!({ "status": "error", "reason": error.to_string() });
            answer(StatusCode::INTERNAL_SERVER_ERROR, body)
        }
    }
}

fn failed_partitions(broker: &Broker) -> Vec<String> {
    let topics = broker.topics().all();
    let failures = topics.iter().flat_map(|topic| {
        topic.partitions.iter().enumerate().filter_map(|(number, state)| {
            let reason = match state {
                PartitionState::Failed(reason) => reason.clone(),
                PartitionState::Serving(partition) => partition.failure()?,
            };
            Some(format!("{}-{number}: {reason}", topic.name))
        })
    });
    failures.take(FAILED_NAMED_MAX).collect()
}

fn answer(status: StatusCode, body: serde_json::Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (status, content_type, format!("{body}\n")).into_response()
}
