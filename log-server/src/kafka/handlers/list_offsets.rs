//! ListOffsets, key 2, versions 1 to 11 (KIP-79, 207, 320, 405, 734, 1005, 1023).
//!
//! A timestamp finds the first record stamped at or after it; -1 the end that the client may see,
//! -2 the start, -3 the record with the largest timestamp. -4 (the start on the local disk) is the
//! start; -5 (the end of what is in tiered storage) and -6 (the start of what is to go there) are
//! nothing, as all there is lies on this disk. A partition that is named twice is refused, once, as
//! with Kafka: each may mean a search.

use log_core::Isolation;
use log_proto::kafka::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use log_proto::kafka::{ErrorCode, Str};
use log_proto::types::{LeaderEpoch, Offset, TimestampMs};

use super::repeats::{Repeats, once};
use super::{TopicRef, check_leader_epoch, isolation, partition_of};
use crate::broker::OffsetQuery;
use crate::kafka::Context;
use crate::kafka::error::Refusal;

/// The first version that tells the leader epoch of what it found.
const EPOCHS_FROM: i16 = 4;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(in crate::kafka) async fn handle(
    context: &Context,
    version: i16,
    request: &ListOffsetsRequest,
) -> ListOffsetsResponse {
    let isolation = isolation(request.isolation_level);
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| (&topic.name, partition.partition_index))
    });
    let repeats = Repeats::count(named);
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        topics.push(list_topic(context, version, isolation, topic, &repeats).await);
    }
    ListOffsetsResponse { topics, ..Default::default() }
}

async fn list_topic(
    context: &Context,
    version: i16,
    isolation: Isolation,
    topic: &ListOffsetsTopic,
    repeats: &Repeats<(&Str, i32)>,
) -> ListOffsetsTopicResponse {
    let mut partitions = Vec::with_capacity(topic.partitions.len());
    for asked in once(&topic.partitions, |asked| asked.partition_index) {
        let found = match repeats.refuse(&(&topic.name, asked.partition_index)) {
            Ok(()) => find(context, version, isolation, &topic.name, asked).await,
            Err(refusal) => Err(refusal),
        };
        partitions.push(found.unwrap_or_else(|refusal| ListOffsetsPartitionResponse {
            partition_index: asked.partition_index,
            error_code: refusal.number(),
            ..Default::default()
        }));
    }
    ListOffsetsTopicResponse { name: topic.name.clone(), partitions }
}

async fn find(
    context: &Context,
    version: i16,
    isolation: Isolation,
    topic: &Str,
    asked: &ListOffsetsPartition,
) -> Result<ListOffsetsPartitionResponse, Refusal> {
    let (_, partition) =
        partition_of(&context.broker, TopicRef::Name(topic), asked.partition_index)?;
    check_leader_epoch(&partition, asked.current_leader_epoch)?;
    let (offset, timestamp) = match query(asked.timestamp, version, isolation)? {
        Some(query) => context.broker.find_offset(&partition, query).await?,
        None => (None, None),
    };
    let epoch = offset.filter(|_| version >= EPOCHS_FROM);
    let epoch = epoch.and_then(|offset| partition.log().epoch_of(offset));
    Ok(ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        timestamp: timestamp.map_or(-1, TimestampMs::get),
        offset: offset.map_or(-1, Offset::get),
        leader_epoch: epoch.map_or(-1, LeaderEpoch::get),
        ..Default::default()
    })
}

/// What is asked; `None` where nothing is there by nature.
fn query(
    timestamp: i64,
    version: i16,
    isolation: Isolation,
) -> Result<Option<OffsetQuery>, Refusal> {
    let known_from = |first: i16| {
        if version >= first {
            return Ok(());
        }
        let message = format!("timestamp {timestamp} means nothing before version {first}");
        Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
    };
    Ok(Some(match timestamp {
        LATEST if isolation == Isolation::LastStable => OffsetQuery::LastStable,
        LATEST => OffsetQuery::HighWatermark,
        EARLIEST => OffsetQuery::LogStart,
        MAX_TIMESTAMP => {
            known_from(7)?;
            OffsetQuery::MaxTimestamp
        }
        EARLIEST_LOCAL => {
            known_from(8)?;
            OffsetQuery::LogStart
        }
        LATEST_TIERED => {
            known_from(9)?;
            return Ok(None);
        }
        EARLIEST_PENDING_UPLOAD => {
            known_from(11)?;
            return Ok(None);
        }
        timestamp if timestamp < 0 => {
            let message = format!("timestamp {timestamp} has no meaning");
            return Err(Refusal::new(ErrorCode::UnsupportedVersion, message));
        }
        timestamp => OffsetQuery::Timestamp(TimestampMs::new(timestamp)),
    }))
}
