//! OffsetForLeaderEpoch, key 23, versions 2 to 4 (KIP-101, KIP-320).
//!
//! Where a leader epoch ended: what a consumer asks after a broker was gone, to notice that the
//! tail it had read is no more.

use log_proto::kafka::Str;
use log_proto::kafka::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopicResult,
};
use log_proto::types::LeaderEpoch;

use super::{TopicRef, check_leader_epoch, partition_of};
use crate::kafka::Context;
use crate::kafka::error::Refusal;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic.clone(),
        partitions: topic
            .partitions
            .iter()
            .map(|asked| {
                find(context, &topic.topic, asked).unwrap_or_else(|refusal| EpochEndOffset {
                    partition: asked.partition,
                    error_code: refusal.number(),
                    ..Default::default()
                })
            })
            .collect(),
    });
    OffsetForLeaderEpochResponse { topics: topics.collect(), ..Default::default() }
}

fn find(
    context: &Context,
    topic: &Str,
    asked: &OffsetForLeaderPartition,
) -> Result<EpochEndOffset, Refusal> {
    let (_, partition) = partition_of(&context.broker, TopicRef::Name(topic), asked.partition)?;
    check_leader_epoch(&partition, asked.current_leader_epoch)?;
    let epoch = LeaderEpoch::new(asked.leader_epoch);
    let found = epoch.and_then(|epoch| partition.log().epoch_end(epoch));
    let end = found.map(|(epoch, end)| (epoch.get(), end.get()));
    let (leader_epoch, end_offset) = end.unwrap_or((-1, -1));
    Ok(EpochEndOffset {
        partition: asked.partition,
        leader_epoch,
        end_offset,
        ..Default::default()
    })
}
