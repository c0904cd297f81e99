//! OffsetCommit, key 8, versions 2 to 10 (KIP-211, KIP-320, KIP-345, KIP-848, KIP-1044).
//!
//! Stores how far a group has come, on behalf of a member or, while the group has none, of
//! anybody. Offsets of partitions that are not there, or with too much metadata, are left out and
//! said so; the others are stored together or not at all, on the disk when this answers.
//!
//! Versions 2 to 4 may say how long the offsets are kept. Differs from Kafka: an empty group id and
//! a negative offset are refused.

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::group_fields::instance;
use super::{TopicRef, partition_number, topic_of};
use crate::broker::group_members::{GenerationId, MemberError, MemberId};
use crate::broker::{CommitError, CommitOffsets, Committer, GroupId, GroupOffset, Keep};
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

/// The first version that tells a member that its group is gone, instead of its generation, and
/// that knows the epochs of the consumer protocol.
const GROUP_NOT_FOUND: i16 = 9;
const MEMBER_EPOCH: i16 = 9;
/// The first version that names topics by id.
const BY_ID: i16 = 10;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &OffsetCommitRequest,
) -> OffsetCommitResponse {
    let outcomes = match commit(context, version, request).await {
        Ok(outcomes) => outcomes,
        Err(refusal) => vec![Err(refusal); count(request)],
    };
    respond(request, &outcomes)
}

fn count(request: &OffsetCommitRequest) -> usize {
    request.topics.iter().map(|topic| topic.partitions.len()).sum()
}

/// What came of each partition, in their order.
async fn commit(
    context: &Context,
    version: i16,
    request: &OffsetCommitRequest,
) -> Result<Vec<Result<(), Refusal>>, Refusal> {
    let group = GroupId::new(request.group_id.as_str())?;
    let committer = Committer {
        member: MemberId::new(request.member_id.as_str()),
        instance: instance(request.group_instance_id.as_ref())?,
        generation: GenerationId::new(request.generation_id_or_member_epoch),
    };
    let (found, offsets) = translate(context, version, request);
    let keep = keep(context.broker.now(), request.retention_time_ms);
    let committing = CommitOffsets { group, committer, offsets, keep };
    let committed = context.broker.commit_group_offsets(&context.principal, committing).await;
    let mut committed = committed.map_err(|error| refusal(version, error))?.into_iter();
    let outcomes = found.into_iter().map(|found| {
        found?;
        Ok(committed.next().expect("one outcome for each offset that was given")?)
    });
    Ok(outcomes.collect())
}

/// Whether each partition could be found, and the offsets of those that were.
fn translate(
    context: &Context,
    version: i16,
    request: &OffsetCommitRequest,
) -> (Vec<Result<(), Refusal>>, Vec<GroupOffset>) {
    let mut found = Vec::with_capacity(count(request));
    let mut offsets = Vec::with_capacity(count(request));
    for topic in &request.topics {
        for partition in &topic.partitions {
            let offset = group_offset(context, version, topic, partition);
            found.push(offset.map(|offset| offsets.push(offset)));
        }
    }
    (found, offsets)
}

fn group_offset(
    context: &Context,
    version: i16,
    topic: &OffsetCommitRequestTopic,
    partition: &OffsetCommitRequestPartition,
) -> Result<GroupOffset, Refusal> {
    let named = TopicRef::new(version >= BY_ID, topic.topic_id, &topic.name);
    let topic = topic_of(&context.broker, named)?;
    let offset = Offset::new(partition.committed_offset).ok_or_else(|| {
        let message = format!("offset {} is none: commit 0 or more", partition.committed_offset);
        Refusal::new(ErrorCode::InvalidRequest, message)
    })?;
    let metadata = partition.committed_metadata.as_ref();
    Ok(GroupOffset {
        topic: topic.name.to_string(),
        partition: partition_number(&topic, partition.partition_index)?,
        offset,
        leader_epoch: LeaderEpoch::new(partition.committed_leader_epoch),
        metadata: metadata.map(ToString::to_string).unwrap_or_default(),
    })
}

fn keep(now: TimestampMs, retention_ms: i64) -> Keep {
    match u64::try_from(retention_ms) {
        Ok(_) => Keep::Until(TimestampMs::new(now.get().saturating_add(retention_ms))),
        Err(_) => Keep::AsGroup,
    }
}

/// Older clients do not know that a group may be gone, but join anew when their generation is old.
fn refusal(version: i16, error: CommitError) -> Refusal {
    match error {
        CommitError::UnknownGroup { .. } if version < GROUP_NOT_FOUND => {
            Refusal::new(ErrorCode::IllegalGeneration, error.to_string())
        }
        CommitError::Member(MemberError::StaleEpoch { .. }) if version < MEMBER_EPOCH => {
            let message = "the group has consumers of the new protocol: commit as one of them";
            Refusal::new(ErrorCode::UnsupportedVersion, message)
        }
        error => error.into(),
    }
}

