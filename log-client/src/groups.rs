//! Groups, as an administrator sees them: their members, and how far they have come.
//!
//! The rule: nothing about a group is remembered here. Every answer is the broker's, of one moment.

use std::time::Duration;

use log_proto::{types::Offset, v1};

use crate::{
    admin::{Admin, REQUEST_TIMEOUT, not_empty},
    error::{BrokerError, RequestError},
};

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its id.
    pub id: String,
    /// Who shares out its work.
    pub kind: GroupKind,
    /// What it is up to.
    pub state: GroupState,
    /// What its members are: `consumer` for consumers. `None` if it only ever had offsets.
    pub protocol_type: Option<String>,
}

/// Who shares out the work of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupKind {
    /// One of its members.
    Classic,
    /// The broker (KIP-848).
    Consumer,
    /// The broker names a kind that this client does not know.
    Unknown,
}

impl GroupKind {
    /// As Kafka's tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Unknown => "unknown",
        }
    }
}

/// What a group is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has no members, and perhaps offsets.
    Empty,
    /// Its members are asked to join anew.
    PreparingRebalance,
    /// The leader is to assign.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
    /// It has changed, and its new assignment is not computed yet.
    Assigning,
    /// Its members are on their way to what they are to have.
    Reconciling,
    /// The broker names a state that this client does not know.
    Unknown,
}

impl GroupState {
    /// As Kafka's tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Unknown => "Unknown",
        }
    }
}

/// A group in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// As in a list.
    pub group: GroupSummary,
    /// How the work is shared out: the broker's assignor, or the protocol that the members have
    /// agreed on. `None` where there is none yet.
    pub assignor: Option<String>,
    /// Raised by every change of a consumer group; `None` of a classic one.
    pub epoch: Option<u32>,
    /// Those who share the work.
    pub members: Vec<GroupMember>,
    /// Those with a committed offset, and those that a member has, by topic and number.
    pub partitions: Vec<GroupPartition>,
}

impl GroupDescription {
    /// The member that has a partition.
    pub fn owner_of(&self, topic: &str, partition: u32) -> Option<&GroupMember> {
        let has = |assigned: &TopicPartitions| {
            assigned.topic == topic && assigned.partitions.contains(&partition)
        };
        self.members.iter().find(|member| member.assignment.iter().any(has))
    }
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its name as a static member.
    pub instance_id: Option<String>,
    /// What the client calls itself.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// How far a member of a consumer group has come; `None` of a classic one's.
    pub epoch: Option<u32>,
    /// The topics that it wants to read. Of a classic group known while it is stable.
    pub subscribed_topics: Vec<String>,
    /// What it has. Of a classic group known while it is stable.
    pub assignment: Vec<TopicPartitions>,
    /// What a member of a consumer group is to have in the end.
    pub target: Vec<TopicPartitions>,
}

/// Some partitions of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// The topic.
    pub topic: String,
    /// Numbers, from 0.
    pub partitions: Vec<u32>,
}

/// How far a group has come in a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPartition {
    /// The topic.
    pub topic: String,
    /// Its number, from 0.
    pub partition: u32,
    /// The next record that the group reads; `None` if it has committed none here.
    pub committed_offset: Option<Offset>,
    /// What was committed beside the offset.
    pub metadata: String,
    /// First offset that can be read.
    pub log_start_offset: Offset,
    /// End of what a consumer sees. Exclusive.
    pub high_watermark: Offset,
    /// Next offset to assign.
    pub log_end_offset: Offset,
    /// From the next record that the group can read to the high watermark; `None` without a
    /// commit. As many records, unless some of them were compacted away.
    pub lag: Option<u64>,
    /// The age of the next record that the group can read, by its timestamp. `None` if it has
    /// caught up, has committed nothing, or the record carries no time.
    pub lag_time: Option<Duration>,
    /// Why the offsets or the age are not known, if they are not.
    pub failure: Option<String>,
}

/// What became of a committed offset that was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedGroupOffset {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: u32,
    /// Why it was not deleted. It is no error if there was nothing to delete.
    pub outcome: Result<(), BrokerError>,
}

impl Admin {
    /// All groups of both kinds, by id; those that have only offsets among them.
    pub async fn list_groups(&self) -> Result<Vec<GroupSummary>, RequestError> {
        let mut client = self.connection.admin();
        let request = v1::ListGroupsRequest {};
        let answer = self.connection.answer(REQUEST_TIMEOUT, client.list_groups(request)).await?;
        Ok(answer.groups.into_iter().map(summary).collect())
    }

    /// A group, its members, and how far it has come. [`ErrorCode::GroupIdNotFound`] if there is
    /// none.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let admin = log_client::Client::new("127.0.0.1:9094")?.admin();
    /// for partition in admin.describe_group("billing").await?.partitions {
    ///     println!("{}-{}: {:?}", partition.topic, partition.partition, partition.lag);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`ErrorCode::GroupIdNotFound`]: crate::ErrorCode::GroupIdNotFound
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, RequestError> {
        let request = v1::DescribeGroupRequest { group: group.to_owned() };
        let mut client = self.connection.admin();
        let answer =
            self.connection.answer(REQUEST_TIMEOUT, client.describe_group(request)).await?;
        let group = answer.group.ok_or_else(|| self.connection.bad_answer("no group in it"))?;
        let partitions: Option<Vec<_>> = answer.partitions.into_iter().map(partition).collect();
        Ok(GroupDescription {
            group: summary(group),
            assignor: not_empty(answer.assignor),
            epoch: answer.epoch.and_then(|epoch| u32::try_from(epoch).ok()),
            members: answer.members.into_iter().map(member).collect(),
            partitions: partitions
                .ok_or_else(|| self.connection.bad_answer("a negative partition, offset or lag"))?,
        })
    }

