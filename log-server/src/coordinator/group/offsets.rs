//! Committed offsets: how far each group has come in each partition.
//!
//! The rule: an offset belongs to a topic's id, not to its name, so that a topic made again does
//! not inherit where groups were in the old one. Every commit is bounded, and so is what all of
//! them may add up to: they live in memory. Who may commit is not asked here but in
//! [`membership`](super::membership), under the lock that also orders the writes.

use std::collections::BTreeMap;
use std::time::Duration;

use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::id::GroupId;
use super::record::{
    Change, GroupDeleted, GroupRecord, OffsetCommitted, OffsetsDeleted, PartitionRef, TopicDeleted,
};
use super::state::{GroupsState, topic_id};
use crate::coordinator::NotUnderstood;
use crate::limits;
use crate::topics::TopicId;

/// Which partition of which topic.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TopicPartition {
    pub(crate) topic_id: TopicId,
    pub(crate) partition: u32,
}

/// How far a group has come in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, if its committer knew.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the committer wanted to remember.
    pub metadata: String,
    /// When it was committed.
    pub commit_time: TimestampMs,
    /// When it expires, if its committer said so (OffsetCommit versions 2 to 4).
    pub expire_time: Option<TimestampMs>,
}

pub(crate) type GroupOffsets = BTreeMap<TopicPartition, CommittedOffset>;

pub(super) fn parse(
    record: OffsetCommitted,
) -> Result<(TopicPartition, CommittedOffset), NotUnderstood> {
    let key = TopicPartition { topic_id: topic_id(&record.topic_id)?, partition: record.partition };
    let committed = CommittedOffset {
        offset: Offset::new(record.offset).ok_or(NotUnderstood { what: "a negative offset" })?,
        leader_epoch: record.leader_epoch.and_then(LeaderEpoch::new),
        metadata: record.metadata,
        commit_time: TimestampMs::new(record.commit_time_ms),
        expire_time: record.expire_time_ms.map(TimestampMs::new),
    };
    Ok((key, committed))
}

pub(super) fn to_record(
    group: &GroupId,
    key: TopicPartition,
    committed: &CommittedOffset,
) -> GroupRecord {
    let record = OffsetCommitted {
        group: group.as_str().to_owned(),
        topic_id: key.topic_id.0.as_bytes().to_vec(),
        partition: key.partition,
        offset: committed.offset.get(),
        leader_epoch: committed.leader_epoch.map(LeaderEpoch::get),
        metadata: committed.metadata.clone(),
        commit_time_ms: committed.commit_time.get(),
        expire_time_ms: committed.expire_time.map(TimestampMs::get),
    };
    Change::OffsetCommitted(record).into()
}

type Decided<T, E> = Result<(Vec<GroupRecord>, T), E>;

/// The broker keeps as many offsets as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct OffsetsFull;

/// Stores how far a group has come, all or none.
pub(crate) fn commit(
    state: &GroupsState,
    group: &GroupId,
    offsets: &GroupOffsets,
) -> Decided<(), OffsetsFull> {
    let present = state.offsets_of(group);
    let added = offsets.keys().filter(|key| present.is_none_or(|p| !p.contains_key(key))).count();
    if state.offset_count() + added > limits::COMMITTED_OFFSETS_MAX {
        return Err(OffsetsFull);
    }
    let records = offsets.iter().map(|(key, committed)| to_record(group, *key, committed));
    Ok((records.collect(), ()))
}

/// Drops whatever was committed for a topic. Writes nothing if there is nothing.
pub(crate) fn delete_topic(
    state: &GroupsState,
    topic: TopicId,
) -> Decided<(), std::convert::Infallible> {
    if !state.topics().contains(&topic) {
        return Ok((Vec::new(), ()));
    }
    let topic_id = topic.0.as_bytes().to_vec();
    Ok((vec![Change::TopicDeleted(TopicDeleted { topic_id }).into()], ()))
}

