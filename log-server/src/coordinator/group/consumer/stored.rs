//! A consumer group on the disk, which is all of it but the deadlines.

use std::collections::BTreeMap;
use std::time::Duration;

use log_proto::types::TimestampMs;

use super::super::id::{GroupId, GroupInstanceId, MemberEpoch, MemberId};
use super::super::record::{
    Change, ClassicSideStored, ConsumerGroupStored, ConsumerMemberStored, GroupRecord,
    PartitionsStored, TopicStored,
};
use super::super::request::{Assignment, Assignor};
use super::super::state::topic_id;
use super::super::stored::{millis, protocol_of_record, protocol_to_record};
use super::TopicShape;
use super::member::{ClassicSide, ConsumerMember, Phase, Presence};
use crate::coordinator::NotUnderstood;
use crate::topic_pattern::TopicPattern;

/// Everything that is remembered of a consumer group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct StoredConsumerGroup {
    pub(super) epoch: MemberEpoch,
    pub(super) target_epoch: MemberEpoch,
    /// When it last changed: since when it has been empty, if it is.
    pub(super) state_since: TimestampMs,
    /// What the target was computed for: the topics that members subscribe to, by name.
    pub(super) topics: BTreeMap<String, TopicShape>,
    pub(super) members: BTreeMap<MemberId, ConsumerMember>,
}

impl StoredConsumerGroup {
    pub(in super::super) fn to_record(&self, group: &GroupId) -> GroupRecord {
        let topics = self.topics.iter().map(|(name, (id, partitions))| TopicStored {
            name: name.clone(),
            topic_id: id.0.as_bytes().to_vec(),
            partitions: *partitions,
        });
        Change::ConsumerGroup(ConsumerGroupStored {
            group: group.as_str().to_owned(),
            epoch: self.epoch.get(),
            target_epoch: self.target_epoch.get(),
            state_since_ms: self.state_since.get(),
            topics: topics.collect(),
            members: self.members.values().map(ConsumerMember::to_record).collect(),
        })
        .into()
    }

    pub(in super::super) fn parse(record: ConsumerGroupStored) -> Result<Self, NotUnderstood> {
        let mut group = Self {
            epoch: epoch(record.epoch)?,
            target_epoch: epoch(record.target_epoch)?,
            state_since: TimestampMs::new(record.state_since_ms),
            ..Self::default()
        };
        for topic in record.topics {
            let shape = (topic_id(&topic.topic_id)?, topic.partitions);
            group.topics.insert(topic.name, shape);
        }
        for member in record.members {
            let member = ConsumerMember::parse(member)?;
            group.members.insert(member.id.clone(), member);
        }
        Ok(group)
    }
}

impl ConsumerMember {
    fn to_record(&self) -> ConsumerMemberStored {
        ConsumerMemberStored {
            member: self.id.as_str().to_owned(),
            instance: self.instance.as_ref().map(|instance| instance.as_str().to_owned()),
            rack: self.rack.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            subscribed: self.subscribed.iter().cloned().collect(),
            assignor: self.assignor.map(|assignor| assignor.name().to_owned()),
            epoch: self.epoch.get(),
            previous_epoch: self.previous_epoch.get(),
            is_away: self.presence == Presence::Away,
            phase: match self.phase {
                Phase::Stable => 0,
                Phase::Unrevoked => 1,
                Phase::Unreleased => 2,
            },
            assigned: to_partitions(&self.assigned),
            revoking: to_partitions(&self.revoking),
            target: to_partitions(&self.target),
            pattern: self.pattern.as_ref().map(|pattern| pattern.as_str().to_owned()),
            classic: self.classic.as_ref().map(|side| ClassicSideStored {
                session_timeout_ms: millis(side.session_timeout),
                protocols: side.protocols.iter().map(protocol_to_record).collect(),
            }),
        }
    }

    fn parse(record: ConsumerMemberStored) -> Result<Self, NotUnderstood> {
        let instance = record.instance.as_deref().map(GroupInstanceId::new).transpose();
        Ok(Self {
            id: MemberId::new(&record.member)
                .ok_or(NotUnderstood { what: "a member without an id" })?,
            instance: instance
                .map_err(|_| NotUnderstood { what: "a group instance id that is none" })?,
            rack: record.rack,
            client_id: record.client_id,
            client_host: record.client_host,
            rebalance_timeout: Duration::from_millis(record.rebalance_timeout_ms),
            subscribed: record.subscribed.into_iter().collect(),
            pattern: record.pattern.as_deref().map(TopicPattern::stored),
            classic: record.classic.map(|side| ClassicSide {
                session_timeout: Duration::from_millis(side.session_timeout_ms),
                protocols: side.protocols.into_iter().map(protocol_of_record).collect(),
            }),
            // One that only a newer broker knows is not asked for.
            assignor: record.assignor.as_deref().and_then(Assignor::named),
            epoch: epoch(record.epoch)?,
            previous_epoch: epoch(record.previous_epoch)?,
            presence: if record.is_away { Presence::Away } else { Presence::Here },
            phase: match record.phase {
                0 => Phase::Stable,
                1 => Phase::Unrevoked,
                2 => Phase::Unreleased,
                _ => return Err(NotUnderstood { what: "a phase of an unknown kind" }),
            },
            assigned: assignment(record.assigned)?,
            revoking: assignment(record.revoking)?,
            target: assignment(record.target)?,
        })
    }
}

fn epoch(number: i32) -> Result<MemberEpoch, NotUnderstood> {
    MemberEpoch::new(number).ok_or(NotUnderstood { what: "a negative epoch" })
}

fn to_partitions(assignment: &Assignment) -> Vec<PartitionsStored> {
    let topics = assignment.iter().map(|(topic, numbers)| PartitionsStored {
        topic_id: topic.0.as_bytes().to_vec(),
        partitions: numbers.iter().copied().collect(),
    });
    topics.collect()
}

fn assignment(stored: Vec<PartitionsStored>) -> Result<Assignment, NotUnderstood> {
    let topics = stored
        .into_iter()
        .map(|topic| Ok((topic_id(&topic.topic_id)?, topic.partitions.into_iter().collect())));
    topics.collect()
}
