//! A producer's settings.
//!
//! The rule: a producer made without touching any of them keeps the promises: acknowledged means
//! as durable as the topic says, retries store nothing twice and keep the order.

use std::time::Duration;

use log_proto::record::Compression;
use thiserror::Error;

use super::Producer;
use crate::connection::Connection;

/// When the broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Acks {
    /// When the record is as durable as the topic's `flush.messages` promises: by default, synced.
    #[default]
    All,
    /// When the record is appended, whatever the topic promises.
    Leader,
    /// Never: a record counts as delivered once it is handed to the connection. Nothing is sent
    /// twice, and what a broken connection takes with it is lost without notice.
    None,
}

/// Whether the broker can tell a retry from a new record (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Idempotence {
    /// Each record is stored once, in the order of sending, however often it is sent.
    #[default]
    Enabled,
    /// A record whose acknowledgement was lost is stored again. One batch per partition is in
    /// flight at a time, so that the order holds all the same.
    Disabled,
}

/// Why a producer cannot be made with these settings.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProducerConfigError {
    /// The buffer could never hold a full batch.
    #[error(
        "buffer of {buffer_bytes} bytes is smaller than a batch of {batch_bytes}: raise buffer_bytes or lower batch_bytes"
    )]
    BufferTooSmall {
        /// The buffer's bound in bytes.
        buffer_bytes: usize,
        /// The size of a batch in bytes.
        batch_bytes: usize,
    },
    /// A limit of 0 would stop everything.
    #[error("{setting} must be at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
}

/// How far back a broker recognises duplicates, and so how many batches may be in doubt at once.
pub(super) const IN_FLIGHT_MAX: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct ProducerConfig {
    pub(super) linger: Duration,
    pub(super) batch_bytes: usize,
    pub(super) batch_records: u32,
    pub(super) buffer_bytes: usize,
    pub(super) compression: Compression,
    pub(super) acks: Acks,
    pub(super) idempotence: Idempotence,
    pub(super) delivery_timeout: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            linger: Duration::from_millis(5),
            batch_bytes: 256 << 10,
            batch_records: u32::MAX,
            buffer_bytes: 32 << 20,
            compression: Compression::None,
            acks: Acks::All,
            idempotence: Idempotence::Enabled,
            delivery_timeout: Duration::from_secs(120),
        }
    }
}

impl ProducerConfig {
    fn validate(&self) -> Result<(), ProducerConfigError> {
        if self.batch_bytes == 0 {
            return Err(ProducerConfigError::Zero { setting: "batch_bytes" });
        }
        if self.batch_records == 0 {
            return Err(ProducerConfigError::Zero { setting: "batch_records" });
        }
        if self.buffer_bytes < self.batch_bytes {
            let (buffer_bytes, batch_bytes) = (self.buffer_bytes, self.batch_bytes);
            return Err(ProducerConfigError::BufferTooSmall { buffer_bytes, batch_bytes });
        }
        Ok(())
    }

    /// Whether batches carry a producer id. What is never answered is never retried.
    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotence == Idempotence::Enabled && self.acks != Acks::None
    }

    /// How many batches of one partition may be unanswered.
    pub(super) fn in_flight_max(&self) -> usize {
        if self.is_idempotent() { IN_FLIGHT_MAX } else { 1 }
    }
}

/// Makes a [`Producer`].
///
/// ```no_run
/// use std::time::Duration;
///
/// use log_client::{Client, Compression};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Client::new("127.0.0.1:9094")?
///     .producer()
///     .compression(Compression::Zstd)
///     .linger(Duration::from_millis(20))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProducerBuilder {
    connection: Connection,
    config: ProducerConfig,
}

impl ProducerBuilder {
    pub(crate) fn new(connection: Connection) -> Self {
        Self { connection, config: ProducerConfig::default() }
    }

    /// How long a batch that is not full waits for more records. Default 5 ms, as in Kafka's
    /// clients; at 0 a record goes as soon as fewer than five batches of its partition are on
    /// their way, which still makes batches under load.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// How large a batch grows, in bytes before compression. Default 256 KiB, a quarter of what a
    /// topic takes by default. A larger record makes a batch of its own.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.config.batch_bytes = bytes;
        self
    }

    /// How many records a batch takes. Default: as many as fit its bytes.
    pub fn batch_records(mut self, records: u32) -> Self {
        self.config.batch_records = records;
        self
    }

    /// How many bytes of records may wait for their acknowledgement, in all. Default 32 MiB. Past
    /// it [`Producer::send`] waits.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// How batches are compressed. Default: not.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// When the broker answers. Default [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// Whether retries are recognised. Default [`Idempotence::Enabled`].
    pub fn idempotence(mut self, idempotence: Idempotence) -> Self {
        self.config.idempotence = idempotence;
        self
    }

    /// How long a record may take from [`Producer::send`] to its acknowledgement, retries
    /// included. Default 2 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// The producer. It connects when the first record is sent.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime, on which its task is to run.
    pub fn build(self) -> Result<Producer, ProducerConfigError> {
        self.config.validate()?;
        Ok(Producer::start(self.connection, self.config))
    }
}
