//! What the Admin service says of groups, of both kinds in the same words.
//!
//! The rule: what members of a classic group tell each other is theirs. It is shown where it can
//! be read as the consumer protocol, and left out where it cannot: an administrator must be able
//! to look at every group.

use std::collections::{BTreeMap, BTreeSet};

use log_proto::kafka::{decode_assignment, decode_subscription};
use log_proto::v1;

use super::admin::AdminService;
use super::convert;
use super::error::Refusal;
use crate::broker::group_members::{
    Assignment, ConsumerGroupDescription, ConsumerMemberDescription, GroupDescription, GroupFilter,
    GroupKind, GroupListing, GroupState, MemberDescription,
};
use crate::broker::{
    DeleteOffsetsError, DescribedGroup, GroupId, GroupPartition, GroupProgress, Stability,
};
use crate::limits;
use crate::principal::Principal;
use crate::topics::TopicId;

impl AdminService {
    pub(super) async fn groups(&self, principal: &Principal) -> Result<Vec<v1::Group>, Refusal> {
        let listed = self.broker.list_groups(principal, &GroupFilter::default()).await;
        let listed = listed.map_err(|error| Refusal::unread(&error))?;
        Ok(listed.into_iter().map(group).collect())
    }

    pub(super) async fn group(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<v1::DescribeGroupResponse, Refusal> {
        let id = GroupId::new(id)?;
        let described = match self.broker.describe_any_group(principal, &id).await? {
            DescribedGroup::Classic(found) => classic(found),
            DescribedGroup::Consumer(found) => consumer(found),
        };
        let progress =
            self.broker.group_progress(principal, &id, assigned_to(&described.members)).await?;
        let partitions = progress.into_iter().map(partition).collect();
        Ok(v1::DescribeGroupResponse { partitions, ..described })
    }

    pub(super) async fn forget_group(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<(), Refusal> {
        Ok(self.broker.delete_group(principal, GroupId::new(id)?).await?)
    }

    pub(super) async fn delete_offsets(
        &self,
        principal: &Principal,
        request: v1::DeleteGroupOffsetsRequest,
    ) -> Result<Vec<v1::DeletedGroupOffset>, Refusal> {
        let group = GroupId::new(&request.group)?;
        let asked = self.asked_for(principal, &group, request.topics).await?;
        let deleted =
            self.broker.delete_group_offsets(principal, group, asked.clone()).await?.into_iter();
        let results = asked.into_iter().zip(deleted).map(|((topic, partition), outcome)| {
            let error = outcome.err().map(|refusal| Refusal::from(refusal).into_error());
            v1::DeletedGroupOffset { topic, partition: convert::number(partition), error }
        });
        Ok(results.collect())
    }

    /// The partitions that a request names. Bounded here already, because a topic's name may stand
    /// for thousands of them.
    async fn asked_for(
        &self,
        principal: &Principal,
        group: &GroupId,
        topics: Vec<v1::TopicPartitions>,
    ) -> Result<Vec<(String, u32)>, Refusal> {
        let named: usize = topics.iter().map(|topic| topic.partitions.len().max(1)).sum();
        check_count(named)?;
        let committed = match topics.iter().any(|topic| topic.partitions.is_empty()) {
            true => {
                self.broker.fetch_group_offsets(principal, group.clone(), Stability::Any).await?
            }
            false => Vec::new(),
        };
        let mut asked = Vec::with_capacity(named);
        for v1::TopicPartitions { topic, partitions } in topics {
            if partitions.is_empty() {
                self.broker.topics().get(&topic)?;
                let here = committed.iter().filter(|offset| offset.topic == topic);
                asked.extend(here.map(|offset| (topic.clone(), offset.partition)));
            }
            for number in partitions {
                asked.push((topic.clone(), convert::partition(&topic, number)?));
            }
            check_count(asked.len())?;
        }
        Ok(asked)
    }
}

fn check_count(count: usize) -> Result<(), Refusal> {
    if count <= limits::COMMIT_OFFSETS_MAX {
        return Ok(());
    }
    Err(DeleteOffsetsError::TooMany { count }.into())
}

fn group(listing: GroupListing) -> v1::Group {
    v1::Group {
        id: listing.group.as_str().to_owned(),
        kind: kind(listing.kind).into(),
        state: state(listing.state).into(),
        protocol_type: listing.protocol_type.unwrap_or_default(),
    }
}

fn kind(kind: GroupKind) -> v1::GroupKind {
    match kind {
        GroupKind::Classic => v1::GroupKind::Classic,
        GroupKind::Consumer => v1::GroupKind::Consumer,
    }
}

fn state(state: GroupState) -> v1::GroupState {
    match state {
        GroupState::Empty => v1::GroupState::Empty,
        GroupState::PreparingRebalance => v1::GroupState::PreparingRebalance,
        GroupState::CompletingRebalance => v1::GroupState::CompletingRebalance,
        GroupState::Stable => v1::GroupState::Stable,
        GroupState::Assigning => v1::GroupState::Assigning,
        GroupState::Reconciling => v1::GroupState::Reconciling,
    }
}

fn classic(found: GroupDescription) -> v1::DescribeGroupResponse {
    v1::DescribeGroupResponse {
        group: Some(group(found.listing)),
        assignor: found.protocol.unwrap_or_default(),
        epoch: None,
        members: found.members.into_iter().map(classic_member).collect(),
        partitions: Vec::new(),
    }
}

fn classic_member(member: MemberDescription) -> v1::GroupMember {
    let subscribed = decode_subscription(member.metadata).map(|read| read.topics);
    let assigned = decode_assignment(member.assignment).map(|read| read.assigned_partitions);
    let text = |topic: log_proto::kafka::Str| topic.as_str().to_owned();
    let assigned = assigned.unwrap_or_default().into_iter();
    v1::GroupMember {
        member_id: member.member.as_str().to_owned(),
        instance_id: member.instance.map(|instance| instance.as_str().to_owned()),
        client_id: member.client_id,
        client_host: member.client_host,
        epoch: None,
        subscribed_topics: subscribed.unwrap_or_default().into_iter().map(text).collect(),
        assignment: assigned
            .map(|one| v1::TopicPartitions { topic: text(one.topic), partitions: one.partitions })
            .collect(),
        target: Vec::new(),
    }
}

fn consumer(found: ConsumerGroupDescription) -> v1::DescribeGroupResponse {
    let names = found.topics;
    v1::DescribeGroupResponse {
        group: Some(group(found.listing)),
        assignor: found.assignor.name().to_owned(),
        epoch: Some(found.epoch.get()),
        members: found.members.into_iter().map(|one| consumer_member(one, &names)).collect(),
        partitions: Vec::new(),
    }
}

fn consumer_member(
    member: ConsumerMemberDescription,
    names: &BTreeMap<TopicId, String>,
) -> v1::GroupMember {
    v1::GroupMember {
        member_id: member.member.as_str().to_owned(),
        instance_id: member.instance.map(|instance| instance.as_str().to_owned()),
        client_id: member.client_id,
        client_host: member.client_host,
        epoch: Some(member.epoch.get()),
        subscribed_topics: member.subscribed,
        assignment: assignment(&member.assignment, names),
        target: assignment(&member.target, names),
    }
}

/// Topics that are gone since have no name to be shown by, and are left out.
fn assignment(
    assignment: &Assignment,
    names: &BTreeMap<TopicId, String>,
) -> Vec<v1::TopicPartitions> {
    let topics = assignment.iter().filter_map(|(id, partitions)| {
        let partitions = partitions.iter().copied().map(convert::number).collect();
        Some(v1::TopicPartitions { topic: names.get(id)?.clone(), partitions })
    });
    topics.collect()
}

/// What members have, or say that they have.
fn assigned_to(members: &[v1::GroupMember]) -> BTreeSet<(String, u32)> {
    let topics = members.iter().flat_map(|member| &member.assignment);
    let partitions = topics.flat_map(|v1::TopicPartitions { topic, partitions }| {
        let numbers = partitions.iter().filter_map(|number| u32::try_from(*number).ok());
        numbers.map(|number| (topic.clone(), number))
    });
    partitions.collect()
}

fn partition(found: GroupPartition) -> v1::GroupPartition {
    let GroupPartition { topic, partition, committed, progress } = found;
    let committed_offset = committed.as_ref().map(|committed| committed.offset.get());
    let known = v1::GroupPartition {
        topic,
        partition: convert::number(partition),
        committed_offset,
        metadata: committed.map(|committed| committed.metadata).unwrap_or_default(),
        ..v1::GroupPartition::default()
    };
    match progress {
        Ok(progress) => with_progress(known, progress),
        Err(failure) => v1::GroupPartition { failure: failure.to_string(), ..known },
    }
}

fn with_progress(known: v1::GroupPartition, progress: GroupProgress) -> v1::GroupPartition {
    let GroupProgress { offsets, lag } = progress;
    let (lag, age) = match lag {
        Some(lag) => (Some(lag.offsets), lag.age),
        None => (None, Ok(None)),
    };
    let (age, failure) = match age {
        Ok(age) => (age, String::new()),
        Err(failure) => (None, failure),
    };
    v1::GroupPartition {
        log_start_offset: offsets.log_start.get(),
        high_watermark: offsets.high_watermark.get(),
        log_end_offset: offsets.log_end.get(),
        lag: lag.map(|lag| i64::try_from(lag).unwrap_or(i64::MAX)),
        lag_ms: age.map(|age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        failure,
        ..known
    }
}
