//! The broker of Cairn: topics, partitions, coordinators, and the doors to them.
//!
//! ```text
//!      grpc            http            doors: decode, call, encode; no state, no rule
//!        └──────┬───────┘
//!            broker                    finds things; knows no wire type
//!        ┌──────┴────────┐
//!    partition      coordinator        one owner per log; state machines upon internal logs
//!        └──────┬────────┘
//!           log-core                   one partition's log on one disk
//! ```
//!
//! A produce request is one walk down: `grpc::producer` → [`broker::Broker::submit`] →
//! [`partition`]'s queue → `log_core::Log::append`. Its answer comes back by itself: the log moves
//! its offsets, the partition's view wakes who waits, the door encodes.
//!
//! [`server::Server`] puts it all together and is where a program begins:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use log_server::shutdown::Signals;
//! use log_server::{Server, ServerConfig};
//!
//! let mut signals = Signals::listen()?;
//! let server = Server::start(ServerConfig::default()).await?;
//! println!("gRPC on {}", server.grpc_address());
//! server.run_until(signals.next()).await?;
//! # Ok(())
//! # }
//! ```

pub mod broker;
pub mod config;
pub mod data_dir;
pub mod descriptors;
pub mod error;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod housekeeping;
pub mod kafka;
pub mod limits;
pub mod metrics;
pub mod partition;
pub mod principal;
pub mod server;
pub mod shutdown;
pub mod topic_config;
pub mod topic_pattern;
pub mod topics;

mod admission;
mod coordinator;
mod durable_file;
mod grpc;
mod http;
mod parallel;
mod reserve;

pub use config::{ConfigError, ServerConfig, Settings};
pub use server::{Server, StartError};