    /// Forgets a group and its offsets; on disk when this returns. Refused with
    /// [`ErrorCode::NonEmptyGroup`] while it has members.
    ///
    /// [`ErrorCode::NonEmptyGroup`]: crate::ErrorCode::NonEmptyGroup
    pub async fn delete_group(&self, group: &str) -> Result<(), RequestError> {
        let request = v1::DeleteGroupRequest { group: group.to_owned() };
        let mut client = self.connection.admin();
        self.connection.answer(REQUEST_TIMEOUT, client.delete_group(request)).await.map(|_| ())
    }

    /// Forgets what a group has committed in some partitions of a topic, or in all of them if none
    /// is named; on disk when this returns. Each partition is answered for itself: those that a
    /// member reads are left as they are.
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        topic: &str,
        partitions: &[u32],
    ) -> Result<Vec<DeletedGroupOffset>, RequestError> {
        let numbers = partitions.iter().map(|&partition| partition as i32).collect();
        let topic = v1::TopicPartitions { topic: topic.to_owned(), partitions: numbers };
        let request =
            v1::DeleteGroupOffsetsRequest { group: group.to_owned(), topics: vec![topic] };
        let mut client = self.connection.admin();
        let answer =
            self.connection.answer(REQUEST_TIMEOUT, client.delete_group_offsets(request)).await?;
        let results: Option<Vec<_>> = answer.results.into_iter().map(deleted).collect();
        results.ok_or_else(|| self.connection.bad_answer("a negative partition"))
    }
}

fn summary(wire: v1::Group) -> GroupSummary {
    let (kind, state) = (kind(wire.kind()), state(wire.state()));
    GroupSummary { id: wire.id, kind, state, protocol_type: not_empty(wire.protocol_type) }
}

fn kind(wire: v1::GroupKind) -> GroupKind {
    match wire {
        v1::GroupKind::Classic => GroupKind::Classic,
        v1::GroupKind::Consumer => GroupKind::Consumer,
        v1::GroupKind::Unspecified => GroupKind::Unknown,
    }
}

fn state(wire: v1::GroupState) -> GroupState {
    match wire {
        v1::GroupState::Empty => GroupState::Empty,
        v1::GroupState::PreparingRebalance => GroupState::PreparingRebalance,
        v1::GroupState::CompletingRebalance => GroupState::CompletingRebalance,
        v1::GroupState::Stable => GroupState::Stable,
        v1::GroupState::Assigning => GroupState::Assigning,
        v1::GroupState::Reconciling => GroupState::Reconciling,
        v1::GroupState::Unspecified => GroupState::Unknown,
    }
}

fn member(wire: v1::GroupMember) -> GroupMember {
    GroupMember {
        member_id: wire.member_id,
        instance_id: wire.instance_id,
        client_id: wire.client_id,
        client_host: wire.client_host,
        epoch: wire.epoch.and_then(|epoch| u32::try_from(epoch).ok()),
        subscribed_topics: wire.subscribed_topics,
        assignment: wire.assignment.into_iter().map(topic_partitions).collect(),
        target: wire.target.into_iter().map(topic_partitions).collect(),
    }
}

/// What a member of a classic group is assigned is what another member said; numbers that cannot
/// be are left out.
fn topic_partitions(wire: v1::TopicPartitions) -> TopicPartitions {
    let numbers = wire.partitions.into_iter().filter_map(|number| u32::try_from(number).ok());
    TopicPartitions { topic: wire.topic, partitions: numbers.collect() }
}

fn partition(wire: v1::GroupPartition) -> Option<GroupPartition> {
    Some(GroupPartition {
        topic: wire.topic,
        partition: u32::try_from(wire.partition).ok()?,
        committed_offset: match wire.committed_offset {
            Some(offset) => Some(Offset::new(offset)?),
            None => None,
        },
        metadata: wire.metadata,
        log_start_offset: Offset::new(wire.log_start_offset)?,
        high_watermark: Offset::new(wire.high_watermark)?,
        log_end_offset: Offset::new(wire.log_end_offset)?,
        lag: wire.lag.map(u64::try_from).transpose().ok()?,
        lag_time: wire.lag_ms.map(u64::try_from).transpose().ok()?.map(Duration::from_millis),
        failure: not_empty(wire.failure),
    })
}

fn deleted(wire: v1::DeletedGroupOffset) -> Option<DeletedGroupOffset> {
    Some(DeletedGroupOffset {
        topic: wire.topic,
        partition: u32::try_from(wire.partition).ok()?,
        outcome: wire.error.map_or(Ok(()), |error| Err(error.into())),
    })
}
