//! OffsetDelete, key 47, version 0 (KIP-496).
//!
//! Drops what a group has committed for some partitions. Those of topics that a member is
//! subscribed to are left as they are.

use log_proto::kafka::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::{TopicRef, partition_number, topic_of};
use crate::broker::GroupId;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    match delete(context, request).await {
        Ok(outcomes) => respond(request, &outcomes),
        Err(refusal) => OffsetDeleteResponse { error_code: refusal.number(), ..Default::default() },
    }
}

/// What came of each partition, in their order.
async fn delete(
    context: &Context,
    request: &OffsetDeleteRequest,
) -> Result<Vec<Result<(), Refusal>>, Refusal> {
    let group = GroupId::new(request.group_id.as_str())?;
    let mut partitions = Vec::new();
    let mut found = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let key = key(context, topic, partition.partition_index);
            found.push(key.map(|key| partitions.push(key)));
        }
    }
    let deleted =
        context.broker.delete_group_offsets(&context.principal, group, partitions).await?;
    let mut deleted = deleted.into_iter();
    let outcomes = found.into_iter().map(|found| {
        found?;
        Ok(deleted.next().expect("one outcome for each partition that was given")?)
    });
    Ok(outcomes.collect())
}

fn key(
    context: &Context,
    topic: &OffsetDeleteRequestTopic,
    index: i32,
) -> Result<(String, u32), Refusal> {
    let topic = topic_of(&context.broker, TopicRef::Name(&topic.name))?;
    Ok((topic.name.to_string(), partition_number(&topic, index)?))
}

fn respond(
    request: &OffsetDeleteRequest,
    outcomes: &[Result<(), Refusal>],
) -> OffsetDeleteResponse {
    let mut outcomes = outcomes.iter();
    let topics = request.topics.iter().map(|topic| OffsetDeleteResponseTopic {
        name: topic.name.clone(),
        partitions: topic
            .partitions
            .iter()
            .zip(&mut outcomes)
            .map(|(partition, outcome)| OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: number(outcome),
            })
            .collect(),
    });
    OffsetDeleteResponse { topics: topics.collect(), ..Default::default() }
}
