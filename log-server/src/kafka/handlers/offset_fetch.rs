//! OffsetFetch, key 9, versions 1 to 10 (KIP-88, KIP-320, KIP-447, KIP-709, KIP-848, KIP-1044).
//!
//! Says how far a group has come: in the partitions that are asked for, or, where the list is null
//! (version 2 and later), in all. Where nothing is committed the offset is -1, and that is no
//! error. Version 8 and later ask for many groups at a time, version 10 names topics by id.
//!
//! A member of a consumer group that says who it is (version 9 and later) must be at its current
//! epoch: its partitions may be another's by now.
//!
//! An error of a whole group stands beside it; in version 1, beside each of its partitions.
//! What is asked for twice is answered once: an offset may carry metadata a thousand times as long
//! as the question. `require_stable` holds by itself as long as no transaction commits offsets.

use std::collections::{HashMap, HashSet};

use log_proto::kafka::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use log_proto::kafka::{ErrorCode, Str, Uuid};
use log_proto::types::LeaderEpoch;

use super::repeats::once;
use super::{TopicRef, topic_of, wire_id};
use crate::broker::group_members::{MemberEpoch, MemberId};
use crate::broker::{GroupId, GroupOffset, Stability};
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

/// The first version with an error for the group as a whole.
const GROUP_ERROR: i16 = 2;
/// The first version that asks for many groups.
const BATCHED: i16 = 8;
/// The first version that names topics by id.
const BY_ID: i16 = 10;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &OffsetFetchRequest,
) -> OffsetFetchResponse {
    let stability = match request.require_stable {
        true => Stability::Require,
        false => Stability::Any,
    };
    if version < BATCHED {
        let group = batched(request);
        return alone(version, answer(context, version, stability, &group).await);
    }
    let mut groups = Vec::with_capacity(request.groups.len());
    for group in once(&request.groups, |group| &group.group_id) {
        groups.push(answer(context, version, stability, group).await);
    }
    OffsetFetchResponse { groups, ..Default::default() }
}

/// The one group of an old request, as a new one asks for it.
fn batched(request: &OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topic = |topic: &OffsetFetchRequestTopic| OffsetFetchRequestTopics {
        name: topic.name.clone(),
        partition_indexes: topic.partition_indexes.clone(),
        ..Default::default()
    };
    OffsetFetchRequestGroup {
        group_id: request.group_id.clone(),
        topics: request.topics.as_ref().map(|topics| topics.iter().map(topic).collect()),
        ..Default::default()
    }
}

async fn answer(
    context: &Context,
    version: i16,
    stability: Stability,
    group: &OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let fetched = fetch(context, stability, group).await;
    let topics = match (&fetched, &group.topics) {
        (Ok(offsets), Some(topics)) => asked(context, version, offsets, topics),
        (Ok(offsets), None) => all(context, offsets),
        (Err(refusal), Some(topics)) if version < GROUP_ERROR => refused(topics, refusal),
        (Err(_), _) => Vec::new(),
    };
    let group_id = group.group_id.clone();
    OffsetFetchResponseGroup { group_id, topics, error_code: number(&fetched) }
}

async fn fetch(
    context: &Context,
    stability: Stability,
    group: &OffsetFetchRequestGroup,
) -> Result<Vec<GroupOffset>, Refusal> {
    let id = GroupId::new(group.group_id.as_str())?;
    if let Some((member, epoch)) = fetcher(group) {
        context.broker.check_fetcher(&id, &member, epoch)?;
    }
    Ok(context.broker.fetch_group_offsets(&context.principal, id, stability).await?)
}

/// Who asks, if it says so (version 9 and later).
fn fetcher(group: &OffsetFetchRequestGroup) -> Option<(MemberId, MemberEpoch)> {
    let member = MemberId::new(group.member_id.as_ref()?.as_str())?;
    Some((member, MemberEpoch::new(group.member_epoch)?))
}

