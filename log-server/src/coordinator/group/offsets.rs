//! Committed offsets: how far each group has come in each partition.
//!
//! The rule: an offset belongs to a topic's id, not to its name, so that a topic made again does
//! not inherit where groups were in the old one. Every commit is bounded, and so is what all of
//! them may add up to: they live in memory.

use std::collections::{BTreeMap, BTreeSet};

use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::record::{Change, GroupRecord, OffsetCommitted, TopicDeleted};
use crate::coordinator::{NotUnderstood, StateMachine};
use crate::error::{CommitOffsetsError, GroupIdError};
use crate::limits;
use crate::topics::TopicId;

/// The id of a group: 1 to 255 characters, none of them a control character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct GroupId(String);

impl GroupId {
    /// Checks the id.
    pub fn new(id: &str) -> Result<Self, GroupIdError> {
        if id.is_empty() {
            return Err(GroupIdError::Empty);
        }
        if id.chars().nth(limits::GROUP_ID_CHARS_MAX).is_some() {
            return Err(GroupIdError::TooLong);
        }
        if id.contains(char::is_control) {
            return Err(GroupIdError::ControlCharacter { id: id.to_owned() });
        }
        Ok(Self(id.to_owned()))
    }
}

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
}

pub(crate) type GroupOffsets = BTreeMap<TopicPartition, CommittedOffset>;

/// Everything that the offsets log says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct OffsetsState {
    groups: BTreeMap<GroupId, GroupOffsets>,
    /// How many offsets all groups have together.
    count: usize,
}

impl OffsetsState {
    /// What a group has committed; nothing for a group that never has.
    pub(crate) fn of(&self, group: &GroupId) -> Option<&GroupOffsets> {
        self.groups.get(group)
    }

    /// The topics that offsets are kept for.
    pub(crate) fn topics(&self) -> BTreeSet<TopicId> {
        self.groups.values().flat_map(|offsets| offsets.keys().map(|key| key.topic_id)).collect()
    }

    fn committed(&mut self, record: OffsetCommitted) -> Result<(), NotUnderstood> {
        let group = GroupId::new(&record.group)
            .map_err(|_| NotUnderstood { what: "a group id that is none" })?;
        let key =
            TopicPartition { topic_id: topic_id(&record.topic_id)?, partition: record.partition };
        let committed = CommittedOffset {
            offset: Offset::new(record.offset)
                .ok_or(NotUnderstood { what: "a negative offset" })?,
            leader_epoch: record.leader_epoch.and_then(LeaderEpoch::new),
            metadata: record.metadata,
            commit_time: TimestampMs::new(record.commit_time_ms),
        };
        if self.groups.entry(group).or_default().insert(key, committed).is_none() {
            self.count += 1;
        }
        Ok(())
    }

    fn topic_deleted(&mut self, deleted: TopicId) {
        for offsets in self.groups.values_mut() {
            offsets.retain(|key, _| key.topic_id != deleted);
        }
        self.groups.retain(|_, offsets| !offsets.is_empty());
        self.count = self.groups.values().map(BTreeMap::len).sum();
    }
}

fn topic_id(bytes: &[u8]) -> Result<TopicId, NotUnderstood> {
    TopicId::from_slice(bytes).ok_or(NotUnderstood { what: "a topic id that is none" })
}

impl StateMachine for OffsetsState {
    type Record = GroupRecord;

    fn replay(&mut self, record: GroupRecord) -> Result<(), NotUnderstood> {
        match record.change.ok_or(NotUnderstood { what: "a change of an unknown kind" })? {
            Change::OffsetCommitted(committed) => self.committed(committed),
            Change::TopicDeleted(deleted) => {
                self.topic_deleted(topic_id(&deleted.topic_id)?);
                Ok(())
            }
        }
    }

    fn snapshot(&self) -> Vec<GroupRecord> {
        let groups = self.groups.iter();
        groups
            .flat_map(|(group, offsets)| {
                offsets.iter().map(|(key, committed)| to_record(group, *key, committed))
            })
            .collect()
    }
}

