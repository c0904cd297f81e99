//! Groups: their committed offsets, by topic name towards the doors and by topic id inside.

use std::collections::HashMap;

use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::Broker;
use super::group_members::{MemberEpoch, MemberError, MemberId};
use super::group_session::CommitAsMemberError;
pub use crate::coordinator::group::error::{CommitError, DeleteOffsetsError};
pub use crate::coordinator::group::id::GroupId;
use crate::coordinator::group::offsets::{CommittedOffset, GroupOffsets, TopicPartition};
pub use crate::coordinator::group::request::{Committer, Stability};
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

/// How long a committed offset is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Keep {
    /// As long as its group is in use, and `offsets.retention.minutes` after that.
    #[default]
    AsGroup,
    /// Until then (OffsetCommit versions 2 to 4).
    Until(TimestampMs),
}

/// A request to commit offsets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CommitOffsets {
    /// Which group.
    pub group: GroupId,
    /// Who commits.
    pub committer: Committer,
    /// What.
    pub offsets: Vec<GroupOffset>,
    /// For how long.
    pub keep: Keep,
}

/// Why one offset of a request was left out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OffsetRefusal {
    /// The partition is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// The metadata is too long.
    #[error("offset metadata of {bytes} bytes: {} are the most", limits::OFFSET_METADATA_BYTES_MAX)]
    MetadataTooLong {
        /// How long it is.
        bytes: usize,
    },
}

/// Why one offset of a request was not deleted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeleteOffsetRefusal {
    /// The partition is not there.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// A member of the group uses the topic.
    #[error("a member of the group is subscribed to the topic: stop it first")]
    SubscribedToTopic,
}

impl Broker {
    /// Stores how far a group without members has come, all or nothing; on the disk when this
    /// returns.
    pub async fn commit_offsets(
        &self,
        principal: &Principal,
        group: &str,
        offsets: Vec<GroupOffset>,
    ) -> Result<(), CommitOffsetsError> {
        let (group, nobody) = (GroupId::new(group)?, Committer::default());
        let committed = self.commit_all(principal, group, &nobody, offsets).await;
        committed.map_err(|error| match error {
            CommitAsMemberError::Offsets(error) => error,
            CommitAsMemberError::Member(_) | CommitAsMemberError::NotOwned { .. } => {
                CommitOffsetsError::HasMembers
            }
        })
    }

    /// Stores how far a group has come, all or nothing, on behalf of a member or of nobody; on the
    /// disk when this returns.
    pub(super) async fn commit_all(
        &self,
        principal: &Principal,
        group: GroupId,
        committer: &Committer,
        offsets: Vec<GroupOffset>,
    ) -> Result<(), CommitAsMemberError> {
        let committed = self.check_all(offsets)?;
        tracing::debug!(%principal, %group, count = committed.len(), "committing offsets");
        let outcome = self.inner.groups.commit(group, committer, committed).await;
        outcome.map_err(|error| match error {
            CommitError::Member(error) => error.into(),
            CommitError::UnknownGroup { .. } => MemberError::UnknownMember.into(),
            CommitError::Group(error) => CommitOffsetsError::Group(error).into(),
            CommitError::TooMany { count } => CommitOffsetsError::TooMany { count }.into(),
            CommitError::Full => CommitOffsetsError::Full.into(),
            CommitError::Coordinator(error) => CommitOffsetsError::Coordinator(error).into(),
            CommitError::Stopping(error) => CommitOffsetsError::Stopping(error).into(),
        })
    }

    fn check_all(&self, offsets: Vec<GroupOffset>) -> Result<GroupOffsets, CommitOffsetsError> {
        self.check_serving()?;
        if offsets.len() > limits::COMMIT_OFFSETS_MAX {
            return Err(CommitOffsetsError::TooMany { count: offsets.len() });
        }
        let mut committed = GroupOffsets::new();
        for offset in offsets {
            let (topic, partition) = (offset.topic.clone(), offset.partition);
            let checked = self.check_offset(offset, Keep::AsGroup);
            let (key, value) = checked.map_err(|refused| match refused {
                OffsetRefusal::Lookup(lookup) => CommitOffsetsError::Lookup(lookup),
                OffsetRefusal::MetadataTooLong { bytes } => match TopicName::new(&topic) {
                    Ok(topic) => CommitOffsetsError::MetadataTooLong { topic, partition, bytes },
                    Err(_) => LookupError::UnknownTopic { name: topic }.into(),
                },
            })?;
            committed.insert(key, value);
        }
        Ok(committed)
    }

