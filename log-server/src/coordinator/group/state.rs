//! What the offsets log says: where every group has come, and who was in it.
//!
//! The rule: everything here survives any crash, and everything that must is here. What groups are
//! up to at this moment is [`membership`](super::membership), which starts from this.

use std::collections::{BTreeMap, BTreeSet};

use super::consumer::StoredConsumerGroup;
use super::id::GroupId;
use super::offsets::{self, GroupOffsets, TopicPartition};
use super::record::{Change, GroupRecord, OffsetCommitted, OffsetsDeleted};
use super::stored::StoredGroup;
use crate::coordinator::{AfterLoss, NotUnderstood, StateMachine};
use crate::topics::TopicId;

/// Everything that the offsets log says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct GroupsState {
    offsets: BTreeMap<GroupId, GroupOffsets>,
    /// How many offsets all groups have together.
    offset_count: usize,
    classic: BTreeMap<GroupId, StoredGroup>,
    consumer: BTreeMap<GroupId, StoredConsumerGroup>,
}

impl GroupsState {
    /// What a group has committed; nothing for a group that never has.
    pub(crate) fn offsets_of(&self, group: &GroupId) -> Option<&GroupOffsets> {
        self.offsets.get(group)
    }

    /// The topics that offsets are kept for.
    pub(crate) fn topics(&self) -> BTreeSet<TopicId> {
        self.offsets.values().flat_map(|offsets| offsets.keys().map(|key| key.topic_id)).collect()
    }

    /// Every group that there is anything to say about.
    pub(crate) fn groups(&self) -> BTreeSet<GroupId> {
        let members = self.classic.keys().chain(self.consumer.keys());
        self.offsets.keys().chain(members).cloned().collect()
    }

    /// Whether there is anything to say about a group.
    pub(crate) fn knows(&self, group: &GroupId) -> bool {
        self.offsets.contains_key(group)
            || self.classic.contains_key(group)
            || self.consumer.contains_key(group)
    }

    /// The classic groups.
    pub(crate) fn classic(&self) -> &BTreeMap<GroupId, StoredGroup> {
        &self.classic
    }

    /// The consumer groups.
    pub(crate) fn consumer(&self) -> &BTreeMap<GroupId, StoredConsumerGroup> {
        &self.consumer
    }

    pub(super) fn offset_count(&self) -> usize {
        self.offset_count
    }

    fn committed(&mut self, record: OffsetCommitted) -> Result<(), NotUnderstood> {
        let group = group_id(&record.group)?;
        let (key, committed) = offsets::parse(record)?;
        if self.offsets.entry(group).or_default().insert(key, committed).is_none() {
            self.offset_count += 1;
        }
        Ok(())
    }

    fn topic_deleted(&mut self, deleted: TopicId) {
        for offsets in self.offsets.values_mut() {
            offsets.retain(|key, _| key.topic_id != deleted);
        }
        self.offsets.retain(|_, offsets| !offsets.is_empty());
        self.offset_count = self.offsets.values().map(BTreeMap::len).sum();
    }

    fn offsets_deleted(&mut self, record: OffsetsDeleted) -> Result<(), NotUnderstood> {
        let group = group_id(&record.group)?;
        let Some(offsets) = self.offsets.get_mut(&group) else { return Ok(()) };
        for partition in record.partitions {
            let topic_id = topic_id(&partition.topic_id)?;
            let key = TopicPartition { topic_id, partition: partition.partition };
            if offsets.remove(&key).is_some() {
                self.offset_count -= 1;
            }
        }
        if offsets.is_empty() {
            self.offsets.remove(&group);
        }
        Ok(())
    }

    fn group_deleted(&mut self, group: &GroupId) {
        self.classic.remove(group);
        self.consumer.remove(group);
        self.offset_count -= self.offsets.remove(group).map_or(0, |offsets| offsets.len());
    }
}

pub(super) fn group_id(id: &str) -> Result<GroupId, NotUnderstood> {
    GroupId::new(id).map_err(|_| NotUnderstood { what: "a group id that is none" })
}

pub(super) fn topic_id(bytes: &[u8]) -> Result<TopicId, NotUnderstood> {
    TopicId::from_slice(bytes).ok_or(NotUnderstood { what: "a topic id that is none" })
}

impl StateMachine for GroupsState {
    type Record = GroupRecord;

    /// A group reads some records again, or joins anew; all others know nothing of it.
    const AFTER_LOSS: AfterLoss = AfterLoss::GoOn;

    fn replay(&mut self, record: GroupRecord) -> Result<(), NotUnderstood> {
        match record.change.ok_or(NotUnderstood { what: "a change of an unknown kind" })? {
            Change::OffsetCommitted(committed) => self.committed(committed)?,
            Change::TopicDeleted(deleted) => self.topic_deleted(topic_id(&deleted.topic_id)?),
            Change::ClassicGroup(stored) => {
                let group = group_id(&stored.group)?;
                self.consumer.remove(&group);
                self.classic.insert(group, StoredGroup::parse(stored)?);
            }
            Change::ConsumerGroup(stored) => {
                let group = group_id(&stored.group)?;
                self.classic.remove(&group);
                self.consumer.insert(group, StoredConsumerGroup::parse(stored)?);
            }
            Change::GroupDeleted(deleted) => self.group_deleted(&group_id(&deleted.group)?),
            Change::OffsetsDeleted(deleted) => self.offsets_deleted(deleted)?,
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<GroupRecord> {
        let classic = self.classic.iter().map(|(group, stored)| stored.to_record(group));
        let offsets = self.offsets.iter().flat_map(|(group, offsets)| {
            offsets.iter().map(|(key, committed)| offsets::to_record(group, *key, committed))
        });
        let consumer = self.consumer.iter().map(|(group, stored)| stored.to_record(group));
        classic.chain(consumer).chain(offsets).collect()
    }
}
