//! Consuming: partitions in, records out, in the order in which they are stored.
//!
//! The rule: each record comes once, in offset order within its partition, through broken
//! connections and restarts of the broker. Where a consumer is, it knows itself; what it commits
//! is up to the application. It has no task of its own: everything happens while the application
//! waits for the next record, so that records cannot pile up behind its back.
//!
//! - [`fetcher`]: the partitions that a consumer was told to read. [`group`]: those that a group
//!   gives it.
//! - [`link`]: the stream. [`partitions`]: where each partition is. [`hand`]: where the application
//!   is.

mod batch;
mod config;
mod error;
mod fetcher;
mod group;
mod hand;
mod link;
mod partitions;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use log_proto::types::Offset;

pub use self::{
    batch::{ConsumerBatch, ConsumerRecords},
    config::{ConsumerBuilder, ConsumerConfigError, Edge, Isolation, StartAt},
    error::ConsumeError,
    group::{
        AssignedPartition, Assignor, AutoCommit, CommitError, CommitTicket, GroupConsumer,
        GroupConsumerBuilder, GroupEvent, WithoutCommit,
    },
};
use self::{
    config::ConsumerConfig,
    fetcher::Fetcher,
    hand::{Current, Hand},
    partitions::{Arrival, PartitionIndex},
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
    hand: Hand,
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
            hand: Hand::default(),
        }
    }

    /// The next record, waiting for it if need be. `None` once every partition has ended, or
    /// after an error that ended the stream. May be cancelled without losing a record.
    pub async fn next(&mut self) -> Option<Result<ConsumerRecord, ConsumeError>> {
        loop {
            let Fetcher { link, partitions, .. } = &mut self.fetcher;
            if let Some(record) = self.hand.next_record(link, partitions) {
                return Some(record);
            }
            match self.arrival().await? {
                Ok(Happened::Records(current)) => self.hand.take_up(current),
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
        let happened = match self.hand.put_down() {
            Some(current) => Ok(Happened::Records(current)),
            None => self.arrival().await?,
        };
        Some(happened.map(|happened| match happened {
            Happened::Records(current) => Event::Records(self.hand.give_out(current)),
            Happened::CaughtUp { index, offset } => {
                let (topic, partition) = self.fetcher.partitions.name(index);
                Event::CaughtUp { topic: Arc::clone(topic), partition, offset }
            }
        }))
    }

    /// Where this consumer is: for each partition whose start is known, the offset behind the
    /// last record that was returned.
    pub fn positions(&self) -> Vec<GroupOffset> {
        self.hand.positions(&self.fetcher.partitions)
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

    /// Waits for something to tell.
    async fn arrival(&mut self) -> Option<Result<Happened, ConsumeError>> {
        self.hand.give_back(&mut self.fetcher.link);
        loop {
            match self.fetcher.next().await? {
                // After a reconnect it is where the application already is.
                Arrival::Started { index, offset } => self.hand.start(index, offset),
                Arrival::Batch { index, batch, lent } => {
                    return Some(Ok(Happened::Records(Current { index, batch, lent })));
                }
                Arrival::CaughtUp { index, offset } => {
                    self.hand.move_to(index, offset);
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
        f.debug_struct("Consumer").field("positions", &self.positions()).finish_non_exhaustive()
    }
}