    /// Stores how far a group has come, on behalf of a member or of nobody; on the disk when this
    /// returns. Answers for each offset, in their order, whether it was stored or left out; the
    /// others are stored together or not at all.
    pub async fn commit_group_offsets(
        &self,
        principal: &Principal,
        request: CommitOffsets,
    ) -> Result<Vec<Result<(), OffsetRefusal>>, CommitError> {
        self.check_serving()?;
        let CommitOffsets { group, committer, offsets, keep } = request;
        if offsets.len() > limits::COMMIT_OFFSETS_MAX {
            return Err(CommitError::TooMany { count: offsets.len() });
        }
        let mut committed = GroupOffsets::new();
        let outcomes = offsets.into_iter().map(|offset| {
            let (key, value) = self.check_offset(offset, keep)?;
            committed.insert(key, value);
            Ok(())
        });
        let outcomes = outcomes.collect();
        tracing::debug!(%principal, %group, count = committed.len(), "committing offsets");
        self.inner.groups.commit(group, &committer, committed).await?;
        Ok(outcomes)
    }

    fn check_offset(
        &self,
        offset: GroupOffset,
        keep: Keep,
    ) -> Result<(TopicPartition, CommittedOffset), OffsetRefusal> {
        let key = self.partition_key(&offset.topic, offset.partition)?;
        let bytes = offset.metadata.len();
        if bytes > limits::OFFSET_METADATA_BYTES_MAX {
            return Err(OffsetRefusal::MetadataTooLong { bytes });
        }
        let committed = CommittedOffset {
            offset: offset.offset,
            leader_epoch: offset.leader_epoch,
            metadata: offset.metadata,
            commit_time: self.inner.parts.clock.now(),
            expire_time: match keep {
                Keep::AsGroup => None,
                Keep::Until(time) => Some(time),
            },
        };
        Ok((key, committed))
    }

    pub(super) fn partition_key(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<TopicPartition, LookupError> {
        let topic = self.inner.topics.get(topic)?;
        let count = topic.partitions.len();
        if partition as usize >= count {
            let (topic, partition) = (topic.name.clone(), i64::from(partition));
            return Err(LookupError::UnknownPartition { topic, partition, count });
        }
        Ok(TopicPartition { topic_id: topic.id, partition })
    }

    /// Everything that a group has committed, for topics that are there, by topic and partition.
    pub async fn fetch_offsets(
        &self,
        principal: &Principal,
        group: &str,
    ) -> Result<Vec<GroupOffset>, FetchOffsetsError> {
        let group = GroupId::new(group)?;
        self.fetch_group_offsets(principal, group, Stability::Any).await
    }

    /// Whether somebody may fetch a group's offsets as a member of it, at this epoch (OffsetFetch
    /// version 9 and later).
    pub fn check_fetcher(
        &self,
        group: &GroupId,
        member: &MemberId,
        epoch: MemberEpoch,
    ) -> Result<(), MemberError> {
        self.inner.groups.check_fetch(group, member, epoch)
    }

    /// Everything that a group has committed, for topics that are there, by topic and partition.
    /// Nothing is unstable as long as no transaction commits offsets.
    pub async fn fetch_group_offsets(
        &self,
        principal: &Principal,
        group: GroupId,
        _stability: Stability,
    ) -> Result<Vec<GroupOffset>, FetchOffsetsError> {
        tracing::debug!(%principal, %group, "fetching offsets");
        let committed = self.inner.groups.offsets(group).await?;
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

    /// Drops what a group has committed for these partitions; on the disk when this returns.
    /// Answers for each of them, in their order, whether that was so.
    pub async fn delete_group_offsets(
        &self,
        principal: &Principal,
        group: GroupId,
        partitions: Vec<(String, u32)>,
    ) -> Result<Vec<Result<(), DeleteOffsetRefusal>>, DeleteOffsetsError> {
        self.check_serving()?;
        if partitions.len() > limits::COMMIT_OFFSETS_MAX {
            return Err(DeleteOffsetsError::TooMany { count: partitions.len() });
        }
        let found: Vec<_> = partitions
            .into_iter()
            .map(|(topic, number)| Ok((self.partition_key(&topic, number)?, topic)))
            .collect::<Vec<Result<_, LookupError>>>();
        tracing::info!(%principal, %group, count = found.len(), "deleting offsets");
        let keys = found.iter().flatten().map(|(key, topic)| (topic.clone(), *key)).collect();
        let in_use = self.inner.groups.delete_offsets(group, keys).await?;
        let outcomes = found.into_iter().map(|found| match found {
            Ok((key, _)) if in_use.contains(&key) => Err(DeleteOffsetRefusal::SubscribedToTopic),
            Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        });
        Ok(outcomes.collect())
    }

    /// Where a group has come in one partition.
    pub(super) async fn committed_offset(
        &self,
        group: GroupId,
        topic_id: TopicId,
        partition: u32,
    ) -> Result<Option<Offset>, FetchOffsetsError> {
        let key = TopicPartition { topic_id, partition };
        Ok(self.inner.groups.offset(group, key).await?)
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
