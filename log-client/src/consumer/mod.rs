//! Consuming: partitions in, records out, in the order in which they are stored.
//!
//! The rule: each record comes once, in offset order within its partition, through broken
//! connections and restarts of the broker. Where a consumer is, it knows itself; what it commits
//! is up to the application. It has no task of its own: everything happens while the application
//! waits for the next record, so that records cannot pile up behind its back.

mod batch;
mod config;
mod error;
mod fetcher;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use log_proto::types::Offset;

pub use self::{
    batch::{ConsumerBatch, ConsumerRecords},
    config::{ConsumerBuilder, ConsumerConfigError, Edge, Isolation, StartAt},
    error::ConsumeError,
};
use self::{
    config::ConsumerConfig,
    fetcher::{Arrival, Fetcher, Lent, PartitionIndex},
};
use crate::{
    connection::Connection,
    error::RequestError,
    offsets::{self, GroupOffset},
    record::ConsumerRecord,
};

/// Reads partitions.
///
/// ```no_run
/// use log_client::{Client, StartAt};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut consumer =
///     Client::new("127.0.0.1:9094")?.consumer().topic("orders", StartAt::Earliest).build()?;
/// while let Some(record) = consumer.next().await {
///     let record = record?;
///     println!("{}-{} {}", record.topic, record.partition, record.offset);
///     consumer.commit("billing").await?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Consumer {
    connection: Connection,
    fetcher: Fetcher,
    /// What [`Consumer::next`] hands out record by record.
    current: Option<Current>,
    /// Credit of what was handed out whole, given back when more is asked for.
    lent: Option<Lent>,
    /// Where the application is, by partition; `None` until its start is known.
    positions: Vec<Option<Offset>>,
}

struct Current {
    index: PartitionIndex,
    batch: Box<ConsumerBatch>,
    lent: Lent,
}

/// What a consumer has to tell.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "moved once per response, of some 100 KiB")]
pub enum Event {
    /// Records arrived. There may be none to show in them.
    Records(ConsumerBatch),
    /// Everything that could be read of a partition has been handed out. Comes again each time.
    CaughtUp {
        /// The topic.
        topic: Arc<str>,
        /// The partition, counted from 0.
        partition: u32,
        /// The offset of the next record, which does not exist yet.
        offset: Offset,
    },
}

impl Consumer {
    fn new(connection: Connection, config: ConsumerConfig) -> Self {
        Self {
            fetcher: Fetcher::new(connection.again(), config),
            connection,
            current: None,
            lent: None,
            positions: Vec::new(),
        }
    }

    /// The next record, waiting for it if need be. `None` once every partition has ended, or
    /// after an error that ended the stream. May be cancelled without losing a record.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        loop {
            if let Some(record) = self.next_of_current() {
                return Some(record);
            }
            match self.arrival().await? {
                Ok(Happened::Records(current)) => self.current = Some(current),
                Ok(Happened::CaughtUp { .. }) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next records that arrive together, of one partition. They count as consumed, as far
    /// as [`Consumer::positions`] goes, when they are returned.
    pub async fn next_batch(&mut self) -> Option<Result<ConsumerBatch, ConsumeError>> {
        loop {
            match self.next_event().await? {
                Ok(Event::Records(batch)) => return Some(Ok(batch)),
                Ok(Event::CaughtUp { .. }) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next thing that happens: as [`Consumer::next_batch`], and also when a partition is
    /// read to its end.
    pub async fn next_event(&mut self) -> Option<Result<Event, ConsumeError>> {
        let happened = match self.current.take() {
            Some(current) => Ok(Happened::Records(current)),
            None => self.arrival().await?,
        };
        Some(happened.map(|happened| match happened {
            Happened::Records(Current { index, batch, lent }) => {
                self.positions[index] = Some(batch.next_offset());
                self.lent = Some(lent);
                Event::Records(*batch)
            }
            Happened::CaughtUp { index, offset } => {
                let (topic, partition) = self.fetcher.name(index);
                Event::CaughtUp { topic: Arc::clone(topic), partition, offset }
            }
        }))
    }

    /// Where this consumer is: for each partition whose start is known, the offset behind the
    /// last record that was returned.
    pub fn positions(&self) -> Vec<GroupOffset> {
        let known = self.positions.iter().enumerate();
        known
            .filter_map(|(index, offset)| {
                let (topic, partition) = self.fetcher.name(index);
                Some(GroupOffset::new(Arc::clone(topic), partition, (*offset)?))
            })
            .collect()
    }

    /// Commits [`Consumer::positions`] for a group, and returns when that is on disk. Commit
    /// after the records are dealt with, and none is missed after a crash.
    pub async fn commit(&self, group: &str) -> Result<(), RequestError> {
        self.commit_offsets(group, &self.positions()).await
    }

    /// Commits offsets for a group: each that of the next record to read. All or nothing.
    pub async fn commit_offsets(
        &self,
        group: &str,
        offsets: &[GroupOffset],
    ) -> Result<(), RequestError> {
        offsets::commit(&self.connection, group, offsets).await
    }

    /// What a group has committed, of every topic.
    pub async fn committed(&self, group: &str) -> Result<Vec<GroupOffset>, RequestError> {
        offsets::committed(&self.connection, group, &[]).await
    }

    fn next_of_current(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        let Current { index, batch, lent } = self.current.as_mut()?;
        let record = batch.next_record();
        self.positions[*index] = Some(match &record {
            Some(_) => batch.position(),
            // Records that are not shown may follow the last one.
            None => batch.next_offset(),
        });
        if let Some(Ok(_)) = record {
            return record;
        }
        let lent = *lent;
        if let Some(Err(_)) = record {
            self.fetcher.end(batch.topic(), batch.partition());
        }
        self.current = None;
        self.fetcher.give_back(lent);
        record
    }

    /// Waits for something to tell.
    async fn arrival(&mut self) -> Option<Result<Happened, ConsumeError>> {
        if let Some(lent) = self.lent.take() {
            self.fetcher.give_back(lent);
        }
        loop {
            let arrival = self.fetcher.next().await?;
            self.positions.resize(self.fetcher.partition_count(), None);
            match arrival {
                Arrival::Started { index, offset } => {
                    // After a reconnect it is where the application already is.
                    self.positions[index].get_or_insert(offset);
                }
                Arrival::Batch { index, batch, lent } => {
                    return Some(Ok(Happened::Records(Current { index, batch, lent })));
                }
                Arrival::CaughtUp { index, offset } => {
                    self.positions[index] = Some(offset);
                    return Some(Ok(Happened::CaughtUp { index, offset }));
                }
                Arrival::Ended(error) => return Some(Err(error)),
            }
        }
    }
}

enum Happened {
    Records(Current),
    CaughtUp { index: PartitionIndex, offset: Offset },
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("positions", &self.positions).finish_non_exhaustive()
    }
}
