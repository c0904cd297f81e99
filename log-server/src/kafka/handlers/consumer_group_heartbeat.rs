//! ConsumerGroupHeartbeat, key 68, versions 0 and 1 (KIP-848, KIP-1082).
//!
//! A consumer says where it stands and what it owns, and is told where to go: the broker shares
//! out the work. Its member epoch is 0 when it joins, -1 when it leaves, -2 when it leaves and will
//! be back as the same static member. A field that is null is as it was. From version 1 on the
//! client brings its own member id; before, it may be given one.
//!
//! Topics may be given by name, by a pattern in RE2's syntax, or both; an empty pattern is none.
//!
//! Left out: racks (kept, and shown).

use std::time::Duration;

use log_proto::kafka::messages::consumer_group_heartbeat::{
    Assignment as WireAssignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    TopicPartitions,
};
use log_proto::kafka::{ErrorCode, Str, Uuid};

use super::group_fields::instance;
use crate::broker::GroupId;
use crate::broker::group_members::{
    Assignment, Assignor, ConsumerHeartbeat, ConsumerStep, HeartbeatAnswer, MemberEpoch, MemberId,
    PatternChange,
};
use crate::kafka::Context;
use crate::kafka::error::Refusal;
use crate::topics::TopicId;

/// The first version in which a client brings its own member id.
const OWN_MEMBER_ID: i16 = 1;

/// Member epochs that are none.
const JOIN: i32 = 0;
const LEAVE: i32 = -1;
const LEAVE_FOR_NOW: i32 = -2;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> ConsumerGroupHeartbeatResponse {
    match beat(context, version, request).await {
        Ok(answer) => respond(request, answer),
        Err(refusal) => ConsumerGroupHeartbeatResponse {
            error_code: refusal.number(),
            error_message: refusal.text(),
            ..Default::default()
        },
    }
}

