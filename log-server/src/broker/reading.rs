//! Where reading begins, and which offsets a partition has.

use std::sync::Arc;

use log_core::{Isolation, TimestampedOffset};
use log_proto::types::{Offset, TimestampMs};

use super::{Broker, GroupId};
use crate::error::{ListOffsetsError, StartError};
use crate::partition::Partition;
use crate::partition::read_end;
use crate::topics::Topic;

/// One of the ends of what can be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// The first record.
    Earliest,
    /// Behind the last record that the reader may see.
    Latest,
}

/// Where to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartPosition {
    /// At this offset, which must lie within the log. Any number, because a stranger sent it.
    Offset(i64),
    /// At the first record stamped at or after this; at the end if there is none.
    Timestamp(TimestampMs),
    /// At an end.
    Edge(Edge),
    /// Where the group has committed; at an end if it never has.
    Group {
        /// The group.
        group: GroupId,
        /// Where to begin without a commit.
        otherwise: Edge,
    },
}

/// Where a member of a group begins in a partition that the group has committed nothing for, or
/// whose committed offset has been deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WithoutCommit {
    /// There.
    Start(StartPosition),
    /// Nowhere.
    Refuse,
}

/// Where a member of a group begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberStart {
    /// At this offset.
    pub offset: Offset,
    /// Although the group had committed this one, which the log does not hold any more.
    pub lost: Option<Offset>,
}

/// Which offset is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OffsetQuery {
    /// The first that may be read.
    LogStart,
    /// The end of what any reader sees.
    HighWatermark,
    /// The end of what a read-committed reader sees.
    LastStable,
    /// The next to be assigned.
    LogEnd,
    /// Of the record with the largest timestamp.
    MaxTimestamp,
    /// Of the first record stamped at or after this.
    Timestamp(TimestampMs),
}

/// An offset that was asked for, with the timestamp of its record where it was found by time.
pub type FoundOffset = (Option<Offset>, Option<TimestampMs>);

impl Broker {
    /// The offset to begin at. Refused if it is not within the log: whoever is silently moved
    /// elsewhere has lost records, or reads them twice, without knowing.
    pub async fn start_offset(
        &self,
        topic: &Topic,
        partition: &Arc<Partition>,
        position: StartPosition,
        isolation: Isolation,
    ) -> Result<Offset, StartError> {
        match position {
            StartPosition::Offset(requested) => within(partition, requested),
            StartPosition::Edge(edge) => Ok(edge_of(partition, edge, isolation)),
            StartPosition::Timestamp(timestamp) => {
                let searched = Arc::clone(partition);
                let found = self
                    .blocking(move |_| searched.offset_for_timestamp(timestamp))
                    .await
                    .map_err(|source| StartError::Read {
                        topic: partition.topic.clone(),
                        partition: partition.number,
                        source,
                    })?;
                let end = || edge_of(partition, Edge::Latest, isolation);
                Ok(found.map_or_else(end, |found| found.offset))
            }
            StartPosition::Group { group, otherwise } => {
                let number = partition.number;
                match self.committed_offset(group, topic.id, number).await? {
                    Some(committed) => within(partition, committed.get()),
                    None => Ok(edge_of(partition, otherwise, isolation)),
                }
            }
        }
    }

    /// The offset at which a member of a group begins: the committed one, as long as the log holds
    /// it. Whoever is moved elsewhere is told what was lost.
    pub(super) async fn member_start(
        &self,
        topic: &Topic,
        partition: &Arc<Partition>,
        committed: Option<Offset>,
        (without, isolation): (&WithoutCommit, Isolation),
    ) -> Result<MemberStart, StartError> {
        let refused = match committed.map(|committed| within(partition, committed.get())) {
            Some(Ok(offset)) => return Ok(MemberStart { offset, lost: None }),
            Some(Err(out_of_range)) => out_of_range,
            None => {
                StartError::NoOffset { topic: partition.topic.clone(), partition: partition.number }
            }
        };
        let WithoutCommit::Start(position) = without else { return Err(refused) };
        let offset = self.start_offset(topic, partition, position.clone(), isolation).await?;
        Ok(MemberStart { offset, lost: committed })
    }

    /// One offset of a partition.
    pub async fn find_offset(
        &self,
        partition: &Arc<Partition>,
        query: OffsetQuery,
    ) -> Result<FoundOffset, ListOffsetsError> {
        let offsets = partition.offsets();
        let known = |offset| Ok((Some(offset), None));
        match query {
            OffsetQuery::LogStart => known(offsets.log_start),
            OffsetQuery::HighWatermark => known(offsets.high_watermark),
            OffsetQuery::LastStable => known(offsets.last_stable),
            OffsetQuery::LogEnd => known(offsets.log_end),
            OffsetQuery::MaxTimestamp | OffsetQuery::Timestamp(_) => {
                let searched = Arc::clone(partition);
                let found = self.blocking(move |_| match query {
                    OffsetQuery::Timestamp(timestamp) => searched.offset_for_timestamp(timestamp),
                    _ => searched.max_timestamp(),
                });
                let found = found.await.map_err(|source| ListOffsetsError::Read {
                    topic: partition.topic.clone(),
                    partition: partition.number,
                    source,
                })?;
                Ok(found.map_or((None, None), |TimestampedOffset { offset, timestamp }| {
                    (Some(offset), Some(timestamp))
                }))
            }
        }
    }
}

fn edge_of(partition: &Partition, edge: Edge, isolation: Isolation) -> Offset {
    let offsets = partition.offsets();
    match edge {
        Edge::Earliest => offsets.log_start,
        Edge::Latest => read_end(&offsets, isolation),
    }
}

fn within(partition: &Partition, requested: i64) -> Result<Offset, StartError> {
    let offsets = partition.offsets();
    Offset::new(requested)
        .filter(|offset| (offsets.log_start..=offsets.log_end).contains(offset))
        .ok_or_else(|| StartError::OutOfRange {
            topic: partition.topic.clone(),
            partition: partition.number,
            requested,
            log_start: offsets.log_start,
            log_end: offsets.log_end,
        })
}
