//! Groups: their committed offsets, by topic name towards the doors and by topic id inside.

use std::collections::HashMap;

use log_proto::types::{LeaderEpoch, Offset};

use super::Broker;
use crate::coordinator::WriteError;
pub use crate::coordinator::group::offsets::GroupId;
use crate::coordinator::group::offsets::{CommittedOffset, GroupOffsets, TopicPartition, commit};
use crate::error::{CommitOffsetsError, FetchOffsetsError, LookupError};
use crate::limits;
use crate::principal::Principal;
use crate::topics::{TopicId, TopicName};

/// How far a group has come in one partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the record before it, if its committer knew.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Whatever the committer wants to remember.
    pub metadata: String,
}

impl Broker {
    /// Stores how far a group has come, all or nothing; on the disk when this returns.
    pub async fn commit_offsets(
        &self,
        principal: &Principal,
        group: &str,
        offsets: Vec<GroupOffset>,
    ) -> Result<(), CommitOffsetsError> {
        self.check_serving()?;
        let group = GroupId::new(group)?;
        if offsets.len() > limits::COMMIT_OFFSETS_MAX {
            return Err(CommitOffsetsError::TooMany { count: offsets.len() });
        }
        let mut committed = GroupOffsets::new();
        for offset in offsets {
            let (key, value) = self.check_offset(offset)?;
            committed.insert(key, value);
        }
        tracing::debug!(%principal, ?group, count = committed.len(), "committing offsets");
        let written =
            self.inner.offsets.write(move |state| commit(state, &group, &committed)).await;
        written.map_err(|error| match error {
            WriteError::Refused(refused) => refused,
            WriteError::Coordinator(error) => error.into(),
        })
    }

    fn check_offset(
        &self,
        offset: GroupOffset,
    ) -> Result<(TopicPartition, CommittedOffset), CommitOffsetsError> {
        let topic = self.inner.topics.get(&offset.topic)?;
        let (partition, count) = (offset.partition, topic.partitions.len());
        if partition as usize >= count {
            let (topic, partition) = (topic.name.clone(), i64::from(partition));
            return Err(LookupError::UnknownPartition { topic, partition, count }.into());
        }
        let bytes = offset.metadata.len();
        if bytes > limits::OFFSET_METADATA_BYTES_MAX {
            let topic = topic.name.clone();
            return Err(CommitOffsetsError::MetadataTooLong { topic, partition, bytes });
        }
        let committed = CommittedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            commit_time: self.inner.parts.clock.now(),
        };
        Ok((TopicPartition { topic_id: topic.id, partition }, committed))
    }

    /// Everything that a group has committed, for topics that are there, by topic and partition.
    pub async fn fetch_offsets(
        &self,
        principal: &Principal,
        group: &str,
    ) -> Result<Vec<GroupOffset>, FetchOffsetsError> {
        let group = GroupId::new(group)?;
        tracing::debug!(%principal, ?group, "fetching offsets");
        let asked = group.clone();
        let query = self.inner.offsets.query(move |state| state.of(&asked).cloned());
        let committed = query.await?.unwrap_or_default();
        let names: HashMap<TopicId, TopicName> =
            self.inner.topics.all().iter().map(|topic| (topic.id, topic.name.clone())).collect();
        let mut offsets: Vec<_> = committed
            .into_iter()
            .filter_map(|(key, committed)| Some(named(names.get(&key.topic_id)?, key, committed)))
            .collect();
        offsets.sort_by(|one, other| {
            (&one.topic, one.partition).cmp(&(&other.topic, other.partition))
        });
        Ok(offsets)
    }

    /// Where a group has come in one partition.
    pub(super) async fn committed_offset(
        &self,
        group: GroupId,
        topic_id: TopicId,
        partition: u32,
    ) -> Result<Option<Offset>, FetchOffsetsError> {
        let key = TopicPartition { topic_id, partition };
        let query = self.inner.offsets.query(move |state| {
            state.of(&group).and_then(|offsets| offsets.get(&key)).map(|found| found.offset)
        });
        Ok(query.await?)
    }
}

fn named(topic: &TopicName, key: TopicPartition, committed: CommittedOffset) -> GroupOffset {
    GroupOffset {
        topic: topic.to_string(),
        partition: key.partition,
        offset: committed.offset,
        leader_epoch: committed.leader_epoch,
        metadata: committed.metadata,
    }
}