/// Those that were asked for, with or without an offset.
fn asked(
    context: &Context,
    version: i16,
    offsets: &[GroupOffset],
    topics: &[OffsetFetchRequestTopics],
) -> Vec<OffsetFetchResponseTopics> {
    let offsets: HashMap<(&str, i32), &GroupOffset> =
        offsets.iter().map(|offset| ((offset.topic.as_str(), index(offset)), offset)).collect();
    let mut seen = HashSet::new();
    let answer = |topic: &OffsetFetchRequestTopics| {
        let name = name_of(context, version, topic);
        let key = |number: &i32| (topic.name.clone(), topic.topic_id, *number);
        let numbers = topic.partition_indexes.iter().filter(|number| seen.insert(key(number)));
        let partition = |number: &i32| match &name {
            Ok(name) => match offsets.get(&(name.as_str(), *number)) {
                Some(offset) => committed(offset),
                None => nothing(*number, ErrorCode::None),
            },
            Err(refusal) => nothing(*number, refusal.code),
        };
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: numbers.map(partition).collect(),
        }
    };
    topics.iter().map(answer).collect()
}

/// A name need not be that of a topic: nothing is committed for it then, which is no error.
fn name_of(
    context: &Context,
    version: i16,
    topic: &OffsetFetchRequestTopics,
) -> Result<String, Refusal> {
    if version < BY_ID {
        return Ok(topic.name.to_string());
    }
    Ok(topic_of(&context.broker, TopicRef::Id(topic.topic_id))?.name.to_string())
}

/// Everything that is committed. The offsets come in the order of their topics.
fn all(context: &Context, offsets: &[GroupOffset]) -> Vec<OffsetFetchResponseTopics> {
    let topics = offsets.chunk_by(|one, other| one.topic == other.topic);
    let topic = |offsets: &[GroupOffset]| {
        let name = offsets[0].topic.as_str();
        // Deleted just now: its id is of no use any more.
        let topic = context.broker.topics().get(name);
        OffsetFetchResponseTopics {
            name: name.into(),
            topic_id: topic.map_or(Uuid::ZERO, |topic| wire_id(&topic)),
            partitions: offsets.iter().map(committed).collect(),
        }
    };
    topics.map(topic).collect()
}

fn refused(
    topics: &[OffsetFetchRequestTopics],
    refusal: &Refusal,
) -> Vec<OffsetFetchResponseTopics> {
    let answer = |topic: &OffsetFetchRequestTopics| {
        let partitions = topic.partition_indexes.iter();
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.map(|number| nothing(*number, refusal.code)).collect(),
        }
    };
    topics.iter().map(answer).collect()
}

fn committed(offset: &GroupOffset) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index(offset),
        committed_offset: offset.offset.get(),
        committed_leader_epoch: offset.leader_epoch.map_or(-1, LeaderEpoch::get),
        metadata: Some(offset.metadata.as_str().into()),
        error_code: ErrorCode::None.number(),
    }
}

fn index(offset: &GroupOffset) -> i32 {
    i32::try_from(offset.partition).expect("partitions have at most five digits")
}

fn nothing(number: i32, code: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: number,
        committed_offset: -1,
        metadata: Some(Str::default()),
        error_code: code.number(),
        ..Default::default()
    }
}

