//! DeleteRecords, key 21, versions 0 to 2 (KIP-107).
//!
//! Deletes the records of a partition below an offset; -1 is the high watermark, which deletes
//! them all. Answers with the first offset that may be read then, durably. An offset that is
//! deleted already changes nothing.
//!
//! Left out: `timeout_ms` (there are no followers to wait for).

use log_proto::kafka::ErrorCode;
use log_proto::kafka::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest,
    DeleteRecordsResponse, DeleteRecordsTopic, DeleteRecordsTopicResult,
};
use log_proto::types::Offset;

use super::{TopicRef, partition_of};
use crate::broker::DeleteBefore;
use crate::kafka::Context;
use crate::kafka::error::{Refusal, number};

/// What stands for the high watermark.
const HIGH_WATERMARK: i64 = -1;

pub(in crate::kafka) async fn handle(
    context: &Context,
    _: i16,
    request: &DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let deleted = delete(context, topic, partition).await;
            partitions.push(DeleteRecordsPartitionResult {
                partition_index: partition.partition_index,
                error_code: number(&deleted),
                low_watermark: deleted.map_or(-1, Offset::get),
            });
        }
        topics.push(DeleteRecordsTopicResult { name: topic.name.clone(), partitions });
    }
    DeleteRecordsResponse { topics, ..Default::default() }
}

async fn delete(
    context: &Context,
    topic: &DeleteRecordsTopic,
    asked: &DeleteRecordsPartition,
) -> Result<Offset, Refusal> {
    let named = TopicRef::Name(&topic.name);
    let (topic, partition) = partition_of(&context.broker, named, asked.partition_index)?;
    let before = match asked.offset {
        HIGH_WATERMARK => DeleteBefore::HighWatermark,
        offset => DeleteBefore::Offset(Offset::new(offset).ok_or_else(|| {
            let message = format!("offset {offset} is outside any log");
            Refusal::new(ErrorCode::OffsetOutOfRange, message)
        })?),
    };
    let principal = &context.principal;
    Ok(context.broker.delete_records(principal, &topic, &partition, before).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::Mode;
    use crate::kafka::handlers::testing::{Rig, code};
    use crate::topic_config::{ConfigChange, TopicConfigs};

    async fn delete(rig: &Rig, topic: &str, index: i32, offset: i64) -> (i64, ErrorCode) {
        let partition = DeleteRecordsPartition { partition_index: index, offset };
        let topic = DeleteRecordsTopic { name: topic.into(), partitions: vec![partition] };
        let request = DeleteRecordsRequest { topics: vec![topic], ..Default::default() };
        let response = handle(&rig.context, 2, &request).await;
        let deleted = &response.topics[0].partitions[0];
        (deleted.low_watermark, code(deleted.error_code))
    }

    #[tokio::test]
    async fn each_mistake_has_its_code() {
        let rig = Rig::with_topic().await;
        assert_eq!(delete(&rig, "t", 0, -1).await, (0, ErrorCode::None));
        let cases = [
            ("t", 0, 1, ErrorCode::OffsetOutOfRange),
            ("t", 0, -2, ErrorCode::OffsetOutOfRange),
            ("t", 2, 0, ErrorCode::UnknownTopicOrPartition),
            ("u", 0, 0, ErrorCode::UnknownTopicOrPartition),
            ("__consumer_offsets", 0, -1, ErrorCode::InvalidTopicException),
        ];
        for (topic, index, offset, expected) in cases {
            assert_eq!(
                delete(&rig, topic, index, offset).await,
                (-1, expected),
                "{topic} {offset}"
            );
        }
        let compacted = TopicConfigs::parse([("cleanup.policy", "compact")]).expect("a policy");
        let (context, change) = (&rig.context, ConfigChange::Replace(compacted));
        let altered = context.broker.alter_configs(&context.principal, "t", change, Mode::Apply);
        altered.await.expect("a good config");
        assert_eq!(delete(&rig, "t", 0, -1).await, (-1, ErrorCode::PolicyViolation));
    }
}
