//! The Rust client of Cairn: producer, consumer and admin over gRPC.
//!
//! Everything starts at a [`Client`], which knows where the broker is and connects when there is
//! something to say.
//!
//! ```no_run
//! use log_client::{Client, NewTopic, ProducerRecord, StartAt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("127.0.0.1:9094")?;
//! client.admin().create_topic(NewTopic::new("orders").partitions(8)).await?;
//!
//! let producer = client.producer().build()?;
//! let delivery = producer.send(ProducerRecord::new("orders").value("a lamp")).await?;
//! println!("stored: {:?}", delivery.await?);
//!
//! let mut consumer = client.consumer().topic("orders", StartAt::Earliest).build()?;
//! while let Some(record) = consumer.next().await {
//!     println!("{:?}", record?.value);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - [`Producer`]: batches, compresses, retries; idempotent unless told otherwise.
//! - [`Consumer`]: reads partitions from where it is told, with a bound on what is on its way.
//! - [`GroupConsumer`]: reads the partitions that its group gives it, and commits how far it is.
//! - [`Admin`]: topics, their configs and offsets; groups, their members and lag.
//!
//! The rule: nothing is retried that could happen twice, and no error leaves open whether
//! something happened without saying so. Everything runs on the caller's Tokio runtime; only a
//! producer has a task of its own.

mod admin;
mod client;
mod connection;
mod consumer;
mod error;
#[cfg(test)]
mod fake;
mod groups;
mod metadata;
mod offsets;
mod producer;
mod record;
mod retry;

pub use admin::{
    Admin, BrokerDescription, ConfigEntry, ConfigSource, NewTopic, OffsetSpec,
    PartitionDescription, PartitionOffset, TopicDescription, TopicOwner, TopicSummary, Validation,
};
pub use client::Client;
pub use connection::AddressError;
pub use consumer::{
    AssignedPartition, Assignor, AutoCommit, CommitError, CommitTicket, ConsumeError, Consumer,
    ConsumerBatch, ConsumerBuilder, ConsumerConfigError, ConsumerRecords, Edge, Event,
    GroupConsumer, GroupConsumerBuilder, GroupEvent, Isolation, StartAt, WithoutCommit,
};
pub use error::{BrokerError, ErrorCode, RequestError};
pub use groups::{
    DeletedGroupOffset, GroupDescription, GroupKind, GroupMember, GroupPartition, GroupState,
    GroupSummary, TopicPartitions,
};
pub use log_proto::{
    record::{Compression, Header},
    types,
};
pub use offsets::GroupOffset;
pub use producer::{
    Acks, AppendKind, BatchDelivery, BatchMetadata, Delivery, DeliveryError, Durability, Fate,
    FlushError, Idempotence, Producer, ProducerBuilder, ProducerConfigError, ProducerStats,
    RecordMetadata, SendError,
};
pub use record::{ConsumerRecord, ProducerRecord};