/// The one group of an old answer.
fn alone(version: i16, group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: partition.error_code,
    };
    let topic = |topic: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    };
    let error_code = if version < GROUP_ERROR { 0 } else { group.error_code };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::consumer_group_heartbeat;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use log_proto::kafka::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequest;
    use log_proto::types::Offset;

    async fn rig() -> Rig {
        let rig = Rig::with_topic().await;
        let offset = GroupOffset {
            topic: "t".into(),
            partition: 1,
            offset: Offset::new(7).expect("not negative"),
            leader_epoch: None,
            metadata: "m".into(),
        };
        let context = &rig.context;
        let committed = context.broker.commit_offsets(&context.principal, "g", vec![offset]);
        committed.await.expect("the group has no members");
        rig
    }

    /// The same question in the shape of every version.
    fn request(rig: &Rig, group: &str, numbers: Option<Vec<i32>>) -> OffsetFetchRequest {
        let topic_id = wire_id(&rig.context.broker.topics().get("t").expect("the rig has it"));
        let name = Str::from_static("t");
        let old = |partition_indexes| {
            vec![OffsetFetchRequestTopic { name: name.clone(), partition_indexes }]
        };
        let new = |partition_indexes| {
            vec![OffsetFetchRequestTopics { name: name.clone(), topic_id, partition_indexes }]
        };
        OffsetFetchRequest {
            group_id: group.into(),
            topics: numbers.clone().map(old),
            groups: vec![OffsetFetchRequestGroup {
                group_id: group.into(),
                topics: numbers.map(new),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    /// Partition, offset and error of the answer, whatever its shape; and the group's error.
    fn flat(response: &OffsetFetchResponse) -> (Vec<(i32, i64, i16)>, ErrorCode) {
        let Some(group) = response.groups.first() else {
            let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
            let partitions =
                partitions.map(|one| (one.partition_index, one.committed_offset, one.error_code));
            return (partitions.collect(), code(response.error_code));
        };
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions =
            partitions.map(|one| (one.partition_index, one.committed_offset, one.error_code));
        (partitions.collect(), code(group.error_code))
    }

    #[tokio::test]
    async fn what_was_committed_is_found_in_every_version() {
        let rig = rig().await;
        for version in 1..=10 {
            let asked = request(&rig, "g", Some(vec![1, 0, -5]));
            let response = handle(&rig.context, version, &asked).await;
            assert_encodes(version, &response);
            let expected = (vec![(1, 7, 0), (0, -1, 0), (-5, -1, 0)], ErrorCode::None);
            assert_eq!(flat(&response), expected, "version {version}");
            if version >= 2 {
                let all = handle(&rig.context, version, &request(&rig, "g", None)).await;
                assert_encodes(version, &all);
                assert_eq!(flat(&all), (vec![(1, 7, 0)], ErrorCode::None));
            }
        }
    }

    /// Goal: a client looks for the error where its version has it.
    #[tokio::test]
    async fn a_groups_error_stands_where_its_version_has_room() {
        let rig = rig().await;
        let invalid = ErrorCode::InvalidGroupId;
        for version in [1, 2, 7, 8, 10] {
            let asked = request(&rig, "", Some(vec![1]));
            let response = handle(&rig.context, version, &asked).await;
            assert_encodes(version, &response);
            let expected = match version {
                1 => (vec![(1, -1, invalid.number())], ErrorCode::None),
                _ => (vec![], invalid),
            };
            assert_eq!(flat(&response), expected, "version {version}");
        }
    }

    /// Goal: a consumer that was fenced does not go on from offsets that are no longer its own.
    #[tokio::test]
    async fn a_consumer_of_another_epoch_is_refused() {
        let rig = rig().await;
        let joining = ConsumerGroupHeartbeatRequest {
            group_id: "k".into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 10_000,
            subscribed_topic_names: Some(vec!["t".into()]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let joined = consumer_group_heartbeat::handle(&rig.context, 1, &joining).await;
        let mut asked = request(&rig, "k", None);
        for (member, epoch, expected) in [
            ("m", joined.member_epoch, ErrorCode::None),
            ("m", joined.member_epoch + 1, ErrorCode::StaleMemberEpoch),
            ("n", joined.member_epoch, ErrorCode::UnknownMemberId),
        ] {
            asked.groups[0].member_id = Some(member.into());
            asked.groups[0].member_epoch = epoch;
            let response = handle(&rig.context, 9, &asked).await;
            assert_eq!(flat(&response).1, expected, "{member} at {epoch}");
        }
    }

    #[tokio::test]
    async fn an_unknown_id_is_an_error_and_an_unknown_name_is_none() {
        let rig = rig().await;
        let mut asked = request(&rig, "g", Some(vec![1]));
        if let Some([topic]) = asked.groups[0].topics.as_deref_mut() {
            topic.topic_id = Uuid::from_bytes([9; 16]);
            topic.name = "nowhere".into();
        }
        let by_name = handle(&rig.context, 9, &asked).await;
        assert_eq!(flat(&by_name).0, [(1, -1, 0)]);
        let by_id = handle(&rig.context, 10, &asked).await;
        assert_eq!(flat(&by_id).0, [(1, -1, ErrorCode::UnknownTopicId.number())]);
    }
}
