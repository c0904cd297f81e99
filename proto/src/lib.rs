//! The contract of Cairn: what its crates, its clients and its files have in common. No I/O.
//!
//! - [`types`]: the vocabulary, one type for each number that must not be mistaken for another.
//! - [`record`]: the record batch codec, Kafka's format v2 (magic 2), byte for byte.
//! - [`partitioner`]: which partition a key belongs to, as Kafka's default partitioner decides.
//! - `v1` (feature `grpc`): the gRPC services generated from `cairn/v1/*.proto`.
//! - `wire` (feature `grpc`): their messages on the streams that carry batches.
//! - `kafka` (feature `kafka`): the Kafka protocol's messages, generated from `kafka/*.table`.
//!
//! The rule: nothing here reads a file, a socket or a clock, and nothing here panics or allocates
//! on the word of bytes that a stranger wrote. The batch codec lives here rather than in the log,
//! because the broker and the client need it too.

#[cfg(feature = "grpc")]
pub mod codec;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod partitioner;
pub mod record;
pub mod types;
#[cfg(feature = "grpc")]
pub mod wire;

#[cfg(feature = "grpc")]
pub use grpc::{FILE_DESCRIPTOR_SET, v1};