/// Nothing is known of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GroupUnknown;

/// Forgets a group and its offsets.
pub(crate) fn delete_group(state: &GroupsState, group: &GroupId) -> Decided<(), GroupUnknown> {
    if !state.knows(group) {
        return Err(GroupUnknown);
    }
    Ok((vec![group_deleted(group)], ()))
}

fn group_deleted(group: &GroupId) -> GroupRecord {
    Change::GroupDeleted(GroupDeleted { group: group.as_str().to_owned() }).into()
}

/// Drops some of what a group has committed. What it has not is no news.
pub(crate) fn delete_offsets(
    state: &GroupsState,
    group: &GroupId,
    keys: &[TopicPartition],
) -> Vec<GroupRecord> {
    let Some(present) = state.offsets_of(group) else { return Vec::new() };
    let keys: Vec<_> = keys.iter().filter(|key| present.contains_key(key)).copied().collect();
    deleted(group, &keys).into_iter().collect()
}

fn deleted(group: &GroupId, keys: &[TopicPartition]) -> Option<GroupRecord> {
    let partitions = keys.iter().map(|key| PartitionRef {
        topic_id: key.topic_id.0.as_bytes().to_vec(),
        partition: key.partition,
    });
    let record =
        OffsetsDeleted { group: group.as_str().to_owned(), partitions: partitions.collect() };
    (!keys.is_empty()).then(|| Change::OffsetsDeleted(record).into())
}

/// What a group's offsets expire by (KIP-211).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Expiry {
    /// All of them at once, so long after its last member went.
    SinceEmpty(TimestampMs),
    /// Each so long after its commit, because the group has never had a member.
    SinceCommit,
    /// Each so long after its commit, but for the topics that its members use.
    SinceCommitUnless(Vec<TopicId>),
    /// Not at all: it has members, and what they use cannot be said.
    Never,
}

/// The moment from which an offset is no longer kept, given what its retention counts from.
fn end_of(
    committed: &CommittedOffset,
    counted_from: TimestampMs,
    retention_ms: i64,
) -> TimestampMs {
    let by_retention = TimestampMs::new(counted_from.get().saturating_add(retention_ms));
    committed.expire_time.unwrap_or(by_retention)
}

/// What an expiry has done to a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Expired {
    /// Some offsets are gone, or none.
    Offsets(usize),
    /// The group is forgotten: it had no members, and has no offsets left.
    Group,
}

/// Drops what has outlived its retention. A group without members that has nothing left goes too,
/// at once: there is nothing that it could come back for.
pub(crate) fn expire(
    state: &GroupsState,
    group: &GroupId,
    by: &Expiry,
    now: TimestampMs,
    retention: Duration,
) -> Decided<Expired, std::convert::Infallible> {
    let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let is_over = |key: &TopicPartition, committed: &CommittedOffset| {
        let counted_from = match by {
            Expiry::SinceEmpty(since) => *since,
            Expiry::SinceCommit => committed.commit_time,
            Expiry::SinceCommitUnless(used) if used.contains(&key.topic_id) => return false,
            Expiry::SinceCommitUnless(_) => committed.commit_time,
            Expiry::Never => return false,
        };
        end_of(committed, counted_from, retention_ms) <= now
    };
    let present = state.offsets_of(group);
    let over: Vec<_> = present
        .into_iter()
        .flatten()
        .filter_map(|(key, committed)| is_over(key, committed).then_some(*key))
        .collect();
    let is_unused = matches!(by, Expiry::SinceEmpty(_) | Expiry::SinceCommit);
    if is_unused && over.len() == present.map_or(0, BTreeMap::len) && state.knows(group) {
        return Ok((vec![group_deleted(group)], Expired::Group));
    }
    Ok((deleted(group, &over).into_iter().collect(), Expired::Offsets(over.len())))
}

#[cfg(test)]
#[path = "offsets_tests.rs"]
mod tests;