fn to_record(group: &GroupId, key: TopicPartition, committed: &CommittedOffset) -> GroupRecord {
    let record = OffsetCommitted {
        group: group.0.clone(),
        topic_id: key.topic_id.0.as_bytes().to_vec(),
        partition: key.partition,
        offset: committed.offset.get(),
        leader_epoch: committed.leader_epoch.map(LeaderEpoch::get),
        metadata: committed.metadata.clone(),
        commit_time_ms: committed.commit_time.get(),
    };
    Change::OffsetCommitted(record).into()
}

type Decided<T, E> = Result<(Vec<GroupRecord>, T), E>;

/// Stores how far a group has come, all or none.
pub(crate) fn commit(
    state: &OffsetsState,
    group: &GroupId,
    offsets: &GroupOffsets,
) -> Decided<(), CommitOffsetsError> {
    let present = state.of(group);
    let added = offsets.keys().filter(|key| present.is_none_or(|p| !p.contains_key(key))).count();
    if state.count + added > limits::COMMITTED_OFFSETS_MAX {
        return Err(CommitOffsetsError::Full);
    }
    let records = offsets.iter().map(|(key, committed)| to_record(group, *key, committed));
    Ok((records.collect(), ()))
}

/// Drops whatever was committed for a topic. Writes nothing if there is nothing.
pub(crate) fn delete_topic(
    state: &OffsetsState,
    topic: TopicId,
) -> Decided<(), std::convert::Infallible> {
    if !state.topics().contains(&topic) {
        return Ok((Vec::new(), ()));
    }
    let topic_id = topic.0.as_bytes().to_vec();
    Ok((vec![Change::TopicDeleted(TopicDeleted { topic_id }).into()], ()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(topic: u128, partition: u32) -> TopicPartition {
        TopicPartition { topic_id: TopicId(Uuid::from_u128(topic)), partition }
    }

    fn committed(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset: Offset::new(offset).unwrap(),
            leader_epoch: LeaderEpoch::new(2),
            metadata: "m".to_owned(),
            commit_time: TimestampMs::new(7),
        }
    }

    fn apply<E: std::fmt::Debug>(state: &mut OffsetsState, decided: Decided<(), E>) {
        for record in decided.unwrap().0 {
            state.replay(record).unwrap();
        }
    }

    #[test]
    fn the_last_commit_counts_and_a_snapshot_keeps_it() {
        let (one, other) = (GroupId::new("one").unwrap(), GroupId::new("other").unwrap());
        let mut state = OffsetsState::default();
        for (group, offset) in [(&one, 5), (&other, 6), (&one, 3)] {
            let decided = commit(&state, group, &[(key(1, 0), committed(offset))].into());
            apply(&mut state, decided);
        }
        assert_eq!(state.of(&one).unwrap()[&key(1, 0)], committed(3));
        let mut rebuilt = OffsetsState::default();
        for record in state.snapshot() {
            rebuilt.replay(record).unwrap();
        }
        assert_eq!(rebuilt, state);
        assert_eq!(rebuilt.count, 2);
    }

    #[test]
    fn a_deleted_topic_takes_its_offsets_with_it() {
        let group = GroupId::new("g").unwrap();
        let mut state = OffsetsState::default();
        let both = [(key(1, 0), committed(1)), (key(2, 0), committed(2))].into();
        let decided = commit(&state, &group, &both);
        apply(&mut state, decided);
        let decided = delete_topic(&state, key(1, 0).topic_id);
        apply(&mut state, decided);
        assert_eq!(state.of(&group).unwrap().len(), 1);
        assert!(delete_topic(&state, key(1, 0).topic_id).unwrap().0.is_empty());
    }

    #[test]
    fn group_ids_are_bounded() {
        assert!(GroupId::new("").is_err());
        assert!(GroupId::new("a\nb").is_err());
        assert!(GroupId::new(&"ä".repeat(256)).is_err());
        assert!(GroupId::new(&"ä".repeat(255)).is_ok());
    }
}
