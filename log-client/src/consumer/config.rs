//! A consumer's settings.

use std::{sync::Arc, time::Duration};

use log_proto::{
    types::{Offset, TimestampMs},
    v1,
};
use thiserror::Error;

use super::Consumer;
use crate::connection::Connection;

/// How many bytes of records may be on their way to a consumer, unless it says otherwise.
pub(super) const CREDIT_BYTES: u64 = 8 << 20;

/// Where reading of a partition starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the first record that there is.
    Earliest,
    /// Behind the last record: only what comes from now on.
    Latest,
    /// At an offset, which must lie within the log.
    Offset(Offset),
    /// At the first record stamped at or after this time; at the end if there is none.
    Timestamp(TimestampMs),
    /// Where a group committed.
    Committed {
        /// The group.
        group: Arc<str>,
        /// Where to start while it has committed nothing.
        otherwise: Edge,
    },
}

/// An end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Edge {
    /// The first record that there is.
    #[default]
    Earliest,
    /// Behind the last record.
    Latest,
}

/// Which records are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything that is durable, also of transactions that are open or were aborted.
    #[default]
    ReadUncommitted,
    /// Only what is committed: up to the first open transaction, without aborted ones.
    ReadCommitted,
}

impl Isolation {
    pub(super) fn to_wire(self) -> v1::Isolation {
        match self {
            Self::ReadUncommitted => v1::Isolation::ReadUncommitted,
            Self::ReadCommitted => v1::Isolation::ReadCommitted,
        }
    }
}

/// Why a consumer cannot be made with these settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConsumerConfigError {
    /// Nothing to read.
    #[error("no partition to read: name a topic or a partition")]
    NoPartitions,
    /// Nothing for a member of a group to read.
    #[error("no topic to read: name at least one, or give a pattern")]
    NoTopics,
    /// Without credit the broker sends nothing.
    #[error("credit_bytes must be at least 1")]
    NoCredit,
}

/// What to read, by name.
#[derive(Clone, Debug)]
pub(super) enum Selection {
    Topic { topic: Arc<str>, start: StartAt },
    Partition { topic: Arc<str>, partition: u32, start: StartAt },
}

#[derive(Clone, Debug)]
pub(super) struct ConsumerConfig {
    pub(super) selections: Vec<Selection>,
    pub(super) isolation: Isolation,
    pub(super) credit_bytes: u64,
    pub(super) response_bytes_max: u32,
    pub(super) reconnect_timeout: Option<Duration>,
}

/// Makes a [`Consumer`].
///
/// ```no_run
/// use log_client::{Client, Isolation, StartAt};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let consumer = Client::new("127.0.0.1:9094")?
///     .consumer()
///     .partition("orders", 0, StartAt::Earliest)
///     .partition("orders", 3, StartAt::Latest)
///     .isolation(Isolation::ReadCommitted)
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ConsumerBuilder {
    connection: Connection,
    config: ConsumerConfig,
}

impl ConsumerBuilder {
    pub(crate) fn new(connection: Connection) -> Self {
        let config = ConsumerConfig {
            selections: Vec::new(),
            isolation: Isolation::default(),
            credit_bytes: CREDIT_BYTES,
            response_bytes_max: 0,
            reconnect_timeout: None,
        };
        Self { connection, config }
    }

    /// Reads every partition that `topic` has when reading starts.
    pub fn topic(mut self, topic: impl Into<Arc<str>>, start: StartAt) -> Self {
        self.config.selections.push(Selection::Topic { topic: topic.into(), start });
        self
    }

    /// Reads one partition. Each may be named once.
    pub fn partition(mut self, topic: impl Into<Arc<str>>, partition: u32, start: StartAt) -> Self {
        let topic = topic.into();
        self.config.selections.push(Selection::Partition { topic, partition, start });
        self
    }

    /// Which records are seen. Default [`Isolation::ReadUncommitted`], as in Kafka's clients.
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.config.isolation = isolation;
        self
    }

    /// How many bytes of records may be on their way, or here and not yet consumed. Default 8 MiB.
    pub fn credit_bytes(mut self, bytes: u64) -> Self {
        self.config.credit_bytes = bytes;
        self
    }

    /// How large the broker is to make its responses, in bytes. Default: the broker's choice. A
    /// single larger batch is sent whole.
    pub fn response_bytes_max(mut self, bytes: u32) -> Self {
        self.config.response_bytes_max = bytes;
        self
    }

    /// How long to go on trying to reach a broker that is away. Default: for ever.
    pub fn reconnect_timeout(mut self, timeout: Duration) -> Self {
        self.config.reconnect_timeout = Some(timeout);
        self
    }

    /// The consumer. It connects when the first record is asked for.
    pub fn build(self) -> Result<Consumer, ConsumerConfigError> {
        if self.config.selections.is_empty() {
            return Err(ConsumerConfigError::NoPartitions);
        }
        if self.config.credit_bytes == 0 {
            return Err(ConsumerConfigError::NoCredit);
        }
        Ok(Consumer::new(self.connection, self.config))
    }
}
