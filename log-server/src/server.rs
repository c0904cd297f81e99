//! Wire, run, stop.
//!
//! The rule: a broker that cannot serve says so before it touches anything: the doors are bound
//! first, the folder locked next, and only then logs are opened. A stop goes the same way back,
//! within a bound; see [`Broker::finish_stop`].

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use log_core::io::Disk;
use log_core::{Committer, FlushPolicy, SystemClock};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::admission::Admission;
use crate::broker::{Broker, StartupError};
use crate::config::ServerConfig;
use crate::housekeeping::{Heartbeat, keep_house, retire_segments};
use crate::http::HttpState;
use crate::partition::PartitionParts;
use crate::{descriptors, grpc, http, kafka};

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A door cannot listen where it should.
    #[error("cannot listen on {address} ({source}): set {setting} to a free address")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Which setting says so.
        setting: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The broker does not start.
    #[error(transparent)]
    Broker(#[from] StartupError),
}

/// Why a server did not run to a clean end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gRPC door closed by itself.
    #[error("the gRPC door is closed: {0}")]
    Grpc(String),
}

/// A broker with its doors open. Dropped without [`Server::stop`], it stops as in a crash.
pub struct Server {
    broker: Broker,
    kafka_addresses: Vec<(String, SocketAddr)>,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    kafka: JoinSet<()>,
    grpc: JoinHandle<Result<(), tonic::transport::Error>>,
    background: JoinSet<()>,
}

impl Server {
    /// Binds the doors, opens what the folder holds, serves. Needs a tokio runtime.
    pub async fn start(config: ServerConfig) -> Result<Self, StartError> {
        let grpc_listener = listen(config.grpc_listen, "grpc.listen").await?;
        let clients = Admission::of(descriptors::clients_max());
        let kafka_doors = kafka_doors(&config, &clients).await?;
        let http_listener = listen(config.http_listen, "http.listen").await?;
        let grpc_address = grpc_listener.local_addr().unwrap_or(config.grpc_listen);
        let http_address = http_listener.local_addr().unwrap_or(config.http_listen);
        let kafka_addresses = kafka_doors.iter().map(|(name, address, _)| (name.clone(), *address));
        let kafka_addresses = kafka_addresses.collect();
        let heartbeat = Heartbeat::new();
        let started = Arc::new(OnceLock::new());
        let mut background = JoinSet::new();
        let state = HttpState { broker: Arc::clone(&started), heartbeat: heartbeat.clone() };
        let observers = Admission::of(descriptors::observers_max());
        background.spawn(http::serve(state, http_listener, observers));
        let parts = PartitionParts {
            storage: Arc::new(Disk),
            clock: Arc::new(SystemClock),
            committer: Committer::start(config.committer_threads),
            pressure: Arc::default(),
            room: Arc::default(),
        };
        let broker = Broker::start(config, parts).await?;
        background.spawn(keep_house(broker.clone(), heartbeat));
        background.spawn(retire_segments(broker.clone()));
        let grpc = tokio::spawn(grpc::serve(broker.clone(), grpc_listener, clients));
        let mut kafka = JoinSet::new();
        for (_, _, door) in kafka_doors {
            kafka.spawn(kafka::serve(broker.clone(), door));
        }
        // Nobody else sets it.
        let _ = started.set(broker.clone());
        Ok(Self { broker, kafka_addresses, grpc_address, http_address, kafka, grpc, background })
    }

    /// The broker behind the doors.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// Where the Kafka door listens, with the listeners' names.
    pub fn kafka_addresses(&self) -> &[(String, SocketAddr)] {
        &self.kafka_addresses
    }

    /// Where the gRPC door listens.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Where the HTTP door listens.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where the data is.
    pub fn data_dir(&self) -> &Path {
        self.broker.data_dir().path()
    }

    /// What an acknowledged record survives, in a sentence.
    pub fn durability(&self) -> &'static str {
        match self.broker.default_flush() {
            FlushPolicy::EveryAppend => {
                "acks=all is answered when the records are synced to the disk: they survive power \
                 loss; acks=1 when they are appended: they survive the death of the process"
            }
            FlushPolicy::Lazy { .. } => {
                "records are answered when they are appended: they survive the death of the \
                 process, and power loss may take the last ones; set log.flush.interval.messages \
                 to 1 for more"
            }
        }
    }

    /// Serves until `signal` completes, then stops cleanly.
    pub async fn run_until(mut self, signal: impl Future<Output = ()>) -> Result<(), RunError> {
        tokio::select! {
            () = signal => {}
            ended = &mut self.grpc => {
                let reason = match ended {
                    Ok(Ok(())) => "nothing more to serve".to_owned(),
                    Ok(Err(error)) => error.to_string(),
                    Err(fault) => fault.to_string(),
                };
                self.stop().await;
                return Err(RunError::Grpc(reason));
            }
        }
        self.stop().await;
        Ok(())
    }

    /// A clean stop: takes nothing new, answers what is under way, closes every log.
    pub async fn stop(mut self) {
        tracing::info!("stopping");
        self.broker.begin_stop();
        let timeout = self.broker.config().shutdown_timeout;
        let doors = async {
            if !self.grpc.is_finished() {
                let _ = (&mut self.grpc).await;
            }
            while self.kafka.join_next().await.is_some() {}
        };
        if tokio::time::timeout(timeout, doors).await.is_err() {
            tracing::warn!(?timeout, "calls are still open: closing the logs under them");
        }
        self.grpc.abort();
        self.kafka.abort_all();
        self.background.abort_all();
        self.broker.blocking(Broker::finish_stop).await;
        tracing::info!("stopped");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.grpc.abort();
    }
}

/// Binds every listener of the Kafka door.
async fn kafka_doors(
    config: &ServerConfig,
    clients: &Admission,
) -> Result<Vec<(String, SocketAddr, kafka::Door)>, StartError> {
    let shared = kafka::Shared::new(config.max_connections, clients.clone());
    let mut doors = Vec::new();
    for listener in &config.kafka_listeners {
        let bound = listen(listener.address, "kafka.listeners").await?;
        let address = bound.local_addr().unwrap_or(listener.address);
        let advertised = listener.advertised.clone();
        let door = kafka::Door { listener: bound, advertised, shared: shared.clone() };
        doors.push((listener.name.clone(), address, door));
    }
    Ok(doors)
}

async fn listen(address: SocketAddr, setting: &'static str) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    let bound = bound.map_err(|source| StartError::Listen { address, setting, source })?;
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "{setting} is not a loopback address: anybody who can reach it can read, write and \
             delete everything, because nothing is authenticated yet"
        );
    }
    Ok(bound)
}
