//! Producing: records in, acknowledgements out.
//!
//! ```text
//! send ─▶ room for its bytes? ─▶ accumulator ─▶ sender ─▶ lane of its partition ─▶ stream
//!          (else wait)           (batches)      (one task)     (order, retries)
//! ```
//!
//! The rule: what [`Producer::send`] has taken ends in exactly one of two ways, acknowledged or
//! failed, and a failure says whether the record may be in the log. There is no way to send and
//! not know: a delivery that is dropped is counted, and the next flush tells.

mod accumulator;
mod completion;
mod config;
mod error;
mod lane;
mod link;
mod partitioner;
mod sender;
mod stats;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use log_proto::{
    record::{BatchBuilder, BatchOptions, BuildError},
    types::TimestampMs,
};
use tokio::sync::SemaphorePermit;

use self::{
    accumulator::{Accumulator, Rejected, push_record},
    config::ProducerConfig,
    sender::Sender,
    stats::Stats,
};
pub use self::{
    completion::{AppendKind, BatchDelivery, BatchMetadata, Delivery, Durability, RecordMetadata},
    config::{Acks, Idempotence, ProducerBuilder, ProducerConfigError},
    error::{DeliveryError, Fate, FlushError, SendError},
    stats::ProducerStats,
};
use crate::{
    connection::{Connection, MESSAGE_BYTES_MAX},
    metadata,
    record::{ProducerRecord, RecordSize},
};

/// Room that a message needs around its records: batch header, topic name, field tags.
const MESSAGE_OVERHEAD: usize = 1024;

/// Sends records to a broker, in batches, in the background. Cheap to clone; all clones share one
/// buffer, one connection and one producer id.
///
/// Records of one partition are stored in the order in which [`Producer::send`] took them, each
/// once, through broken connections and restarts of the broker, until the delivery timeout. The
/// exception: a record that failed leaves a gap, and what was sent after it is stored all the
/// same. Who cannot have that stops at the first failure.
///
/// ```no_run
/// use log_client::{Client, ProducerRecord};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Client::new("127.0.0.1:9094")?.producer().build()?;
/// let record = ProducerRecord::new("orders").key("customer-17").value("a lamp");
/// let delivery = producer.send(record).await?;
/// let stored = delivery.await?;
/// println!("partition {}, offset {:?}", stored.partition, stored.offset);
/// producer.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    connection: Connection,
    config: ProducerConfig,
    accumulator: Arc<Accumulator>,
    stats: Arc<Stats>,
}

/// The task finishes what was taken and ends.
impl Drop for Handle {
    fn drop(&mut self) {
        self.accumulator.close();
    }
}

impl Producer {
    fn start(connection: Connection, config: ProducerConfig) -> Self {
        let accumulator = Arc::new(Accumulator::new(config.clone()));
        let stats = Arc::new(Stats::default());
        let sender = Sender::new(
            connection.again(),
            config.clone(),
            Arc::clone(&accumulator),
            Arc::clone(&stats),
        );
        tokio::spawn(sender.run());
        Self { handle: Arc::new(Handle { connection, config, accumulator, stats }) }
    }

    /// Hands over a record. Waits while the buffer is full, and for a first look at a topic that
    /// this producer has not met; the future that it returns waits for the acknowledgement.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, SendError> {
        let size = record.size();
        let permit = self.reserve(size.encoded).await?;
        let timestamp = record.timestamp.unwrap_or_else(now);
        loop {
            match self.handle.accumulator.append(&record, timestamp, size) {
                Ok(delivery) => {
                    // The batch gives it back.
                    permit.forget();
                    return Ok(delivery);
                }
                Err(Rejected::UnknownTopic) => self.learn(&record.topic).await?,
                Err(Rejected::For(error)) => return Err(error),
            }
        }
    }

    /// Hands over records as one batch for one partition, whatever their `topic` and `partition`
    /// say; `batch_bytes` and `linger` do not apply to it. For loads that come in batches anyway.
    pub async fn send_batch(
        &self,
        topic: impl Into<Arc<str>>,
        partition: u32,
        records: &[ProducerRecord],
    ) -> Result<BatchDelivery, SendError> {
        let topic = topic.into();
        let size: RecordSize = records.iter().map(ProducerRecord::size).sum();
        let permit = self.reserve(size.encoded).await?;
        loop {
            let builder = self.encode(records, size)?;
            match self.handle.accumulator.append_batch(&topic, partition, builder, size) {
                Ok(delivery) => {
                    permit.forget();
                    return Ok(delivery);
                }
                Err(Rejected::UnknownTopic) => self.learn(&topic).await?,
                Err(Rejected::For(error)) => return Err(error),
            }
        }
    }

    /// Sends what is buffered without lingering and waits until all of it is acknowledged or has
    /// failed. Tells of every record that failed since the last flush.
    pub async fn flush(&self) -> Result<(), FlushError> {
        self.handle.accumulator.flush().await;
        self.handle.stats.take_failures()
    }

    /// Waits until records have failed, and tells of those that did since they were last told of,
    /// here or by [`Producer::flush`]. For who awaits no record on its own and will not wait for
    /// the end either. Nothing is lost when the future is dropped.
    pub async fn failure(&self) -> FlushError {
        self.handle.stats.failure().await
    }

    /// Takes no more records, from any clone, and finishes those that it has, as
    /// [`Producer::flush`] does. A producer that is dropped instead finishes them in the
    /// background, for as long as the runtime lives.
    pub async fn close(&self) -> Result<(), FlushError> {
        self.handle.accumulator.close();
        self.flush().await
    }

    /// What became of the records so far.
    pub fn stats(&self) -> ProducerStats {
        self.handle.stats.snapshot()
    }

    /// Takes `size` bytes of the buffer, waiting for them if need be.
    async fn reserve(&self, size: usize) -> Result<SemaphorePermit<'_>, SendError> {
        let max = self.handle.config.buffer_bytes.min(MESSAGE_BYTES_MAX - MESSAGE_OVERHEAD);
        let permits = u32::try_from(size)
            .ok()
            .filter(|_| size <= max)
            .ok_or(SendError::TooLarge { size, max })?;
        let room = self.handle.accumulator.room();
        match room.try_acquire_many(permits) {
            Ok(permit) => Ok(permit),
            Err(_) => Ok(room.acquire_many(permits).await.expect("the semaphore is never closed")),
        }
    }

    async fn learn(&self, topic: &Arc<str>) -> Result<(), SendError> {
        let Handle { connection, config, accumulator, .. } = &*self.handle;
        let partitions = metadata::partition_count(connection, topic, config.delivery_timeout)
            .await
            .map_err(|error| SendError::Topic { topic: Arc::clone(topic), error })?;
        accumulator.add_topic(topic, partitions);
        Ok(())
    }

    fn encode(
        &self,
        records: &[ProducerRecord],
        size: RecordSize,
    ) -> Result<BatchBuilder, SendError> {
        let compression = self.handle.config.compression;
        let mut builder = BatchBuilder::new(BatchOptions { compression, ..Default::default() });
        if records.is_empty() {
            return Err(BuildError::NoRecords.into());
        }
        builder.reserve(size.encoded);
        let now = now();
        for record in records {
            push_record(&mut builder, record, record.timestamp.unwrap_or(now))?;
        }
        Ok(builder)
    }
}

fn now() -> TimestampMs {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs::new(since_epoch.as_millis() as i64)
}