fn respond(
    request: &OffsetCommitRequest,
    outcomes: &[Result<(), Refusal>],
) -> OffsetCommitResponse {
    let mut outcomes = outcomes.iter();
    // A topic of which nothing is said has no place in the answer.
    let topics = request.topics.iter().filter(|topic| !topic.partitions.is_empty());
    let topics = topics.map(|topic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(partition, outcome)| OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: number(outcome),
            })
            .collect(),
    });
    OffsetCommitResponse { topics: topics.collect(), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::handlers::testing::{Rig, assert_encodes, code};
    use crate::kafka::handlers::{offset_delete, wire_id};
    use log_proto::kafka::Str;
    use log_proto::kafka::messages::offset_delete::{
        OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    };

    fn at(partition_index: i32, committed_offset: i64) -> OffsetCommitRequestPartition {
        OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_metadata: None,
            ..Default::default()
        }
    }

    fn request(rig: &Rig) -> OffsetCommitRequest {
        let topic = rig.context.broker.topics().get("t").expect("the rig has it");
        OffsetCommitRequest {
            group_id: "g".into(),
            topics: vec![
                OffsetCommitRequestTopic {
                    name: "nowhere".into(),
                    partitions: vec![at(0, 1)],
                    ..Default::default()
                },
                OffsetCommitRequestTopic {
                    name: "t".into(),
                    topic_id: wire_id(&topic),
                    partitions: vec![at(1, 7), at(2, 7), at(-1, 7), at(0, -1)],
                },
            ],
            ..Default::default()
        }
    }

    fn codes(response: &OffsetCommitResponse) -> Vec<ErrorCode> {
        let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.map(|partition| code(partition.error_code)).collect()
    }

    /// Goal: one bad partition does not keep the others from being committed, in any version.
    #[tokio::test]
    async fn each_partition_has_its_own_outcome() {
        let rig = Rig::with_topic().await;
        for version in 2..=10 {
            let response = handle(&rig.context, version, &request(&rig)).await;
            assert_encodes(version, &response);
            let missing = match version < BY_ID {
                true => ErrorCode::UnknownTopicOrPartition,
                false => ErrorCode::UnknownTopicId,
            };
            let expected = [
                missing,
                ErrorCode::None,
                ErrorCode::UnknownTopicOrPartition,
                ErrorCode::UnknownTopicOrPartition,
                ErrorCode::InvalidRequest,
            ];
            assert_eq!(codes(&response), expected, "version {version}");
        }
        let group = GroupId::new("g").expect("a good id");
        let context = &rig.context;
        let stored =
            context.broker.fetch_group_offsets(&context.principal, group, Default::default());
        let stored = stored.await.expect("the coordinator serves");
        assert_eq!((stored.len(), stored[0].partition, stored[0].offset.get()), (1, 1, 7));
    }

    #[tokio::test]
    async fn a_member_of_no_group_joins_anew() {
        let rig = Rig::with_topic().await;
        let request = OffsetCommitRequest {
            generation_id_or_member_epoch: 3,
            member_id: "m".into(),
            ..request(&rig)
        };
        let old = handle(&rig.context, 8, &request).await;
        assert_eq!(codes(&old)[1], ErrorCode::IllegalGeneration);
        let new = handle(&rig.context, 9, &request).await;
        assert_eq!(codes(&new)[1], ErrorCode::GroupIdNotFound);
        let nameless = OffsetCommitRequest { group_id: Str::default(), ..request };
        let refused = handle(&rig.context, 9, &nameless).await;
        assert_eq!(codes(&refused), [ErrorCode::InvalidGroupId; 5]);
    }

    #[tokio::test]
    async fn deleting_offsets_answers_for_each_partition() {
        let rig = Rig::with_topic().await;
        handle(&rig.context, 9, &request(&rig)).await;
        let partition = |partition_index| OffsetDeleteRequestPartition { partition_index };
        let mut request = OffsetDeleteRequest {
            group_id: "g".into(),
            topics: vec![OffsetDeleteRequestTopic {
                name: "t".into(),
                partitions: vec![partition(9), partition(1)],
            }],
        };
        let deleted = offset_delete::handle(&rig.context, 0, &request).await;
        let partitions = &deleted.topics[0].partitions;
        let codes = [code(partitions[0].error_code), code(partitions[1].error_code)];
        assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition, ErrorCode::None]);
        request.group_id = "nobody".into();
        let refused = offset_delete::handle(&rig.context, 0, &request).await;
        assert_eq!(code(refused.error_code), ErrorCode::GroupIdNotFound);
        assert!(refused.topics.is_empty());
    }
}
