//! How far groups have come: what they have committed beside what there is to read.
//!
//! The rule: the numbers of a partition are of one moment, so that they fit together; and a
//! partition that cannot be looked at says why, instead of hiding the others. Lag is counted up to
//! the high watermark: what no reader may see yet, no group is behind by.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use log_core::{Isolation, Offsets, ReadError};
use log_proto::record::{BatchError, NO_TIMESTAMP, RecordBatch, batches};
use log_proto::types::{Offset, TimestampMs};

use super::Broker;
use super::group_members::{ConsumerGroupDescription, GroupDescription, GroupId};
use super::groups::{GroupOffset, Stability};
use crate::error::{FetchOffsetsError, LookupError};
use crate::partition::Partition;
use crate::principal::Principal;

/// A group of one kind or the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DescribedGroup {
    /// Its members share out the work, or it has only offsets.
    Classic(GroupDescription),
    /// The broker shares out the work.
    Consumer(ConsumerGroupDescription),
}

/// Why a group cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeGroupError {
    /// There is no such group.
    #[error("there is no group {group}")]
    UnknownGroup {
        /// Its id.
        group: GroupId,
    },
    /// What it has committed could not be fetched.
    #[error(transparent)]
    Offsets(#[from] FetchOffsetsError),
}

/// A group in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// What it has committed, if it has.
    pub committed: Option<GroupOffset>,
    /// How that compares with the log; a sentence if the log is out of service.
    pub progress: Result<GroupProgress, LookupError>,
}

/// How far a group has come in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupProgress {
    /// Of the partition.
    pub offsets: Offsets,
    /// How much it has not read; `None` if it has never committed.
    pub lag: Option<Lag>,
}

/// How much a group has not read of a partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lag {
    /// Offsets from the next record that it can read to the high watermark.
    pub offsets: u64,
    /// The age of that record; `None` if there is no such record, or it carries no time. A
    /// sentence if the log could not be read.
    pub age: Result<Option<Duration>, String>,
}

/// Topics by name, with partitions.
type Wanted = BTreeMap<(String, u32), Option<GroupOffset>>;

impl Broker {
    /// A group of any kind in full, but for its offsets.
    pub async fn describe_any_group(
        &self,
        principal: &Principal,
        group: &GroupId,
    ) -> Result<DescribedGroup, DescribeGroupError> {
        if let Some(found) = self.describe_consumer_group(principal, group) {
            return Ok(DescribedGroup::Consumer(found));
        }
        let found = self.describe_group(principal, group.clone()).await;
        match found.map_err(FetchOffsetsError::from)? {
            Some(found) => Ok(DescribedGroup::Classic(found)),
            None => Err(DescribeGroupError::UnknownGroup { group: group.clone() }),
        }
    }

    /// How far a group has come in the partitions where it has committed and in those of
    /// `assigned` that are there; by topic and partition.
    pub async fn group_progress(
        &self,
        principal: &Principal,
        group: &GroupId,
        assigned: BTreeSet<(String, u32)>,
    ) -> Result<Vec<GroupPartition>, FetchOffsetsError> {
        let committed = self.fetch_group_offsets(principal, group.clone(), Stability::Any).await?;
        let mut wanted: Wanted = assigned
            .into_iter()
            .filter(|(topic, partition)| self.partition_key(topic, *partition).is_ok())
            .map(|assigned| (assigned, None))
            .collect();
        wanted.extend(
            committed
                .into_iter()
                .map(|offset| ((offset.topic.clone(), offset.partition), Some(offset))),
        );
        // Ages lie in the log, and so perhaps on the disk.
        Ok(self.blocking(move |broker| broker.look_at(wanted)).await)
    }

    fn look_at(&self, wanted: Wanted) -> Vec<GroupPartition> {
        let looked = wanted.into_iter().map(|((topic, partition), committed)| {
            let next = committed.as_ref().map(|committed| committed.offset);
            let progress = self.progress(&topic, partition, next);
            GroupPartition { topic, partition, committed, progress }
        });
        looked.collect()
    }

    fn progress(
        &self,
        topic: &str,
        partition: u32,
        committed: Option<Offset>,
    ) -> Result<GroupProgress, LookupError> {
        let topic = self.inner.topics.get(topic)?;
        let partition = topic.partition(partition)?;
        let offsets = partition.offsets();
        let lag = committed.map(|committed| self.lag(partition, &offsets, committed));
        Ok(GroupProgress { offsets, lag })
    }

    fn lag(&self, partition: &Partition, offsets: &Offsets, committed: Offset) -> Lag {
        // What is deleted by now will not be read any more.
        let next = committed.max(offsets.log_start);
        if next >= offsets.high_watermark {
            return Lag { offsets: 0, age: Ok(None) };
        }
        let expanded_bytes_max = self.config().expanded_bytes_max;
        let stamp = stamp_at(partition, next, expanded_bytes_max as usize);
        let now = self.inner.parts.clock.now();
        let age = stamp.map(|stamp| Some(age_at(now, stamp?)));
        Lag { offsets: offsets.high_watermark.distance_from(next), age }
    }
}

/// A record that was stamped in the future has no age yet.
fn age_at(now: TimestampMs, stamp: TimestampMs) -> Duration {
    Duration::from_millis(u64::try_from(now.since(stamp)).unwrap_or_default())
}

/// The timestamp of the first record at or behind `from` that a reader gets; `None` if there is
/// none, or it carries none. Blocks on the disk.
fn stamp_at(
    partition: &Partition,
    mut from: Offset,
    expanded_bytes_max: usize,
) -> Result<Option<TimestampMs>, String> {
    loop {
        // No budget is too small for a whole batch, and more is not needed.
        let fetched = match partition.read(from, 1, Isolation::HighWatermark) {
            // It was deleted meanwhile.
            Err(ReadError::OutOfRange { .. }) => return Ok(None),
            fetched => fetched.map_err(|error| error.to_string())?,
        };
        let Some(batch) = batches(fetched.batches).next() else { return Ok(None) };
        let batch = batch.map_err(|error| error.to_string())?;
        let stamp = stamp_in(&batch, from, expanded_bytes_max);
        if let Some(stamp) = stamp.map_err(|error| error.to_string())? {
            return Ok((stamp != NO_TIMESTAMP).then_some(stamp));
        }
        from = batch.header().next_offset();
    }
}

/// Of the first record of a batch that is not before `from`; `None` if there is none.
fn stamp_in(
    batch: &RecordBatch,
    from: Offset,
    expanded_bytes_max: usize,
) -> Result<Option<TimestampMs>, BatchError> {
    let header = batch.header();
    if header.is_control() {
        return Ok(None);
    }
    for record in batch.records(expanded_bytes_max)? {
        let record = record?;
        if header.offset_of(&record) >= from {
            return Ok(Some(header.timestamp_of(&record)));
        }
    }
    Ok(None)
}
