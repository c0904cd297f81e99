//! ConsumerGroupDescribe, key 69, versions 0 and 1 (KIP-848, KIP-1099).
//!
//! Groups of the consumer protocol in full; one that is not there, or whose members are classic,
//! is GROUP_ID_NOT_FOUND. What is asked for twice is answered once, lest a small request have a
//! large answer.
//!
//! Authorized operations: with no authorization everything is allowed, and that is what is said.

use std::collections::BTreeMap;

use log_proto::kafka::messages::consumer_group_describe::{
    Assignment as WireAssignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    DescribedGroup, Member, TopicPartitions,
};
use log_proto::kafka::{ErrorCode, Str, Uuid};

use super::describe_groups::GROUP_OPERATIONS;
use super::repeats::once;
use crate::broker::GroupId;
use crate::broker::group_members::{
    Assignment, ConsumerGroupDescription, ConsumerMemberDescription, GroupKind,
};
use crate::kafka::Context;
use crate::kafka::error::Refusal;
use crate::topics::TopicId;

/// What a member speaks, by its number in the protocol.
const CLASSIC: i8 = 0;
const CONSUMER: i8 = 1;

type Names = BTreeMap<TopicId, String>;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &ConsumerGroupDescribeRequest,
) -> ConsumerGroupDescribeResponse {
    let groups = once(&request.group_ids, |id| *id).map(|id| {
        let described =
            describe(context, id).map(|group| found(group, request.include_authorized_operations));
        let described = described.unwrap_or_else(|refusal| DescribedGroup {
            error_code: refusal.number(),
            error_message: refusal.text(),
            ..Default::default()
        });
        DescribedGroup { group_id: id.clone(), ..described }
    });
    ConsumerGroupDescribeResponse { groups: groups.collect(), ..Default::default() }
}

fn describe(context: &Context, id: &Str) -> Result<ConsumerGroupDescription, Refusal> {
    let group = GroupId::new(id.as_str())?;
    let found = context.broker.describe_consumer_group(&context.principal, &group);
    found.ok_or_else(|| {
        Refusal::new(ErrorCode::GroupIdNotFound, format!("there is no consumer group {group}"))
    })
}

fn found(group: ConsumerGroupDescription, include_operations: bool) -> DescribedGroup {
    let names = group.topics;
    DescribedGroup {
        group_state: Str::from_static(group.listing.state.name()),
        group_epoch: group.epoch.get(),
        assignment_epoch: group.target_epoch.get(),
        assignor_name: Str::from_static(group.assignor.name()),
        members: group.members.into_iter().map(|one| member(one, &names)).collect(),
        authorized_operations: if include_operations { GROUP_OPERATIONS } else { i32::MIN },
        ..Default::default()
    }
}

fn member(member: ConsumerMemberDescription, names: &Names) -> Member {
    Member {
        member_id: member.member.as_str().into(),
        instance_id: member.instance.map(|instance| instance.as_str().into()),
        rack_id: member.rack.map(Into::into),
        member_epoch: member.epoch.get(),
        client_id: member.client_id.into(),
        // Java prints an address without a name in this way, and tools show it.
        client_host: format!("/{}", member.client_host).into(),
        subscribed_topic_names: member.subscribed.into_iter().map(Into::into).collect(),
        // As Kafka tells it where there is none.
        subscribed_topic_regex: Some(
            member.pattern.map(|pattern| pattern.as_str().into()).unwrap_or_default(),
        ),
        assignment: assignment(&member.assignment, names),
        target_assignment: assignment(&member.target, names),
        member_type: match member.speaks {
            GroupKind::Classic => CLASSIC,
            GroupKind::Consumer => CONSUMER,
        },
    }
}

/// Topics that are gone since have no name to be shown by, and are left out.
fn assignment(assignment: &Assignment, names: &Names) -> WireAssignment {
    let topics = assignment.iter().filter_map(|(id, partitions)| {
        let numbers = partitions.iter().filter_map(|number| i32::try_from(*number).ok());
        Some(TopicPartitions {
            topic_id: Uuid::from_bytes(*id.0.as_bytes()),
            topic_name: names.get(id)?.as_str().into(),
            partitions: numbers.collect(),
        })
    });
    WireAssignment { topic_partitions: topics.collect() }
}