async fn beat(
    context: &Context,
    version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<HeartbeatAnswer, Refusal> {
    check(request)?;
    let group = GroupId::new(request.group_id.as_str());
    let heartbeat = ConsumerHeartbeat {
        group: group.map_err(|error| invalid(error.to_string()))?,
        member: member(version, request)?,
        instance: instance(request.instance_id.as_ref())?,
        step: step(request.member_epoch)?,
        client_id: context.client_id.as_ref().map(ToString::to_string).unwrap_or_default(),
        client_host: context.client_host.to_string(),
        rack: request.rack_id.as_ref().map(ToString::to_string),
        rebalance_timeout: u64::try_from(request.rebalance_timeout_ms)
            .ok()
            .map(Duration::from_millis),
        subscribed: subscribed(request),
        pattern: pattern(context, request).await?,
        assignor: request.server_assignor.as_ref().map(assignor).transpose()?,
        owned: request.topic_partitions.as_deref().map(owned).transpose()?,
    };
    Ok(context.broker.consumer_heartbeat(&context.principal, &heartbeat).await?)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}

/// What Kafka refuses although it could be understood. Clients of ours shall not come to rely on it.
fn check(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rack_id.as_ref().is_some_and(Str::is_empty) {
        return Err(invalid("the rack is empty: name it, or leave it out"));
    }
    if request.member_epoch == LEAVE_FOR_NOW && request.instance_id.is_none() {
        return Err(invalid("only a static member leaves for a while: give its instance id"));
    }
    if request.member_epoch == JOIN && request.topic_partitions.is_none() {
        return Err(invalid("a member that joins owns nothing, and has to say so"));
    }
    Ok(())
}

fn member(version: i16, request: &ConsumerGroupHeartbeatRequest) -> Result<MemberId, Refusal> {
    let given = MemberId::new(request.member_id.as_str());
    let is_new = version < OWN_MEMBER_ID && request.member_epoch == JOIN;
    let fresh = || MemberId::new(&uuid::Uuid::new_v4().to_string());
    let member = given.or_else(|| is_new.then(fresh).flatten());
    member.ok_or_else(|| invalid("the member id is empty: make one, and keep it"))
}

fn step(member_epoch: i32) -> Result<ConsumerStep, Refusal> {
    match (member_epoch, MemberEpoch::new(member_epoch)) {
        (JOIN, _) => Ok(ConsumerStep::Join),
        (LEAVE, _) => Ok(ConsumerStep::Leave),
        (LEAVE_FOR_NOW, _) => Ok(ConsumerStep::LeaveForNow),
        (_, Some(epoch)) => Ok(ConsumerStep::Continue { epoch }),
        (_, None) => Err(invalid(format!("member epoch {member_epoch} is none"))),
    }
}

fn subscribed(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<String>> {
    let names = request.subscribed_topic_names.as_ref();
    names.map(|names| names.iter().map(ToString::to_string).collect())
}

async fn pattern(
    context: &Context,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<Option<PatternChange>, Refusal> {
    match request.subscribed_topic_regex.as_ref().map(Str::as_str) {
        None => Ok(None),
        Some("") => Ok(Some(PatternChange::Clear)),
        Some(regex) => Ok(Some(PatternChange::Set(context.broker.topic_pattern(regex).await?))),
    }
}

fn assignor(name: &Str) -> Result<Assignor, Refusal> {
    Assignor::named(name.as_str()).ok_or_else(|| {
        let message = format!("assignor {name:?} is unknown: uniform and range are there");
        Refusal::new(ErrorCode::UnsupportedAssignor, message)
    })
}

fn owned(topics: &[TopicPartitions]) -> Result<Assignment, Refusal> {
    let mut owned = Assignment::new();
    for topic in topics {
        let id = TopicId::from_slice(topic.topic_id.as_bytes());
        let partitions = owned.entry(id.ok_or_else(|| invalid("no topic id"))?).or_default();
        for index in &topic.partitions {
            let number = u32::try_from(*index);
            partitions.insert(number.map_err(|_| invalid(format!("partition {index} is none")))?);
        }
    }
    Ok(owned)
}

fn respond(
    request: &ConsumerGroupHeartbeatRequest,
    answer: HeartbeatAnswer,
) -> ConsumerGroupHeartbeatResponse {
    // Whoever goes has no more to say.
    let interval = answer.epoch.map_or(0, |_| answer.heartbeat_interval.as_millis());
    ConsumerGroupHeartbeatResponse {
        member_id: Some(answer.member.as_str().into()),
        // Whoever goes hears its own farewell.
        member_epoch: answer.epoch.map_or(request.member_epoch, MemberEpoch::get),
        heartbeat_interval_ms: i32::try_from(interval).unwrap_or(i32::MAX),
        assignment: answer.assignment.as_ref().map(assigned),
        ..Default::default()
    }
}

fn assigned(assignment: &Assignment) -> WireAssignment {
    let topics = assignment.iter().map(|(id, partitions)| TopicPartitions {
        topic_id: Uuid::from_bytes(*id.0.as_bytes()),
        partitions: partitions.iter().filter_map(|number| i32::try_from(*number).ok()).collect(),
    });
    WireAssignment { topic_partitions: topics.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Mode;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use crate::kafka::handlers::{consumer_group_describe, wire_id};
    use log_proto::kafka::messages::consumer_group_describe::ConsumerGroupDescribeRequest;

    fn joining(member: &str) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: member.into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        }
    }

    /// Goal: one consumer alone is given everything, is seen with it, and goes.
    #[tokio::test]
    async fn a_consumer_comes_and_goes() {
        let rig = Rig::with_topic().await;
        let joined = handle(&rig.context, 0, &joining("")).await;
        assert_encodes(0, &joined);
        assert_eq!((code(joined.error_code), joined.member_epoch), (ErrorCode::None, 1));
        let topic_id = wire_id(&rig.context.broker.topics().get("t").expect("the rig has it"));
        let all = TopicPartitions { topic_id, partitions: vec![0, 1] };
        let assignment = joined.assignment.expect("who joins is told");
        assert_eq!(assignment.topic_partitions, std::slice::from_ref(&all));
        let member_id = joined.member_id.expect("who has no id is given one");

        let request = ConsumerGroupDescribeRequest {
            group_ids: vec!["g".into(), "nobody".into()],
            ..Default::default()
        };
        for version in 0..=1 {
            let described = consumer_group_describe::handle(&rig.context, version, &request).await;
            assert_encodes(version, &described);
            let member = &described.groups[0].members[0];
            assert_eq!(member.member_id, member_id);
            let topic = &member.target_assignment.topic_partitions[0];
            assert_eq!((topic.topic_name.as_str(), &topic.partitions), ("t", &all.partitions));
            assert_eq!(code(described.groups[1].error_code), ErrorCode::GroupIdNotFound);
        }

        let leaving = ConsumerGroupHeartbeatRequest {
            member_epoch: LEAVE,
            member_id: member_id.clone(),
            ..joining("")
        };
        let left = handle(&rig.context, 0, &leaving).await;
        assert_eq!((code(left.error_code), left.member_epoch), (ErrorCode::None, LEAVE));
        let again = handle(&rig.context, 0, &leaving).await;
        assert_ne!(code(again.error_code), ErrorCode::None);
    }

    /// Goal: a pattern finds topics as they come and go; none of them the broker's own.
    #[tokio::test]
    async fn a_consumer_subscribes_by_pattern() {
        let rig = Rig::with_topic().await;
        let by_pattern = |regex: &str| ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: None,
            subscribed_topic_regex: Some(regex.into()),
            ..joining("m")
        };
        let joined = handle(&rig.context, 1, &by_pattern(".*t.*")).await;
        assert_encodes(1, &joined);
        assert_eq!(topics_told(&joined), 1, "{joined:?}");
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
        let described = consumer_group_describe::handle(&rig.context, 1, &request).await;
        let regex = &described.groups[0].members[0].subscribed_topic_regex;
        assert_eq!(regex.as_ref().map(Str::as_str), Some(".*t.*"));

        let broker = &rig.context.broker;
        let (principal, configs) = (&rig.context.principal, Default::default());
        broker.create_topic(principal, "t2", Some(1), configs, Mode::Apply).await.expect("made");
        let beat = |member_epoch| ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            member_epoch,
            rebalance_timeout_ms: -1,
            ..Default::default()
        };
        let told = handle(&rig.context, 1, &beat(joined.member_epoch)).await;
        assert_eq!((told.member_epoch, topics_told(&told)), (2, 2), "{told:?}");
        let again = handle(&rig.context, 1, &beat(2)).await;
        assert_eq!((again.member_epoch, again.assignment), (2, None));
        let clear = ConsumerGroupHeartbeatRequest {
            subscribed_topic_regex: Some(Str::default()),
            ..beat(2)
        };
        assert_eq!(topics_told(&handle(&rig.context, 1, &clear).await), 0);
    }

    fn topics_told(response: &ConsumerGroupHeartbeatResponse) -> usize {
        let assignment = response.assignment.as_ref().expect("it is told");
        assignment.topic_partitions.len()
    }

    #[tokio::test]
    async fn each_mistake_has_its_code() {
        let rig = Rig::with_topic().await;
        let good = joining("m");
        let cases = [
            (joining(""), ErrorCode::InvalidRequest),
            (
                ConsumerGroupHeartbeatRequest { member_epoch: -3, ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
            (
                ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
            (
                ConsumerGroupHeartbeatRequest {
                    server_assignor: Some("sticky".into()),
                    ..good.clone()
                },
                ErrorCode::UnsupportedAssignor,
            ),
            (
                ConsumerGroupHeartbeatRequest {
                    subscribed_topic_regex: Some("t(".into()),
                    ..good.clone()
                },
                ErrorCode::InvalidRegularExpression,
            ),
            (
                ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
            (
                ConsumerGroupHeartbeatRequest { group_id: Str::default(), ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
        ];
        for (request, expected) in cases {
            let refused = handle(&rig.context, 1, &request).await;
            assert_encodes(1, &refused);
            assert_eq!(code(refused.error_code), expected, "{request:?}");
        }
    }
}
